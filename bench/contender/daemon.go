package contender

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// daemon is a program that runs on a host for as long as its contender is set
// up, and writes to a log.
type daemon struct {
	cmd *exec.Cmd
	log string
	// ended is closed when it has.
	ended chan struct{}
}

// startDaemon runs a program on the host until it ends by itself, or by one
// of the methods; log is the path of the file for what it prints. It has a
// process group of its own, so that Ctrl-C does not reach it before its
// contender is torn down, and it outlives ctx for the same reason.
func startDaemon(ctx context.Context, host *linktest.Host, log string, name string, args ...string) (*daemon, error) {
	return startDaemonIn(ctx, 0, host, log, name, args...)
}

// startDaemonIn is startDaemon in new namespaces of the kinds that flags, as
// clone(2) takes them, name.
func startDaemonIn(ctx context.Context, flags uintptr, host *linktest.Host, log string, name string, args ...string) (*daemon, error) {
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cmd := host.Command(context.WithoutCancel(ctx), name, args...)
	cmd.Stdout, cmd.Stderr = f, f
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Cloneflags: flags}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	d := &daemon{cmd: cmd, log: log, ended: make(chan struct{})}
	go func() {
		defer close(d.ended)
		_ = cmd.Wait() // its log says more
	}()
	return d, nil
}

// makeLogs makes the folder for the logs of a contender's daemons.
func makeLogs(contender string) (dir string, err error) {
	dir = filepath.Join(logFolder(os.Getpid()), contender)
	return dir, os.MkdirAll(dir, 0o700)
}

// removeLogs removes it, if it was made, and what holds all of them with the
// last one.
func removeLogs(dir string) error {
	if dir == "" {
		return nil
	}
	err := os.RemoveAll(dir)
	_ = os.Remove(filepath.Dir(dir)) // fails, and shall, while there are others
	return err
}

// sleep waits; it is an error if the daemon or ctx ends meanwhile.
func (d *daemon) sleep(ctx context.Context, pause time.Duration) error {
	select {
	case <-d.ended:
		return fmt.Errorf("it has ended: %s", d.cmd.ProcessState)
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(pause):
		return nil
	}
}

// lastWords is the end of the daemon's log, as an error to go with another;
// nil if it has said nothing.
func (d *daemon) lastWords() error { return lastWords(d.log) }

// lastWords is that of a log.
func lastWords(path string) error {
	log, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	log = bytes.TrimSpace(log)
	if len(log) == 0 {
		return nil
	}
	lines := bytes.Split(log, []byte("\n"))
	return fmt.Errorf("%s ends in:\n%s", filepath.Base(path), bytes.Join(lines[max(0, len(lines)-5):], []byte("\n")))
}

// terminate asks the daemon to end and waits for that.
func (d *daemon) terminate() {
	_ = d.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	d.wait()
}

// wait returns when the daemon, which has been told to end, has ended; if it
// takes its time, it is killed.
func (d *daemon) wait() {
	select {
	case <-d.ended:
	case <-time.After(3 * time.Second):
		_ = d.cmd.Process.Kill()
		<-d.ended
	}
}
