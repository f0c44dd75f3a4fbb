package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/ovlnet/ovl/control/api"
	ovldns "github.com/ovlnet/ovl/control/dns"
	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// fakeNames answers nothing, and knows for whom.
type fakeNames struct {
	mu      sync.Mutex
	serving map[net.PacketConn]string // by the ID of the network
	closed  bool
	// real is who answers questions that come over no socket; nil: nobody.
	real nameServer
}

func (f *fakeNames) Ask(ctx context.Context, network string, addr netip.Addr, name string, qtype uint16) (*dns.Msg, ovldns.Result, error) {
	return f.real.Ask(ctx, network, addr, name, qtype)
}

func (f *fakeNames) Stats() ovldns.Stats {
	if f.real == nil {
		return ovldns.Stats{}
	}
	return f.real.Stats()
}

func (f *fakeNames) Serve(network string, udp net.PacketConn, tcp net.Listener) (func() error, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.serving[udp] = network
	return func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.serving, udp)
		return errors.Join(udp.Close(), tcp.Close())
	}, nil
}

func (f *fakeNames) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return nil
}

// networks are the IDs of those that are answered for, sorted.
func (f *fakeNames) networks() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, n := range f.serving {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// at is where the one network is answered for.
func (f *fakeNames) at() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	for udp := range f.serving {
		return udp.LocalAddr().String()
	}
	return "nowhere"
}

// gatewayPorts are those of a State, by VNI.
func gatewayPorts(s datapath.State) map[encap.VNI]datapath.Port {
	out := make(map[encap.VNI]datapath.Port)
	for _, n := range s.Networks {
		for _, p := range n.Ports {
			if p.Gateway {
				out[n.VNI] = p
			}
		}
	}
	return out
}

// wantGateways wants these to be there, as "NAMESPACE DEVICE, …", and in the last
// State, and names to be answered in each; and every State to have had one in each
// network.
func (n *node) wantGateways(t *testing.T, want string) {
	t.Helper()
	if got := n.host.gatewayNames(); got != want {
		t.Errorf("gateways are %q, want %q", got, want)
	}
	count := strings.Count(want, ",") + 1
	if want == "" {
		count = 0
	}
	for i, s := range n.host.dp().States() {
		if len(gatewayPorts(s)) != len(s.Networks) {
			t.Errorf("state %d has %d networks and %d gateways: %+v", i, len(s.Networks), len(gatewayPorts(s)), s)
		}
	}
	if s, _ := n.host.dp().Last(); len(gatewayPorts(s)) != count {
		t.Errorf("the last state has the gateways %+v, want %d", gatewayPorts(s), count)
	}
	if got := n.names.networks(); len(got) != count {
		t.Errorf("names are answered for %q, want %d networks", got, count)
	}
	if got := n.host.holder.names(); len(got) != 2*count {
		t.Errorf("held are %q, want 2 for each of %d gateways", got, count)
	}
}

// A gateway is there from before its network's first endpoint until after the last.
func TestGateway(t *testing.T) {
	l := newLab(t, 2)
	one, two := l.nodes[0], l.nodes[1]
	blue := one.create(api.NetworkRequest{Name: "blue", Subnets: prefixes("10.7.0.0/24", "10.8.0.0/16", "fd07::/64"), MTU: 1400})
	one.create(api.NetworkRequest{Name: "red"})
	one.wantGateways(t, "")
	a := one.attach("blue", "a")
	one.wantGateways(t, "ovl-4096 ovlgw1000")
	want := datapath.Port{
		Device: "ovlgw1000", MAC: datapath.GatewayMAC, Gateway: true,
		Addrs: []netip.Addr{netip.MustParseAddr("10.7.0.1"), netip.MustParseAddr("10.8.0.1"), netip.MustParseAddr("fd07::1")},
	}
	s, _ := one.host.dp().Last()
	if got := gatewayPorts(s)[4096]; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the port is %+v, want %+v", got, want)
	}
	device := one.host.gateways["ovl-4096"]
	if got := fmt.Sprint(device.Addrs); got != "[10.7.0.1/24 10.8.0.1/16 fd07::1/64]" || device.MTU != 1400 || device.IfName != "eth0" {
		t.Errorf("the device is %+v", device)
	}
	if got := one.names.networks(); len(got) != 1 || got[0] != blue.ID {
		t.Errorf("names are answered for %q, want %s", got, blue.ID)
	}
	two.wantGateways(t, "") // it has no endpoint

	at := one.names.at()
	b := one.attach("blue", "b")
	one.attach("red", "c")
	one.wantGateways(t, "ovl-4096 ovlgw1000, ovl-4097 ovlgw1001")
	for _, e := range []api.Endpoint{a, b} {
		if _, err := one.Detach(t.Context(), api.DetachRequest{Endpoint: e.ID}); err != nil {
			t.Fatal(err)
		}
		if e.ID == a.ID {
			one.wantGateways(t, "ovl-4096 ovlgw1000, ovl-4097 ovlgw1001")
		}
	}
	one.wantGateways(t, "ovl-4097 ovlgw1001")
	if one.host.made != 2 || at == "nowhere" {
		t.Errorf("%d gateways were made, want 2; names were answered at %s", one.host.made, at)
	}
	one.host.deleteNamespace("c")
	l.eventually("the last endpoint takes it along", func() bool { return one.host.gatewayNames() == "" })
	l.eventually("and nothing is left", func() bool { return len(one.host.holder.names()) == 0 && len(one.names.networks()) == 0 })
	if got, err := one.Status(t.Context()); err != nil || len(got.Problems) > 0 {
		t.Errorf("status says %q: %v", got.Problems, err)
	}
}

// What an earlier agent has left is kept if it is right, and nothing is answered
// anew.
func TestGatewayOverRestart(t *testing.T) {
	l := newLab(t, 1)
	n := l.nodes[0]
	n.create(api.NetworkRequest{Name: "blue"})
	n.create(api.NetworkRequest{Name: "red"})
	n.attach("blue", "a")
	at, held := n.names.at(), n.host.holder.names()
	first := n.names
	n.attach("red", "b")
	restart := func(meanwhile func()) {
		t.Helper()
		n.stop()
		if !first.closed {
			t.Error("who answered has not been closed")
		}
		if len(n.host.holder.names()) != 4 {
			t.Errorf("held are %q", n.host.holder.names())
		}
		n.host.mu.Lock()
		meanwhile()
		n.host.mu.Unlock()
		if err := n.start(); err != nil {
			t.Fatal(err)
		}
		if err := n.applied(t.Context()); err != nil {
			t.Fatal(err)
		}
	}

	restart(func() {})
	n.wantGateways(t, "ovl-4096 ovlgw1000, ovl-4097 ovlgw1001")
	if ports := gatewayPorts(n.host.first); len(ports) != 2 {
		t.Errorf("the datapath was opened with the gateways %+v", ports)
	}
	if n.host.made != 2 {
		t.Errorf("%d gateways were made, want the 2 of the agent before", n.host.made)
	}

	// One has another's address, and there are some of networks that are not here;
	// and what others have is not touched.
	restart(func() {
		d := n.host.gateways["ovl-4096"]
		d.Addrs = prefixes("10.0.0.9/24")
		n.host.gateways["ovl-4096"] = d
		n.host.gateways["ovl-5000"] = GatewayDevice{Netns: "ovl-5000", Host: "ovlgw1388"}
		for _, netns := range []string{"ovl-5000", "ovl-5001", "ovl-4096-other", "ovl-x", "ovl-04098"} {
			n.host.inode++
			n.host.namespaces[netns] = n.host.inode
		}
		n.host.gateways["elsewhere"] = GatewayDevice{Netns: "elsewhere", Host: "ovlgw1389"}
	})
	n.wantGateways(t, "ovl-4096 ovlgw1000, ovl-4097 ovlgw1001")
	for _, netns := range []string{"ovl-4096-other", "ovl-x", "ovl-04098"} {
		if n.host.namespaces[netns] == 0 {
			t.Errorf("namespace %s is gone, which is none of this instance", netns)
		}
	}
	if n.host.made != 3 {
		t.Errorf("%d gateways were made, want 3: one was not right", n.host.made)
	}

	// The namespace of one is another: its sockets are of no use any more.
	restart(func() { n.host.namespaces["ovl-4096"] = 7 })
	n.wantGateways(t, "ovl-4096 ovlgw1000, ovl-4097 ovlgw1001")
	if got := n.host.holder.names(); slices.Contains(got, held[0]) {
		t.Errorf("held are %q, among them what is of no use", got)
	}

	// An endpoint goes while no agent runs.
	restart(func() {
		delete(n.host.namespaces, "a")
		for d, v := range n.host.devices {
			if v.spec.Namespace.(fakeNamespace).name == "a" {
				delete(n.host.devices, d)
			}
		}
	})
	n.wantGateways(t, "ovl-4097 ovlgw1001")
	t.Logf("names were answered at %s", at)
}

// The sockets of a gateway are the same ones after a restart.
func TestNamesOverRestart(t *testing.T) {
	l := newLab(t, 1)
	n := l.nodes[0]
	n.create(api.NetworkRequest{Name: "blue"})
	n.attach("blue", "a")
	at := n.names.at()
	for range 2 {
		n.stop()
		if err := n.start(); err != nil {
			t.Fatal(err)
		}
		if got := n.names.at(); got != at {
			t.Errorf("names are answered at %s, before the restart at %s", got, at)
		}
	}
	if e, err := n.Detach(t.Context(), api.DetachRequest{Endpoint: "a"}); err != nil {
		t.Errorf("detach %+v: %v", e, err)
	}
	n.wantGateways(t, "")
}

// Without a holder everything goes on; new sockets take the place of the old ones.
func TestNamesWithoutHolder(t *testing.T) {
	l := newLab(t, 0)
	n := l.machine()
	n.host.fail("OpenHolder", errors.New("boom"))
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	n.create(api.NetworkRequest{Name: "blue"})
	n.attach("blue", "a")
	if got := n.names.networks(); len(got) != 1 {
		t.Errorf("names are answered for %q", got)
	}
	n.stop()
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	if got := n.names.networks(); len(got) != 1 {
		t.Errorf("after a restart names are answered for %q", got)
	}
}

// Somebody takes away what is ours.
func TestGatewayMended(t *testing.T) {
	l := newLab(t, 1)
	n := l.nodes[0]
	n.create(api.NetworkRequest{Name: "blue"})
	n.attach("blue", "a")
	at := n.names.at()
	n.host.mu.Lock()
	n.host.removeLocked("ovlgw1000")
	n.host.mu.Unlock()
	l.eventually("the device is made again", func() bool { return n.host.gatewayNames() == "ovl-4096 ovlgw1000" })
	n.wantGateways(t, "ovl-4096 ovlgw1000")
	if got := n.names.at(); got != at {
		t.Errorf("names are answered at %s, and not where they were, at %s, though the namespace is the same", got, at)
	}
	n.host.deleteNamespace("ovl-4096")
	l.eventually("the namespace is made again", func() bool { return n.host.gatewayNames() == "ovl-4096 ovlgw1000" })
	l.eventually("and answered in", func() bool { return n.names.at() != at && len(n.names.networks()) == 1 })
	if held := n.host.holder.names(); len(held) != 2 {
		t.Errorf("held are %q", held)
	}
}

// One that cannot be made is in the status, and tried again.
func TestGatewayFails(t *testing.T) {
	l := newLab(t, 1)
	n := l.nodes[0]
	n.create(api.NetworkRequest{Name: "blue"})
	n.attach("blue", "a")
	n.host.fail("EnsureGateway", errors.New("no room"))
	n.host.deleteNamespace("ovl-4096")
	problem := func() string {
		s, err := n.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(s.Problems, "\n")
	}
	l.eventually("status says so", func() bool { return strings.Contains(problem(), "gateway of network blue: no room") })
	n.host.fail("EnsureGateway", nil)
	l.eventually("it is there again", func() bool { return n.host.gatewayNames() == "ovl-4096 ovlgw1000" && problem() == "" })
}

// An agent that may not make namespaces does without.
func TestGatewayForbidden(t *testing.T) {
	l := newLab(t, 1)
	n := l.nodes[0]
	n.create(api.NetworkRequest{Name: "blue"})
	n.host.fail("EnsureGateway", ErrEnter)
	n.attach("blue", "a")
	if got := n.host.gatewayNames(); got != "" {
		t.Errorf("gateways are %s", got)
	}
	s, err := n.Status(t.Context())
	if err != nil || len(s.Problems) != 1 || !strings.Contains(s.Problems[0], "names are not answered on this host: "+ErrEnter.Error()) {
		t.Errorf("status says %q: %v", s.Problems, err)
	}
}

// A network that gets another VNI gets another gateway; and one that had the VNI of
// an older network has none until then.
func TestGatewayRenumbered(t *testing.T) {
	l := newLab(t, 1)
	n := l.nodes[0]
	n.create(api.NetworkRequest{Name: "blue"})
	n.attach("blue", "a")
	older := n.tables().Networks
	if len(older) != 1 {
		t.Fatal(older)
	}
	for _, red := range older {
		red.ID, red.Name, red.Created = newID(), "red", red.Created.Add(-time.Second)
		if _, err := n.store.Put(store.TableNetwork, red.ID, red); err != nil {
			t.Fatal(err)
		}
	}
	l.eventually("blue has a gateway by its new VNI", func() bool { return n.host.gatewayNames() == "ovl-4097 ovlgw1001" })
	l.eventually("and it is in the datapath", func() bool {
		s, _ := n.host.dp().Last()
		ports := gatewayPorts(s)
		return len(ports) == 1 && ports[4097].Device == "ovlgw1001"
	})
}

// Down takes them along, with an agent and without.
func TestGatewayDown(t *testing.T) {
	l := newLab(t, 2)
	one, two := l.nodes[0], l.nodes[1]
	one.create(api.NetworkRequest{Name: "blue"})
	one.attach("blue", "a")
	two.attach("blue", "b")
	if _, err := one.Leave(t.Context(), api.LeaveRequest{}); err != nil {
		t.Fatal(err)
	}
	if got := one.host.gatewayNames(); got != "" {
		t.Errorf("after leave there are %s", got)
	}
	two.stop()
	two.wantLeft(t, "ovl-4096 ovlgw1000")
	if err := purge(two.cfg, two.host); err != nil {
		t.Fatal(err)
	}
	two.wantLeft(t, "")
}

// wantLeft wants these to be there.
func (n *node) wantLeft(t *testing.T, want string) {
	t.Helper()
	if got := n.host.gatewayNames(); got != want {
		t.Errorf("gateways are %q, want %q", got, want)
	}
}

func TestGatewayNames(t *testing.T) {
	for _, c := range []struct {
		instance, name string
		vni            encap.VNI
		ours           bool
	}{
		{"", "ovl-4096", 4096, true},
		{"", "ovl-16777215", 16777215, true},
		{"b-2", "ovl-4096-b-2", 4096, true},
		{"", "ovl-4096-b", 0, false},
		{"b", "ovl-4096", 0, false},
		{"b", "ovl-4096-b-2", 0, false},
		{"2-b", "ovl-4096-b", 0, false},
		{"", "ovl-16777216", 0, false},
		{"", "ovl-04096", 0, false},
		{"", "ovl-", 0, false},
		{"", "ovl--1", 0, false},
		{"", "ovllab-1-2", 0, false},
		{"", "4096", 0, false},
	} {
		if vni, ours := gatewayVNI(c.instance, c.name); ours != c.ours || ours && vni != c.vni {
			t.Errorf("%s of instance %q: %v %v, want %v %v", c.name, c.instance, vni, ours, c.vni, c.ours)
		}
	}
	for name, want := range map[string]bool{
		"ovlgw1000": true, "ovlgwffffff": true, "ovlgw1000000": false, "ovlgw01000": false, "ovlgw": false,
		"ovlgw1000.1": false, "ovlgwFFFFFF": false, "ovl0123456789": false, "eth0": false,
	} {
		if isGatewayDevice(name) != want {
			t.Errorf("isGatewayDevice(%q) is %v", name, !want)
		}
		if want && isDeviceName(name) {
			t.Errorf("%q is taken for an endpoint's", name)
		}
	}
}

// A network that no host carries, since an older one has its VNI and who could give it
// another is away, has no gateway; the older one has.
func TestGatewayNotCarried(t *testing.T) {
	l := newLab(t, 1)
	n := l.nodes[0]
	blue := n.create(api.NetworkRequest{Name: "blue"})
	n.attach("blue", "a")
	row := n.tables().Networks[blue.ID]
	row.Authority = "away"
	older := row
	older.ID, older.Name, older.Created = newID(), "red", row.Created.Add(-time.Second)
	_, err := n.store.Update(func(tx *store.Tx) error {
		return errors.Join(tx.Put(store.TableNetwork, row.ID, row), tx.Put(store.TableNetwork, older.ID, older))
	})
	if err != nil {
		t.Fatal(err)
	}
	l.eventually("blue's gateway goes", func() bool { return n.host.gatewayNames() == "" && len(n.names.networks()) == 0 })
	n.host.addNamespace("b")
	if _, err := n.Attach(t.Context(), api.AttachRequest{Network: "blue", NetNS: "b"}); err == nil || n.host.gatewayNames() != "" {
		t.Errorf("an attach to it ends with %v, and there is %q", err, n.host.gatewayNames())
	}
}
