package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	"go.uber.org/goleak"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/api/apitest"
	"github.com/ovlnet/ovl/control/config"
)

// Environment of the ovlctl that scripts run.
const (
	envRoot = "OVLTEST_ROOT" // put before every folder
	envEUID = "OVLTEST_EUID" // who runs it; default root
	// envPurge is the error that purge ends with; default none.
	envPurge = "OVLTEST_PURGE"
	// envLeave is the error that leaving without --force ends with.
	envLeave = "OVLTEST_LEAVE"
)

func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){"ovlctl": func() { os.Exit(ovlctl()) }})
}

// leakChecked fails the tests if a goroutine is left when they are done.
type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int {
	code := l.m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// ovlctl is the program with a backend in memory for an agent. Lock, socket
// and everything in front of the agent are the real ones.
func ovlctl() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return execute(ctx, host{
		stdout: os.Stdout,
		stderr: os.Stderr,
		getenv: os.Getenv,
		euid:   func() int { n, _ := strconv.Atoi(os.Getenv(envEUID)); return n },
		now:    func() time.Time { return apitest.Epoch.Add(90 * time.Minute) },
		root:   os.Getenv(envRoot),
		run:    runFake,
		tidy:   func(config.Config) error { return nil },
		purge:  purgeFake,
		attach: func(ctx context.Context, b api.Backend, r api.AttachRequest) (api.Endpoint, error) {
			return b.Attach(ctx, r)
		},
	}, os.Args[1:])
}

func runFake(ctx context.Context, c config.Config, ready readyFunc) (err error) {
	lock, err := config.Acquire(c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	l, err := api.Listen(lock)
	if err != nil {
		return err
	}
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	fake := &apitest.Fake{OnLeave: func(r api.LeaveRequest) (api.LeaveReport, error) {
		var report api.LeaveReport
		if text := os.Getenv(envLeave); text != "" {
			if !r.Force {
				return report, api.Errorf(api.CodeUnreachable, "%s", text)
			}
			report.Problems = []string{text}
		}
		if err := lock.RemoveRunDir(); err != nil {
			return report, err
		}
		leave()
		return report, nil
	}}
	ready(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), c.SyncPort), apitest.JoinToken)
	return api.NewServer(fake, api.ServerOptions{Version: "v0.1.0"}).Serve(ctx, l)
}

func purgeFake(_ context.Context, c config.Config) (err error) {
	lock, err := config.Acquire(c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	if text := os.Getenv(envPurge); text != "" {
		err = errors.New(text)
	}
	return errors.Join(err, lock.RemoveRunDir())
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		RequireExplicitExec: true,
		// A command that runs on where it should refuse ends the script.
		Deadline: time.Now().Add(time.Minute),
		Setup: func(e *testscript.Env) error {
			e.Setenv(envRoot, e.WorkDir)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":   exits,
			"agent":   agentUp,
			"oneline": oneLine,
		},
	})
}

// exits CODE PROGRAM ARG… runs a program that has to end with CODE; stdout
// and stderr can be looked at as after exec.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if err != nil {
		var failed interface{ ExitCode() int }
		if !errors.As(err, &failed) {
			ts.Fatalf("%s: %v", args[1], err)
		}
		got = failed.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// agent [INSTANCE] waits until the agent that the script has started answers.
func agentUp(ts *testscript.TestScript, _ bool, args []string) {
	c := config.Config{Root: ts.Getenv(envRoot), Instance: strings.Join(args, "")}
	deadline := time.Now().Add(10 * time.Second)
	for {
		_, err := api.NewClient(c).Status(context.Background())
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("agent does not come up: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// oneline: what came on standard error last was one line, and nothing came on
// standard output.
func oneLine(ts *testscript.TestScript, _ bool, _ []string) {
	stderr, stdout := ts.ReadFile("stderr"), ts.ReadFile("stdout")
	if strings.Count(stderr, "\n") != 1 || !strings.HasSuffix(stderr, "\n") {
		ts.Fatalf("standard error is not one line: %q", stderr)
	}
	if stdout != "" {
		ts.Fatalf("standard output is not empty: %q", stdout)
	}
}

// TestHelp: each command has a help text that ends in its examples.
func TestHelp(t *testing.T) {
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		path := strings.Fields(c.CommandPath())[1:]
		t.Run(strings.Join(append([]string{"ovlctl"}, path...), "_"), func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			h := host{stdout: &stdout, stderr: &stderr, getenv: func(string) string { return "" }}
			if code := execute(t.Context(), h, append(path, "--help")); code != exitDone || stderr.Len() > 0 {
				t.Errorf("exit code %d, standard error %q", code, stderr.String())
			}
			_, examples, found := strings.Cut(stdout.String(), "\nExamples:\n")
			if !found || !strings.Contains(examples, "ovlctl "+strings.Join(path, " ")) {
				t.Fatalf("no example of itself in\n%s", stdout.String())
			}
			for _, line := range strings.Split(strings.TrimRight(examples, "\n"), "\n") {
				if line != "" && !strings.HasPrefix(line, "  ") {
					t.Errorf("%q comes after the examples", line)
				}
			}
		})
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				walk(sub)
			}
		}
	}
	walk(newRoot(&app{host: host{getenv: func(string) string { return "" }}}))
}
