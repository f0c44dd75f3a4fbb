package forward

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/ovlnet/ovl/datapath"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
)

// describe writes a table as text, a line an object, sorted.
func describe(t *Table) string {
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	where := func(e *endpoint) string {
		if e.port != nil {
			return "port " + e.port.Device
		}
		return e.peer.VTEP.String()
	}
	for vni, n := range t.networks {
		add("%d: MTU %d, multicast %v, gateways %v %v, header %x", vni, n.mtu, n.multicast, n.gateway4, n.gateway6, n.vxlan)
		for mac, e := range n.ends {
			add("%d: %v, %v, at %s, backend %v", vni, mac, e.addrs, where(e), e.backend.Load())
		}
		for a, e := range n.owners {
			add("%d: %v is of %v", vni, a, e.mac)
		}
		for vtep := range n.members {
			add("%d: member %v", vni, vtep)
		}
		for i, p := range n.ports {
			add("%d: copy %d to %s", vni, i, p.Device)
		}
		for i, p := range n.hosts {
			add("%d: copy %d to %v", vni, i, p.VTEP)
		}
		for a, v := range n.vips {
			backends := slices.Sorted(maps.Keys(v.backends))
			var takers []string
			for _, b := range v.takers {
				takers = append(takers, b.id)
			}
			add("%d: VIP %v, v6 %v, ports %v, affinity %v, backends %v, takers %v, shares %v of %d",
				vni, netip.AddrFrom16(a), v.v6, v.ports, v.affinity, backends, takers, v.shares.of, v.shares.size)
			for id, b := range v.backends {
				add("%d: VIP %v, backend %s: %+v", vni, netip.AddrFrom16(a), id, *b)
			}
		}
	}
	for p, l := range t.ports {
		add("port %s: of %d, %v", p.Device, l.network.vni, l.end.mac)
		if l.network != t.networks[l.network.vni] {
			add("port %s: its network is an old one", p.Device)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// lasting is what of a table never changes: all but whom services lead to.
func lasting(t *Table) string {
	if t == nil {
		return ""
	}
	lines := strings.Split(describe(t), "\n")
	return strings.Join(slices.DeleteFunc(lines, func(l string) bool { return strings.Contains(l, ", backend ") && !strings.Contains(l, "VIP") }), "\n")
}

// TestTableChanges: a table that was made of the one before is the one that is made
// of its State alone, and the one before is what it was.
func TestTableChanges(t *testing.T) {
	devices := []string{"a", "b", "c", "d"}
	for seed := range uint64(20) {
		ports, peers := map[string]*Port{}, map[netip.Addr]*Peer{}
		for _, device := range devices {
			ports[device] = &Port{Device: device}
		}
		o := Objects{
			Port: func(device string) *Port { return ports[device] },
			Peer: func(vtep netip.Addr) (*Peer, error) {
				if peers[vtep] == nil {
					peers[vtep] = &Peer{VTEP: vtep}
				}
				return peers[vtep], nil
			},
		}
		states := dt.NewRandomStates(seed, devices, seed%2 == 0)
		for i := range 60 {
			s, before := states.Next(), lasting(o.Last)
			next, err := Build(s, o)
			if err != nil {
				t.Fatal(err)
			}
			if after := lasting(o.Last); after != before {
				t.Fatalf("seed %d, State %d: the table before has become\n%s\nit was\n%s", seed, i, after, before)
			}
			alone, err := Build(s, Objects{Port: o.Port, Peer: o.Peer})
			if err != nil {
				t.Fatal(err)
			}
			if got, want := describe(next), describe(alone); got != want {
				t.Fatalf("seed %d, State %d:\n%s\nwant\n%s", seed, i, got, want)
			}
			o.Last = next
		}
	}
}

// TestTableTurnsMulticast: a network that begins to carry multicast makes no more
// copies than it may, and one that ends to is rid of the limit.
func TestTableTurnsMulticast(t *testing.T) {
	const hosts = maxCopies + 3
	s := dt.Crowd(4096, hosts)
	for i := range hosts {
		s.Networks[0].Remotes[i].VTEP = netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)})
	}
	o := Objects{Peer: func(vtep netip.Addr) (*Peer, error) { return &Peer{VTEP: vtep}, nil }}
	for i, multicast := range []bool{false, true, false} {
		now := datapath.State{Networks: slices.Clone(s.Networks)}
		now.Networks[0].Multicast = multicast
		next, err := Build(now, o)
		n, left := next.networks[4096], 0
		if multicast {
			left = 3
		}
		if (err != nil) != multicast || n.leftHosts != left || len(n.hosts) != hosts-left {
			t.Errorf("table %d: %d hosts and %d left, %v, want %d left", i, len(n.hosts), n.leftHosts, err, left)
		}
		o.Last = next
	}
}

// BenchmarkTable makes a table of 10 000 services and three endpoints for each, and
// then one where a backend is drained, or is not.
func BenchmarkTable(b *testing.B) {
	full := dt.CrowdServices(4096, 10_000)
	peers := map[netip.Addr]*Peer{}
	o := Objects{Port: func(string) *Port { return nil }, Peer: func(vtep netip.Addr) (*Peer, error) {
		if peers[vtep] == nil {
			peers[vtep] = &Peer{VTEP: vtep}
		}
		return peers[vtep], nil
	}}
	build := func(b *testing.B, n int, drained bool) {
		t, err := Build(dt.WithDrained(full, n, drained), o)
		if err != nil || len(t.networks[4096].vips) != 10_000 {
			b.Fatalf("%d VIPs, %v", len(t.networks[4096].vips), err)
		}
		o.Last = t
	}
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			o.Last = nil
			build(b, 0, false)
		}
	})
	b.Run("drain", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			build(b, i/2%10_000, i%2 == 0)
		}
	})
}
