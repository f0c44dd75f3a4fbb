package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// scriptTime bounds one script.
const scriptTime = 90 * time.Second

// TestScripts runs each of testdata/script: what a person types, and what the
// answer is where it must be a refusal. The commands that scripts have besides
// those of testscript are in commands_root_test.go.
func TestScripts(t *testing.T) {
	linktest.NeedRoot(t)
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		// testscript runs what it is given in parallel; one at a time leaves
		// the machine to the limits that the scripts assert.
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			s := &script{T: t, processes: map[string]func(){}}
			testscript.Run(t, testscript.Params{
				Files:               []string{file},
				RequireExplicitExec: true,
				RequireUniqueNames:  true,
				Deadline:            time.Now().Add(scriptTime),
				Cmds:                s.commands(),
				Setup: func(e *testscript.Env) error {
					ovlctl, err := buildOnce()
					if err != nil {
						return err
					}
					e.Setenv("PATH", filepath.Dir(ovlctl)+":"+os.Getenv("PATH")+":/usr/sbin:/sbin")
					return nil
				},
			})
		})
	}
}

// script is one that runs. As a tb it is the test, whose cleanups run when the
// script is over; only its failures end the script.
type script struct {
	*testing.T
	ts *testscript.TestScript
	c  *cluster
	// processes has how to end each process that was started, by its PID.
	processes map[string]func()
}

func (s *script) Fatalf(format string, args ...any) { s.ts.Fatalf(format, args...) }

// commands are those of scripts. HOST is h1, h2, and so on.
func (s *script) commands() map[string]func(*testscript.TestScript, bool, []string) {
	all := map[string]func(*testscript.TestScript, bool, []string){}
	for name, run := range map[string]func(neg bool, args []string){
		"hosts":   s.hosts,
		"up":      s.up,
		"join":    s.join,
		"end":     s.end,
		"crash":   s.crash,
		"ends":    s.ends,
		"log":     s.log,
		"ovlctl":  s.run,
		"host":    s.inHost,
		"refuses": s.refuses,
		"soon":    s.soon,
		"netns":   s.netns,
		"process": s.process,
		"clean":   s.clean,
		"devices": s.devices,
		"flip":    s.flip,
	} {
		all[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			s.ts = ts
			run(neg, args)
		}
	}
	return all
}
