package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

const (
	// readyTime is how long an agent may take to come up on a machine that
	// has much else to do.
	readyTime = 20 * time.Second
	// commandTime bounds every other command.
	commandTime = 30 * time.Second
)

// host is a machine of the cluster, with or without an agent.
type host struct {
	*linktest.Host
	c        *cluster
	name     string
	instance string
	ovlctl   string
	// under is what the agent is run by, such as setpriv with its arguments.
	under []string
	// log is what all of the host's agents have written to standard error.
	log   lockedBuffer
	agent *agent
}

// agent is a running `ovlctl up`.
type agent struct {
	cmd *exec.Cmd
	// ready is closed when it has printed the line to join with, exited when
	// the process is gone; err is then how.
	ready, exited chan struct{}
	joinLine      string
	err           error
}

// command is ovlctl of this host's instance, run from anywhere.
func (h *host) command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, h.ovlctl, append([]string{"--instance", h.instance}, args...)...)
}

// upLine is the command line of an agent, `up` first.
func (h *host) upLine(args ...string) []string {
	return append([]string{"up", "--name", h.name, "--advertise", linktest.UnderlayDevice}, args...)
}

// begin starts the agent and does not wait for it.
func (h *host) begin(args ...string) *agent {
	h.c.tb.Helper()
	line := slices.Concat(h.under, []string{h.ovlctl, "--instance", h.instance}, h.upLine(args...))
	a := &agent{
		cmd:    h.Command(context.Background(), line[0], line[1:]...),
		ready:  make(chan struct{}),
		exited: make(chan struct{}),
	}
	a.cmd.Stderr = &h.log
	stdout, err := a.cmd.StdoutPipe()
	if err == nil {
		err = a.cmd.Start()
	}
	if err != nil {
		h.c.tb.Fatalf("%s: start the agent: %v", h.name, err)
	}
	h.agent = a
	go func() {
		defer close(a.exited)
		line := make([]byte, 0, 4096)
		for one := []byte{0}; ; {
			if _, err := stdout.Read(one); err != nil || one[0] == '\n' {
				break
			}
			line = append(line, one[0])
		}
		if len(line) > 0 {
			a.joinLine = string(line)
			close(a.ready)
		}
		_, _ = io.Copy(io.Discard, stdout)
		a.err = a.cmd.Wait()
	}()
	return a
}

// await returns when the agent is ready, or with why it is not.
func (a *agent) await() error {
	select {
	case <-a.ready:
		return nil
	case <-a.exited:
		return fmt.Errorf("the agent ended before it was ready: %w", errors.Join(a.err, errEnded))
	case <-time.After(readyTime):
		return fmt.Errorf("the agent is not ready after %v", readyTime)
	}
}

var errEnded = errors.New("see its log")

// up runs the agent and waits until it is ready.
func (h *host) up(args ...string) {
	h.c.tb.Helper()
	h.awaitUp(h.begin(args...))
}

// join is up on a host that becomes a member.
func (h *host) join() {
	h.c.tb.Helper()
	h.up(h.joinArgs()...)
}

// joinArgs are what the first host told the others to say.
func (h *host) joinArgs() []string {
	return []string{"--join", h.c.hosts[0].Addr.String(), "--token", h.c.token}
}

func (h *host) awaitUp(a *agent) {
	h.c.tb.Helper()
	if err := a.await(); err != nil {
		h.c.tb.Fatalf("%s: %v:\n%s", h.name, err, h.log.String())
	}
	_, token, found := strings.Cut(a.joinLine, "--token ")
	if !found {
		h.c.tb.Fatalf("%s: the agent printed %q, not the line to join with", h.name, a.joinLine)
	}
	if h.c.token == "" {
		h.c.token = strings.Fields(token)[0]
	}
}

// running reports whether the host's agent has not ended.
func (h *host) running() bool {
	if h.agent == nil {
		return false
	}
	select {
	case <-h.agent.exited:
		return false
	default:
		return true
	}
}

// signal sends one to the agent and waits for its end.
func (h *host) signal(s syscall.Signal) error {
	if !h.running() {
		return nil
	}
	_ = h.agent.cmd.Process.Signal(s) // it may end at this moment
	select {
	case <-h.agent.exited:
	case <-time.After(readyTime):
		return fmt.Errorf("%s: the agent goes on %v after signal %v", h.name, readyTime, s)
	}
	return nil
}

// stop ends the agent as systemd does; it has to say that all was well.
func (h *host) stop() {
	h.c.tb.Helper()
	if err := errors.Join(h.signal(syscall.SIGTERM), h.agent.err); err != nil {
		h.c.tb.Fatalf("%s: stop: %v:\n%s", h.name, err, h.log.String())
	}
}

// kill ends the agent in the middle of whatever it does.
func (h *host) kill() {
	if err := h.signal(syscall.SIGKILL); err != nil {
		h.c.tb.Errorf("%v", err)
	}
}

// ctl runs another command of the instance, from outside of its host: those
// go through the agent's socket.
func (h *host) ctl(args ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	return capture(h.command(ctx, args...))
}

// inside is ctl in the host's namespace, where a command has to be that works
// with no agent.
func (h *host) inside(args ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	return capture(h.Command(ctx, h.ovlctl, append([]string{"--instance", h.instance}, args...)...))
}

// must is ctl that has to succeed.
func (h *host) must(args ...string) string {
	h.c.tb.Helper()
	stdout, stderr, err := h.ctl(args...)
	if err != nil {
		h.c.tb.Fatalf("%s: ovlctl %s: %v: %s", h.name, strings.Join(args, " "), err, stderr)
	}
	return stdout
}

// query is must with -o json, read into out.
func (h *host) query(out any, args ...string) {
	h.c.tb.Helper()
	text := h.must(append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(text), out); err != nil {
		h.c.tb.Fatalf("%s: ovlctl %s: %v:\n%s", h.name, strings.Join(args, " "), err, text)
	}
}

// attach puts a new namespace on a network.
func (h *host) attach(network, name string, args ...string) *endpoint {
	h.c.tb.Helper()
	e := &endpoint{Namespace: h.c.lab.Endpoint(name), host: h}
	e.attach(network, name, args...)
	return e
}

// attachAtOnce attaches, and wants that not to take longer than is promised. What
// the machine's disk or kernel holds up is once so: it may have another go or
// two. What the host waits for is so each time.
func (h *host) attachAtOnce(network, name string) *endpoint {
	h.c.tb.Helper()
	e := &endpoint{Namespace: h.c.lab.Endpoint(name), host: h}
	var took []time.Duration
	for range 3 {
		begin := time.Now()
		e.attach(network, name)
		if took = append(took, time.Since(begin)); took[len(took)-1] <= attachTime {
			return e
		}
		h.must("detach", name, "--network", network)
	}
	h.c.tb.Errorf("%s: attach to %s took %v, want %v at most", h.name, network, took, attachTime)
	e.attach(network, name)
	return e
}

// endpoint is a namespace on a network, and what ovlctl said of it.
type endpoint struct {
	*linktest.Namespace
	host *host
	info api.Endpoint
}

func (e *endpoint) attach(network, name string, args ...string) {
	e.host.c.tb.Helper()
	e.host.query(&e.info, append([]string{"attach", network, "--netns", e.Name, "--name", name}, args...)...)
}

func (e *endpoint) addr() string { return e.info.Addresses[0].Addr().String() }

func capture(cmd *exec.Cmd) (stdout, stderr string, err error) {
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err = cmd.Run()
	return o.String(), e.String(), err
}

// lockedBuffer can be read while a process still writes to it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
