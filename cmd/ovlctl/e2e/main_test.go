// Package e2e runs the ovlctl that users get, on hosts that are network
// namespaces: nothing in it is a fake, and nothing of it is linked into the
// tests. What flows through it, in order:
//
//	buildOnce   the static binary, once
//	newCluster  a linktest lab; an instance name for each host
//	host.up     `ovlctl up` in a host's namespace, until it is ready
//	host.ctl    any other command, as an operator types it
//	cleanup     what still runs is ended, `ovlctl down` on each host, and then
//	            nothing of it may be left in the kernel or on the disk
//
// Tests in Go are for traffic and time; scripts (testdata/script) are for what
// a person types and is told.
package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 3 && os.Args[1] == without {
		fmt.Fprintln(os.Stderr, execWithout(os.Args[2], os.Args[3:]))
		os.Exit(1)
	}
	if len(os.Args) > 2 && os.Args[1] == resolve {
		if err := resolveAll(os.Stdout, os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	linktest.VerifyNoLeaks(withBinary{m})
}

// withBinary removes after the tests what buildOnce made.
type withBinary struct{ m *testing.M }

func (w withBinary) Run() int {
	code := w.m.Run()
	if built.dir == "" {
		return code
	}
	if err := os.RemoveAll(built.dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// built is the binary under test, made by the first test that needs it.
var built struct {
	sync.Once
	dir, path string
	err       error
}

// buildOnce returns the path of ovlctl, built from this source tree as
// `make build` does it.
func buildOnce() (string, error) {
	built.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "ovl-e2e-"); built.err != nil {
			return
		}
		built.path = filepath.Join(built.dir, "ovlctl")
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -X main.version="+testVersion, "-o", built.path, "..")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	return built.path, built.err
}

// testVersion is what the binary under test calls itself.
const testVersion = "0.0.0-e2e"
