package agent

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/config"
	"github.com/ovlnet/ovl/control/store"
)

// Run as `ovlctl up` does it, asked over its socket.
func TestRun(t *testing.T) {
	l := newLab(t, 0)
	n := l.machine()
	n.cfg.Root = shortDir(t)
	ready := make(chan Ready, 1)
	hooks := n.hooks()
	hooks.Ready = func(r Ready) { ready <- r }
	ended := make(chan error, 1)
	go func() { ended <- Run(t.Context(), n.cfg, hooks) }()
	var r Ready
	select {
	case r = <-ready:
	case err := <-ended:
		t.Fatalf("ended: %v", err)
	}
	if !r.Founded || r.JoinAddress.String() != "192.0.2.1:7947" || !strings.HasPrefix(r.Token, "ovl1.") {
		t.Errorf("ready says %+v", r)
	}
	if err := Run(t.Context(), n.cfg, n.hooks()); !errors.Is(err, config.ErrLocked) {
		t.Errorf("a second agent of the instance: %v", err)
	}
	client := api.NewClient(n.cfg)
	if _, err := client.NetworkCreate(t.Context(), api.NetworkRequest{Name: "blue"}); err != nil {
		t.Fatal(err)
	}
	s, err := client.Status(t.Context())
	if err != nil || s.Name != "host1" || s.PID != os.Getpid() {
		t.Errorf("status is %+v, %v", s, err)
	}
	if _, err := client.Leave(t.Context(), api.LeaveRequest{}); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the agent ended with %v", err)
	}
	for _, dir := range []string{n.cfg.DataDir(), n.cfg.RunDir()} {
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", dir, err)
		}
	}
}

// A signal ends the agent and leaves state and datapath.
func TestRunStops(t *testing.T) {
	l := newLab(t, 0)
	n := l.machine()
	n.cfg.Root = shortDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	hooks := n.hooks()
	hooks.Ready = func(Ready) { cancel() }
	if err := Run(ctx, n.cfg, hooks); err != nil {
		t.Errorf("the agent ended with %v", err)
	}
	if !n.host.pinned || !n.host.dp().Closed() {
		t.Errorf("datapath pinned: %v, closed: %v; want both", n.host.pinned, n.host.dp().Closed())
	}
	if s, err := store.Open(n.cfg.StateFile(), store.Options{}); err != nil {
		t.Errorf("state: %v", err)
	} else if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// shortDir is a folder whose name leaves room for that of a unix socket.
func shortDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "ovl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
