package linktest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link"
)

// namePrefix begins the name of every namespace of every lab; the PID of the
// process that made it follows.
const namePrefix = "ovllab-"

// Leftovers returns the namespaces of labs whose process is dead, by
// ascending name; Delete removes one. There are no devices to look for: a lab's are born inside
// its namespaces and go with them.
func Leftovers() ([]*Namespace, error) {
	entries, err := os.ReadDir(link.NamedDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("look for leftovers: %w", err)
	}
	var out []*Namespace
	for _, e := range entries {
		if pid, ok := labPID(e.Name()); ok && !alive(pid) {
			out = append(out, &Namespace{Name: e.Name(), NetnsPath: filepath.Join(link.NamedDir, e.Name())})
		}
	}
	return out, nil
}

// labPID returns the process that the name of a lab's namespace tells.
func labPID(name string) (int, bool) {
	rest, ok := strings.CutPrefix(name, namePrefix)
	if !ok {
		return 0, false
	}
	digits, _, ok := strings.Cut(rest, "-")
	if !ok {
		return 0, false
	}
	pid, err := strconv.Atoi(digits)
	return pid, err == nil && pid > 0
}

func alive(pid int) bool { return !errors.Is(unix.Kill(pid, 0), unix.ESRCH) }
