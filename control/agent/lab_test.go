package agent

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/cluster/clustertest"
	"github.com/ovlnet/ovl/control/cluster/member"
	"github.com/ovlnet/ovl/control/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lab is a cluster of agents in one process: real stores on disk, a network
// and machines in memory.
type lab struct {
	t     *testing.T
	hub   *clustertest.Hub
	nodes []*node
	// leaseGrace is that of agents started from now on, short by default.
	leaseGrace time.Duration
	// meetTime likewise, that of production by default.
	meetTime time.Duration
}

// node is a machine of the lab, and the agent that runs on it, if any.
type node struct {
	*Agent
	lab  *lab
	host *fakeHost
	cfg  config.Config
	// names is who answers in the agent's gateways.
	names *fakeNames
}

// newLab starts n agents, the first of which founds the cluster.
func newLab(t *testing.T, n int) *lab {
	t.Helper()
	l := &lab{t: t, hub: clustertest.NewHub(clustertest.Options{FailAfter: 300 * time.Millisecond})}
	t.TempDir() // of which the machines have parts, is removed after the agents have stopped
	t.Cleanup(func() {
		for _, n := range l.nodes {
			n.stop()
		}
	})
	for range n {
		l.add()
	}
	return l
}

// machine returns one more machine, without an agent.
func (l *lab) machine() *node {
	return l.machineAt(fmt.Sprintf("192.0.2.%d", len(l.nodes)+1))
}

// machineAt is machine with that underlay address.
func (l *lab) machineAt(addr string) *node {
	i := len(l.nodes) + 1
	n := &node{lab: l, host: newFakeHost(addr), cfg: config.Default()}
	n.cfg.Name = fmt.Sprintf("host%d", i)
	n.cfg.Root = l.t.TempDir()
	l.nodes = append(l.nodes, n)
	return n
}

// add starts an agent on one more machine, as a member.
func (l *lab) add() *node {
	l.t.Helper()
	n := l.machine()
	if n != l.nodes[0] {
		n.cfg.Join = []string{l.nodes[0].host.underlay.Addr.String()}
		n.cfg.Token = l.nodes[0].secret.Token()
	}
	if err := n.start(); err != nil {
		l.t.Fatalf("start %s: %v", n.cfg.Name, err)
	}
	// What one does next is for those who know of each other.
	l.eventually("the others have met "+n.cfg.Name, func() bool {
		for _, other := range l.nodes {
			if other.Agent == nil || other == n {
				continue
			}
			if !other.knows(n) || !n.knows(other) {
				return false
			}
		}
		return true
	})
	return n
}

// knows reports whether an agent counts another one as alive.
func (n *node) knows(other *node) bool {
	for _, p := range n.cluster.Peers() {
		if p.ID == other.self.ID {
			return p.Status == member.Alive
		}
	}
	return false
}

func (n *node) hooks() Hooks {
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("host", n.cfg.Name)
	}
	n.names = &fakeNames{serving: make(map[net.PacketConn]string)}
	return Hooks{
		nameServer: n.names,
		Version:    "test",
		Host:       n.host,
		Wire:       n.lab.hub.Wire(n.host.underlay.Addr),
		Logger:     log,
		interval:   100 * time.Millisecond,
		leaseGrace: cmp.Or(n.lab.leaseGrace, 300*time.Millisecond),
		meetTime:   n.lab.meetTime,
	}
}

// start brings an agent up on the machine; its files and devices are those
// that the one before has left.
func (n *node) start() error {
	a, err := prepare(n.cfg, n.hooks())
	if err != nil {
		return err
	}
	if _, err := a.open(context.Background()); err != nil {
		return err
	}
	n.Agent = a
	return nil
}

// stop ends the agent without a word, as a signal or a crash does.
func (n *node) stop() {
	if n.Agent == nil {
		return
	}
	if err := n.close(); err != nil {
		n.lab.t.Errorf("close %s: %v", n.cfg.Name, err)
	}
	n.Agent = nil
}

func (n *node) create(r api.NetworkRequest) api.Network {
	n.lab.t.Helper()
	out, err := n.NetworkCreate(n.lab.t.Context(), r)
	if err != nil {
		n.lab.t.Fatalf("create network %s: %v", r.Name, err)
	}
	return out
}

// attach makes a namespace of that name and attaches it.
func (n *node) attach(network, netns string) api.Endpoint {
	n.lab.t.Helper()
	n.host.addNamespace(netns)
	e, err := n.Attach(n.lab.t.Context(), api.AttachRequest{Network: network, NetNS: netns})
	if err != nil {
		n.lab.t.Fatalf("attach %s to %s: %v", netns, network, err)
	}
	return e
}

// eventually fails the test unless ok turns true soon.
func (l *lab) eventually(what string, ok func() bool) {
	l.t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	l.t.Fatalf("not within 5 s: %s", what)
}

// carries reports whether the node's datapath has the endpoint, as a port or
// as a remote behind the right VTEP.
func (n *node) carries(e api.Endpoint, owner *node) bool {
	s, _ := n.host.dp().Last()
	for _, net := range s.Networks {
		for _, p := range net.Ports {
			if p.Device == e.Device && p.MAC == e.MacAddress && n == owner {
				return true
			}
		}
		for _, r := range net.Remotes {
			if r.MAC == e.MacAddress && r.VTEP == owner.host.underlay.Addr && sameAddrs(r.Addrs, e.Addresses) {
				return true
			}
		}
	}
	return false
}

func sameAddrs(addrs []netip.Addr, prefixes []netip.Prefix) bool {
	if len(addrs) != len(prefixes) {
		return false
	}
	for i := range addrs {
		if addrs[i] != prefixes[i].Addr() {
			return false
		}
	}
	return true
}

// wantCode fails the test unless err has that code.
func wantCode(t *testing.T, err error, code api.Code) {
	t.Helper()
	if api.CodeOf(err) != code {
		t.Errorf("error is %v (code %q), want code %q", err, api.CodeOf(err), code)
	}
}

// stateCopy copies the state file as it is on disk now.
func (n *node) stateCopy() []byte {
	b, err := os.ReadFile(n.cfg.StateFile())
	if err != nil {
		n.lab.t.Fatal(err)
	}
	return b
}

// crashInto stops the agent and puts a state file back that was copied
// earlier: the machine as a crash at that moment leaves it.
func (n *node) crashInto(state []byte, devices map[string]fakeDevice) {
	n.stop()
	if err := os.WriteFile(filepath.Clean(n.cfg.StateFile()), state, 0o600); err != nil {
		n.lab.t.Fatal(err)
	}
	n.host.mu.Lock()
	n.host.devices = devices
	n.host.mu.Unlock()
}
