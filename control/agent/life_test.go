package agent

import (
	"errors"
	"maps"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/cluster/trust"
	"github.com/ovlnet/ovl/control/config"
	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// A restarted agent has its endpoints before it has met anybody.
func TestRestart(t *testing.T) {
	l := newLab(t, 2)
	one, two := l.nodes[0], l.nodes[1]
	one.create(api.NetworkRequest{Name: "blue"})
	a, b := one.attach("blue", "a"), two.attach("blue", "b")
	one.stop()
	two.stop()
	if err := two.start(); err != nil {
		t.Fatal(err)
	}
	if err := two.applied(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, s := range two.host.dp().States() {
		if len(s.Networks) != 1 || len(s.Networks[0].Ports) != 2 || len(gatewayPorts(s)) != 1 || len(s.Networks[0].Remotes) != 1 {
			t.Errorf("a state without what was there before the restart was applied: %+v", s)
		}
	}
	if !two.carries(a, one) || !two.carries(b, two) {
		t.Error("host2 does not carry what it did before the restart")
	}
	if err := one.start(); err != nil {
		t.Fatal(err)
	}
	l.eventually("both see each other again", func() bool {
		for _, n := range l.nodes {
			s, err := n.Status(t.Context())
			if err != nil || s.Cluster.Alive != 2 || !s.Cluster.Converged {
				return false
			}
		}
		return true
	})
	c := two.attach("blue", "c")
	if c.Addresses[0] == a.Addresses[0] || c.Addresses[0] == b.Addresses[0] || !one.carries(c, two) {
		t.Errorf("endpoint after the restart is %+v", c)
	}
}

// What disappeared while no agent ran is withdrawn at the start.
func TestRestartWithdraws(t *testing.T) {
	l := newLab(t, 2)
	one, two := l.nodes[0], l.nodes[1]
	one.create(api.NetworkRequest{Name: "blue"})
	one.attach("blue", "a")
	two.attach("blue", "b")
	one.stop()
	one.host.deleteNamespace("a")
	if err := one.start(); err != nil {
		t.Fatal(err)
	}
	l.eventually("host2 hears of it", func() bool {
		list, err := two.EndpointList(t.Context(), "blue")
		return err == nil && len(list) == 1
	})
}

// The machine stops dead between two steps of an attach. After the next start
// there is either the whole endpoint or nothing of it.
func TestCrashInAttach(t *testing.T) {
	for step, whole := range map[string]bool{
		"attach addresses": false, "attach device": false, "attach row": true, "attach apply": true,
	} {
		t.Run(step, func(t *testing.T) {
			l := newLab(t, 1)
			n := l.nodes[0]
			n.create(api.NetworkRequest{Name: "blue"})
			n.host.addNamespace("a")
			var state []byte
			var devices map[string]fakeDevice
			n.hooksAfter(step, func() {
				state = n.stateCopy()
				n.host.mu.Lock()
				devices = maps.Clone(n.host.devices)
				n.host.mu.Unlock()
			})
			if _, err := n.Attach(t.Context(), api.AttachRequest{Network: "blue", NetNS: "a"}); err != nil {
				t.Fatal(err)
			}
			n.crashInto(state, devices)
			if err := n.start(); err != nil {
				t.Fatal(err)
			}
			list, err := n.EndpointList(t.Context(), "blue")
			if err != nil {
				t.Fatal(err)
			}
			want := 0
			if whole {
				want = 1
			}
			if len(list) != want || len(n.host.deviceNames()) != want {
				t.Errorf("after the crash: endpoints %+v, devices %v; want %d of each", list, n.host.deviceNames(), want)
			}
			if whole {
				return
			}
			if _, err := n.Attach(t.Context(), api.AttachRequest{Network: "blue", NetNS: "a"}); err != nil {
				t.Errorf("attach after the crash: %v", err)
			}
		})
	}
}

// A host that was killed between what its first peer told it and the end of
// its join founds no cluster out of that.
func TestCrashInJoin(t *testing.T) {
	l := newLab(t, 1)
	one, n := l.nodes[0], l.machine()
	s, err := store.Open(n.cfg.StateFile(), store.Options{Owner: store.OwnerOf})
	if err != nil {
		t.Fatal(err)
	}
	row, _ := one.store.Snapshot().Get(store.TableNode, one.self.ID)
	if _, err := s.Merge([]store.Row{row}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := n.start(); !errors.Is(err, errHalfway) {
		t.Errorf("up without --join: %v", err)
	}
	n.cfg.Join, n.cfg.Token = []string{one.host.underlay.Addr.String()}, one.secret.Token()
	if err := n.start(); err != nil {
		t.Error(err)
	}
}

func TestAdmission(t *testing.T) {
	l := newLab(t, 1)
	one := l.nodes[0]
	other := trust.NewSecret().Token()
	for _, c := range []struct {
		name string
		set  func(c *config.Config)
		want string
	}{
		{"join without a token", func(c *config.Config) { c.Join = []string{"192.0.2.1"} }, "needs a token"},
		{"token without join", func(c *config.Config) { c.Token = other }, "--join"},
		{"malformed token", func(c *config.Config) { c.Token, c.Join = "ovl1.abc", []string{"192.0.2.1"} }, "not a join token"},
		{"nobody there", func(c *config.Config) { c.Token, c.Join = one.secret.Token(), []string{"192.0.2.99"} }, "192.0.2.99"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := l.machine()
			c.set(&n.cfg)
			err := n.start()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q in it", err, c.want)
			}
			if _, err := os.Stat(n.cfg.DataDir()); !os.IsNotExist(err) {
				t.Errorf("a refused start has left its data folder: %v", err)
			}
			if n.host.pinned {
				t.Error("a refused start has left its datapath")
			}
		})
	}
	t.Run("another cluster's token with state on disk", func(t *testing.T) {
		one.stop()
		one.cfg.Token, one.cfg.Join = other, []string{"192.0.2.9"}
		if err := one.start(); !errors.Is(err, errElseward) {
			t.Errorf("error is %v, want %v", err, errElseward)
		}
		if _, err := os.Stat(one.cfg.StateFile()); err != nil {
			t.Errorf("the state is gone: %v", err)
		}
		one.cfg.Token = ""
		if err := one.start(); err != nil {
			t.Errorf("a member that finds nobody to join does not come up: %v", err)
		}
	})
}

func TestDatapathNotSupported(t *testing.T) {
	l := newLab(t, 0)
	n := l.machine()
	n.host.fail("OpenDatapath", errors.Join(datapath.ErrNotSupported, errors.New("no CAP_BPF")))
	err := n.start()
	if err == nil || !strings.Contains(err.Error(), "no CAP_BPF") {
		t.Errorf("error is %v", err)
	}
}

// A datapath that can be opened but carries nothing is no host's.
func TestFirstApplyFails(t *testing.T) {
	l := newLab(t, 0)
	n := l.machine()
	n.host.fail("Apply", errors.New("UDP port 4789 is in use"))
	if err := n.start(); err == nil || !strings.Contains(err.Error(), "UDP port 4789 is in use") {
		t.Errorf("error is %v", err)
	}
	if _, err := os.Stat(n.cfg.DataDir()); !os.IsNotExist(err) || n.host.pinned {
		t.Errorf("a start that failed has left its state (%v) or its datapath (%v)", err, n.host.pinned)
	}
}

// The copy of a member's disk on another host stops as soon as a peer has
// seen it; the member goes on.
func TestClonedDisk(t *testing.T) {
	l := newLab(t, 3)
	two, clone := l.nodes[1], l.machine()
	two.stop()
	state, err := os.ReadFile(two.cfg.StateFile())
	if err == nil {
		err = os.MkdirAll(clone.cfg.DataDir(), 0o700)
	}
	if err == nil {
		err = os.WriteFile(clone.cfg.StateFile(), state, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := two.start(); err != nil {
		t.Fatal(err)
	}
	l.eventually("host2 is back", func() bool {
		s, err := two.Status(t.Context())
		return err == nil && s.Cluster.Alive == 3
	})
	if err := clone.start(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-clone.disowned:
		if !strings.Contains(err.Error(), "same node ID") {
			t.Errorf("the clone stops because %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the clone goes on")
	}
	clone.stop()
	two.create(api.NetworkRequest{Name: "blue"})
	select {
	case err := <-two.disowned:
		t.Errorf("the original stops: %v", err)
	default:
	}
}

// Two halves create networks with one VNI and one name; after the heal the
// younger has another VNI and is found by its ID.
func TestVNIConflict(t *testing.T) {
	l := newLab(t, 2)
	one, two := l.nodes[0], l.nodes[1]
	l.hub.Partition([]string{one.self.ID}, []string{two.self.ID})
	older := one.create(api.NetworkRequest{Name: "blue"})
	time.Sleep(2 * time.Millisecond)
	younger := two.create(api.NetworkRequest{Name: "blue"})
	if older.Options[api.OptionVNI] != younger.Options[api.OptionVNI] {
		t.Fatalf("VNIs are %v and %v", older.Options, younger.Options)
	}
	b := two.attach("blue", "b")
	l.hub.Partition()
	l.eventually("the younger network has another VNI everywhere", func() bool {
		for _, n := range l.nodes {
			t := n.tables()
			if t.Networks[older.ID].VNI != encap.MinVNI || t.Networks[younger.ID].VNI != encap.MinVNI+1 {
				return false
			}
		}
		return true
	})
	l.eventually("its endpoint is carried under it", func() bool {
		s, _ := two.host.dp().Last()
		return len(s.Networks) == 1 && s.Networks[0].VNI == encap.MinVNI+1 && two.carries(b, two)
	})
	if n, err := two.NetworkInspect(t.Context(), "blue"); err != nil || n.ID != older.ID {
		t.Errorf("blue is network %s, %v; want the older %s", n.ID, err, older.ID)
	}
	if n, err := one.NetworkInspect(t.Context(), younger.ID); err != nil || n.ID != younger.ID {
		t.Errorf("the younger is not found by its ID: %v", err)
	}
	s, err := one.Status(t.Context())
	if err != nil || !strings.Contains(strings.Join(s.Problems, "\n"), "older network") {
		t.Errorf("status does not speak of the name that two have: %v, %v", s.Problems, err)
	}
}

func TestStatus(t *testing.T) {
	l := newLab(t, 2)
	one, two := l.nodes[0], l.nodes[1]
	one.create(api.NetworkRequest{Name: "blue"})
	here := one.attach("blue", "a")
	there := two.attach("blue", "b")
	n := func(packets uint64) datapath.Counter { return datapath.Counter{Packets: packets, Bytes: 100 * packets} }
	port := datapath.PortCounter{Sent: n(9), Received: n(2), Answered: n(1), Dropped: n(3), Copied: n(0)}
	blue, err := findNetwork(one.tables(), "blue")
	if err != nil {
		t.Fatal(err)
	}
	one.host.dp().SetStats(datapath.Stats{
		Ports:       map[string]datapath.PortCounter{here.Device: port},
		Networks:    map[encap.VNI]datapath.PortCounter{blue.VNI: port.Add(port)},
		Past:        datapath.Past{Peers: datapath.PeerCounter{Sent: n(1)}},
		Drops:       map[datapath.DropReason]datapath.Counter{datapath.DropUnknownVNI: {Packets: 3, Bytes: 180}},
		Peers:       map[netip.Addr]datapath.PeerCounter{two.host.underlay.Addr: {Sent: datapath.Counter{Packets: 5, Bytes: 500}, Received: datapath.Counter{Packets: 2, Bytes: 200}, PathMTU: 1400}},
		Attachments: []datapath.Attachment{{Program: "from_underlay", Device: "eth0", Hook: "tcx/ingress"}},
		Drift:       1,
	})
	l.eventually("host1 has converged", func() bool {
		s, err := one.Status(t.Context())
		return err == nil && s.Cluster.Converged
	})
	s, err := one.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "host1" || s.Cluster.Size != 2 || s.Datapath.Kind != datapath.Kernel || s.Datapath.Reason == "" ||
		s.VTEP.String() != "192.0.2.1:4789" || s.UnderlayMTU != 1500 || len(s.Problems) > 0 {
		t.Errorf("status is %+v", s)
	}
	if len(s.Networks) != 1 || s.Networks[0].Local != 1 || s.Networks[0].Remote != 1 {
		t.Errorf("networks are %+v", s.Networks)
	}
	if c := s.Networks[0].Counters; c.Sent.Packets != 18 || c.Received.Bytes != 400 || c.Answered.Packets != 2 || c.Dropped.Packets != 6 {
		t.Errorf("counters of blue are %+v", c)
	}
	if e, err := one.EndpointInspect(t.Context(), "a"); err != nil || e.Counters == nil || e.Counters.Sent.Bytes != 900 || e.Counters.Dropped.Packets != 3 {
		t.Errorf("endpoint a is %+v, %v, want its counters", e, err)
	}
	if e, err := one.EndpointInspect(t.Context(), there.ID); err != nil || e.Counters != nil {
		t.Errorf("endpoint b is %+v, %v, whose counters only its own host has", e, err)
	}
	if s.Counters.Drops["unknown_vni"].Packets != 3 || s.Counters.Sent.Bytes != 600 || s.Counters.Drift != 1 || len(s.Attachments) != 1 {
		t.Errorf("counters are %+v", s.Counters)
	}
	if _, ok := s.Counters.Drops["source_mac"]; !ok {
		t.Error("a drop reason that was not met is missing")
	}
	peers, err := one.Peers(t.Context())
	if err != nil || len(peers) != 1 {
		t.Fatalf("peers are %+v, %v", peers, err)
	}
	if p := peers[0]; p.Name != "host2" || p.State != api.PeerAlive || p.VTEP.String() != "192.0.2.2:4789" || p.Sent.Packets != 5 || p.Received.Bytes != 200 || p.Version != "test" || p.MTU != 1500 || p.PathMTU != 1400 {
		t.Errorf("peer is %+v", p)
	}
	one.host.dp().Fail(datapath.PortObject(one.host.deviceNames()[0]), datapath.ErrNoDevice)
	one.create(api.NetworkRequest{Name: "red"})
	l.eventually("a port that is not applied is a problem", func() bool {
		s, err := one.Status(t.Context())
		return err == nil && len(s.Problems) == 1 && !s.Cluster.Converged
	})
}
