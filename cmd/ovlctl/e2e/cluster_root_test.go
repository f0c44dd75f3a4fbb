package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// tb is what a cluster needs of a test: *testing.T is one, and so is a script.
type tb interface {
	linktest.TB
	Errorf(format string, args ...any)
	Failed() bool
}

// cluster is a lab whose hosts can run agents.
type cluster struct {
	tb    tb
	lab   *linktest.Lab
	hosts []*host
	// token is that of the first agent that came up.
	token string
}

// clusters counts those of this process, so that each has instances of its
// own.
var clusters atomic.Uint64

// newCluster builds hosts h1, h2, and so on, without agents. Afterwards it
// takes everything down and sees that nothing is left.
func newCluster(t tb, o linktest.Options) *cluster {
	t.Helper()
	ovlctl, err := buildOnce()
	if err != nil {
		t.Fatalf("%v", err)
	}
	if err := exec.Command("mountpoint", "-q", "/sys/fs/bpf").Run(); err != nil {
		// In this namespace, as a host's init does it: a mount in that of a
		// single agent would end with it.
		if out, err := exec.Command("mount", "-t", "bpf", "bpf", "/sys/fs/bpf").CombinedOutput(); err != nil {
			t.Fatalf("mount /sys/fs/bpf: %v: %s", err, out)
		}
	}
	o.Bridge = true
	c := &cluster{tb: t, lab: linktest.New(t, o)}
	number := clusters.Add(1)
	for i, h := range c.lab.Hosts {
		c.hosts = append(c.hosts, &host{
			Host:     h,
			c:        c,
			name:     fmt.Sprintf("h%d", i+1),
			instance: fmt.Sprintf("t%d-%d-h%d", os.Getpid(), number, i+1),
			ovlctl:   ovlctl,
		})
	}
	t.Cleanup(c.takeDown)
	return c
}

// newRunning is newCluster with an agent on every host, as the README has it:
// the first founds, the others join.
func newRunning(t *testing.T, hosts int) *cluster {
	t.Helper()
	linktest.NeedRoot(t)
	c := newCluster(t, linktest.Options{Hosts: hosts})
	c.upAll()
	return c
}

// upAll starts an agent on every host.
func (c *cluster) upAll() {
	c.tb.Helper()
	c.hosts[0].up()
	for _, h := range c.hosts[1:] {
		h.join()
	}
}

// upWith is upAll with arguments for each, by its index.
func (c *cluster) upWith(args func(host int) []string) {
	c.tb.Helper()
	for i, h := range c.hosts {
		line := args(i)
		if i > 0 {
			line = append(h.joinArgs(), line...)
		}
		h.up(line...)
	}
}

// host returns the one of that name.
func (c *cluster) host(name string) (*host, bool) {
	i := slices.IndexFunc(c.hosts, func(h *host) bool { return h.name == name })
	if i < 0 {
		return nil, false
	}
	return c.hosts[i], true
}

// takeDown is the end of every test: the agents that run leave, the others are
// cleaned up after, and nothing is left.
func (c *cluster) takeDown() {
	for _, h := range c.hosts {
		if h.running() && !c.tb.Failed() {
			if _, stderr, err := h.ctl("down"); err != nil || strings.Contains(stderr, "passed over") {
				c.tb.Errorf("%s: ovlctl down: %v: %s", h.name, err, stderr)
			}
		}
		h.kill()
		if _, stderr, err := h.inside("down", "--force"); err != nil || stderr != "" {
			c.tb.Errorf("%s: ovlctl down with no agent running: %v: %s", h.name, err, stderr)
		}
		for _, left := range h.leftovers() {
			c.tb.Errorf("%s: left behind after ovlctl down: %s", h.name, left)
		}
	}
	// The pattern is well-formed.
	confs, _ := filepath.Glob("/etc/netns/" + strings.TrimSuffix(c.hosts[0].Name, c.hosts[0].name) + "*")
	for _, left := range confs {
		c.tb.Errorf("left behind after ovlctl down on all hosts: %s", left)
	}
	if !c.tb.Failed() {
		return
	}
	for _, h := range c.hosts {
		c.tb.Logf("log of the agents of %s:\n%s", h.name, h.log.String())
	}
}
