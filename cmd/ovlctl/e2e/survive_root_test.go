package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/control/api"
)

// TestAgentDies kills and stops the agent of a host again and again under
// traffic to, from and inside of it: nothing is lost, neither when it goes nor
// when it is back, and the host needs nothing but its data folder.
func TestAgentDies(t *testing.T) {
	c := newRunning(t, 3)
	h1, h2, h3 := c.hosts[0], c.hosts[1], c.hosts[2]
	h1.must("network", "create", "shop")
	c1, c2, c3 := h1.attach("shop", "c1"), h2.attach("shop", "c2"), h3.attach("shop", "c3")
	near := h2.attach("shop", "near")

	tcp := startIperf(t, c3, c2, "-t", "8", "-i", "0.5", "-b", "1G")
	watchers := []*watcher{startWatcher(t, c1, c2), startWatcher(t, c2, c1), startWatcher(t, c2, near)}

	late := map[string]*endpoint{}
	for name, how := range map[string]unix.Signal{"killed": unix.SIGKILL, "stopped": unix.SIGTERM} {
		time.Sleep(300 * time.Millisecond)
		if err := h2.signal(how); err != nil {
			t.Fatal(err)
		}
		late[name] = h1.attachAtOnce("shop", name)
		if sent, received, err := ping(late[name].Namespace, c3.addr(), 3); err != nil || received != sent {
			t.Errorf("%d of %d pings to a third host came back: %v", received, sent, err)
		}
		h2.up() // no --join, no --token
		within(t, "the host is back everywhere", time.Now(), 3*time.Second, func() error { return isBack(c) })
		checkPings(t, late[name], c2)
	}

	for _, s := range tcp().Intervals {
		if s.Sum.BitsPerSecond < 10e6 {
			t.Errorf("TCP stood still at %.1f s: %.1f Mb/s", s.Sum.Start, s.Sum.BitsPerSecond/1e6)
		}
	}
	for _, w := range watchers {
		w.stopWhole(t)
	}
}

// isBack wants every host to know every endpoint as one of a live host.
func isBack(c *cluster) error {
	for _, h := range c.hosts {
		var peers []api.Peer
		h.query(&peers, "peers")
		if n := countAlive(peers); n != len(c.hosts)-1 {
			return fmt.Errorf("%s has %d live peers", h.name, n)
		}
		var list []api.Endpoint
		h.query(&list, "endpoint", "ls")
		on := map[string]int{}
		for _, e := range list {
			if e.NodeState != api.PeerAlive {
				return fmt.Errorf("%s says that the node of %s is %s", h.name, e.Name, e.NodeState)
			}
			on[e.Node]++
		}
		if on["h2"] != 2 || on["h3"] != 1 {
			return fmt.Errorf("%s lists endpoints %v", h.name, on)
		}
	}
	return nil
}

// TestWholeClusterRestarts: every agent is killed, and they find each other
// again in any order.
func TestWholeClusterRestarts(t *testing.T) {
	c := newRunning(t, 3)
	c.hosts[0].must("network", "create", "shop")
	var endpoints []*endpoint
	for i, h := range c.hosts {
		endpoints = append(endpoints, h.attach("shop", fmt.Sprintf("c%d", i+1)))
	}
	for _, h := range c.hosts {
		h.kill()
	}
	checkPings(t, endpoints...) // with no agent anywhere
	for _, h := range []*host{c.hosts[2], c.hosts[0], c.hosts[1]} {
		h.up()
	}
	within(t, "the hosts have found each other", time.Now(), 5*time.Second, func() error {
		for _, h := range c.hosts {
			var s api.Status
			if h.query(&s, "status"); s.Cluster.Alive != 3 || !s.Cluster.Converged {
				return fmt.Errorf("%s: cluster is %+v", h.name, s.Cluster)
			}
		}
		return nil
	})
	checkPings(t, append(endpoints, c.hosts[1].attach("shop", "new"))...)
}

// TestDown: the host that leaves takes everything of its own along, with its
// agent running or not, and the others go on.
func TestDown(t *testing.T) {
	c := newRunning(t, 3)
	h1, h2, h3 := c.hosts[0], c.hosts[1], c.hosts[2]
	h1.must("network", "create", "shop")
	c1, c2 := h1.attach("shop", "c1"), h2.attach("shop", "c2")
	h3.attach("shop", "c3")

	// Its agent is dead: nobody tells the others.
	h3.kill()
	if out, stderr, err := h3.inside("down"); err != nil || out != "down\n" || stderr != "" {
		t.Errorf("down with no agent running: %v: %q %q", err, out, stderr)
	}
	checkNothingLeft(t, h3)
	checkPings(t, c1, c2)

	// The authority leaves politely: its addresses are handed on.
	if out := h1.must("down"); out != "down\n" {
		t.Errorf("down printed %q", out)
	}
	checkNothingLeft(t, h1)
	within(t, "the other has let go of it", time.Now(), time.Second, func() error {
		if list := h2.must("endpoint", "ls"); strings.Contains(list, "\nc1 ") {
			return fmt.Errorf("endpoints are\n%s", list)
		}
		return nil
	})
	if sent, received, err := ping(c2.Namespace, c1.addr(), 1); err != nil || received != 0 {
		t.Errorf("an endpoint of a host that left answers %d of %d pings: %v", received, sent, err)
	}
	h2.attach("shop", "c4")

	// Down again says so, and an agent comes back as a new member.
	if _, stderr, err := h1.inside("down"); err != nil || stderr != "" {
		t.Errorf("a second down: %v: %s", err, stderr)
	}
	h1.up("--join", h2.Addr.String(), "--token", c.token)
	checkPings(t, h1.attach("shop", "c5"), c2)

	// h3 counts as failed, not as gone: its endpoint may be there still, and
	// the last to leave says what that means.
	h1.must("down")
	_, stderr, err := h2.ctl("down")
	if err != nil || !strings.Contains(stderr, "network shop: no other node ") {
		t.Errorf("down of the last one: %v: %s", err, stderr)
	}
}

func checkNothingLeft(t *testing.T, h *host) {
	t.Helper()
	for _, left := range h.leftovers() {
		t.Errorf("%s: left behind after ovlctl down: %s", h.name, left)
	}
}
