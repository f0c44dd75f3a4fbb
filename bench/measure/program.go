package measure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// program is a measuring program that runs at an endpoint.
type program struct {
	cmd    *exec.Cmd
	cancel context.CancelFunc
}

// start runs a program at e until stop.
func start(ctx context.Context, e Endpoint, name string, args ...string) (*program, error) {
	ctx, cancel := context.WithCancel(ctx)
	cmd := command(ctx, e, name, args...)
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &program{cmd: cmd, cancel: cancel}, nil
}

// stop ends the program and waits for it. How it ends says nothing: most
// servers only end by a signal.
func (p *program) stop() {
	p.cancel()
	_ = p.cmd.Wait()
}

// output runs a program at e to its end and returns its standard output, also
// if it failed.
func output(ctx context.Context, e Endpoint, name string, args ...string) ([]byte, error) {
	cmd := command(ctx, e, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.Bytes(), fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.Bytes(), nil
}

// command is a program that gets SIGTERM when ctx ends, and SIGKILL if that
// does not help. It has a process group of its own, so that Ctrl-C reaches it
// through ctx only.
func command(ctx context.Context, e Endpoint, name string, args ...string) *exec.Cmd {
	cmd := e.Namespace.Command(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 2 * time.Second
	return cmd
}

// waitListening returns when something at e is bound to the port.
func waitListening(ctx context.Context, e Endpoint, protocol string, port int) error {
	return waitSocket(ctx, e, protocol, "listening", port)
}

// waitSocket returns when e has a socket of that port and state, as ss names
// them.
func waitSocket(ctx context.Context, e Endpoint, protocol, state string, port int) error {
	// A UDP socket that is bound is "unconnected", and listens all the same.
	if protocol == "udp" && state == "listening" {
		state = "unconnected"
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	for {
		out, err := output(ctx, e, "ss", "--no-header", "--numeric", "--"+protocol, "state", state, "sport", "=", ":"+strconv.Itoa(port))
		if err == nil && len(bytes.TrimSpace(out)) > 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("no %s %s socket of port %d", state, protocol, port), ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// clientCPU and serverCPU are where clients and servers run.
const clientCPU = 0

func serverCPU() int { return runtime.NumCPU() - 1 }
