package reconcile

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// render writes s the way the cases below are read.
func render(s datapath.State, alarms []Alarm) string {
	var b strings.Builder
	for _, n := range s.Networks {
		fmt.Fprintf(&b, "network %v mtu %d", n.VNI, n.MTU)
		if n.Multicast {
			b.WriteString(" multicast")
		}
		b.WriteString("\n")
		for _, p := range n.Ports {
			kind := "veth"
			if p.Kind == datapath.TAP {
				kind = "tap"
			}
			fmt.Fprintf(&b, "  port %s %s %v %v\n", p.Device, kind, p.MAC, p.Addrs)
		}
		for _, r := range n.Remotes {
			fmt.Fprintf(&b, "  remote %v %v via %v\n", r.MAC, r.Addrs, r.VTEP)
		}
		for _, v := range n.Services {
			fmt.Fprintf(&b, "  service %s %v ports %v affinity %v table %d\n", v.Name, v.VIPs, v.Ports, v.Affinity, v.TableSize)
			for _, k := range v.Backends {
				fmt.Fprintf(&b, "    backend %s %v %v weight %d", k.ID, k.MAC, k.Addrs, k.Weight)
				if k.Draining {
					b.WriteString(" draining")
				}
				b.WriteString("\n")
			}
		}
	}
	for _, p := range s.Peers {
		fmt.Fprintf(&b, "peer %v mtu %d\n", p.VTEP, p.MTU)
	}
	for _, a := range alarms {
		fmt.Fprintf(&b, "alarm %s: %s\n", a.Object, a.Text)
	}
	return b.String()
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// world builds Tables a row at a time; each row is a second younger than the
// one before.
type world struct {
	Tables
	rows int
}

func newWorld() *world {
	return &world{Tables: Tables{
		Version:   1,
		Nodes:     make(map[string]store.Node),
		Networks:  make(map[string]store.Network),
		Endpoints: make(map[string]store.Endpoint),
		Services:  make(map[string]*Service),
		Failed:    make(map[string]bool),
	}}
}

func (w *world) now() time.Time {
	w.rows++
	return epoch.Add(time.Duration(w.rows) * time.Second)
}

func (w *world) node(id, vtep string) {
	n := store.Node{ID: id, Name: "host-" + id, VXLANPort: 4789, Started: w.now()}
	if vtep != "" {
		n.VTEP = netip.MustParseAddr(vtep)
	}
	w.Nodes[id] = n
}

func (w *world) network(id string, vni encap.VNI, mtu int) {
	w.Networks[id] = store.Network{ID: id, Name: id, VNI: vni, MTU: mtu, Created: w.now()}
}

func (w *world) endpoint(id, network, node, mac, addr string) {
	m, err := encap.ParseMAC(mac)
	if err != nil {
		panic(err)
	}
	w.Endpoints[id] = store.Endpoint{
		ID: id, Name: id, Network: network, Node: node, MAC: m, Device: "ovl" + id,
		Addrs: []netip.Prefix{netip.MustParsePrefix(addr)}, Created: w.now(),
	}
}

func TestBuild(t *testing.T) {
	for _, c := range []struct {
		name string
		rows func(w *world)
		want string
	}{
		{
			name: "only networks with an endpoint here",
			rows: func(w *world) {
				w.network("blue", 4096, 1450)
				w.network("red", 4097, 1450)
				w.endpoint("a", "blue", "1", "02:00:00:00:00:0a", "10.0.0.2/24")
				w.endpoint("b", "blue", "2", "02:00:00:00:00:0b", "10.0.0.3/24")
				w.endpoint("c", "red", "2", "02:00:00:00:00:0c", "10.0.1.2/24")
			},
			want: `
network 4096 mtu 1450
  port ovla veth 02:00:00:00:00:0a [10.0.0.2]
  remote 02:00:00:00:00:0b [10.0.0.3] via 192.0.2.2
`,
		},
		{
			name: "same subnet and addresses in two networks, one of which carries multicast",
			rows: func(w *world) {
				w.network("red", 4097, 1400)
				red := w.Networks["red"]
				red.Multicast = true
				w.Networks["red"] = red
				w.network("blue", 4096, 1450)
				w.endpoint("a", "blue", "1", "02:00:00:00:00:0a", "10.0.0.2/24")
				w.endpoint("b", "red", "1", "02:00:00:00:00:0a", "10.0.0.2/24")
				w.endpoint("c", "red", "3", "02:00:00:00:00:0c", "10.0.0.3/24")
			},
			want: `
network 4096 mtu 1450
  port ovla veth 02:00:00:00:00:0a [10.0.0.2]
network 4097 mtu 1400 multicast
  port ovlb veth 02:00:00:00:00:0a [10.0.0.2]
  remote 02:00:00:00:00:0c [10.0.0.3] via 192.0.2.3
`,
		},
		{
			name: "a TAP, and an underlay that takes less",
			rows: func(w *world) {
				w.network("jumbo", 4096, 8950)
				w.endpoint("a", "jumbo", "1", "02:00:00:00:00:0a", "10.0.0.2/24")
				e := w.Endpoints["a"]
				e.Kind, e.Device = datapath.TAP, "tap0"
				w.Endpoints["a"] = e
			},
			want: `
network 4096 mtu 1450
  port tap0 tap 02:00:00:00:00:0a [10.0.0.2]
alarm network jumbo: its MTU 8950 is more than this host's underlay takes: 1450 is used here
`,
		},
		{
			name: "underlays that take less, more, and as much",
			rows: func(w *world) {
				for id, mtu := range map[string]int{"1": 1500, "2": 1400, "3": 9000} {
					n := w.Nodes[id]
					n.MTU = mtu
					w.Nodes[id] = n
				}
				w.network("blue", 4096, 1450)
				w.endpoint("a", "blue", "1", "02:00:00:00:00:0a", "10.0.0.2/24")
			},
			want: `
network 4096 mtu 1450
  port ovla veth 02:00:00:00:00:0a [10.0.0.2]
peer 192.0.2.2 mtu 1400
alarm underlay: its MTU is 1500 here but 1400 on node host-2, 9000 on node host-3: packets for each host are held to what both take
`,
		},
		{
			name: "a node without a row has left",
			rows: func(w *world) {
				w.network("blue", 4096, 1450)
				w.endpoint("a", "blue", "1", "02:00:00:00:00:0a", "10.0.0.2/24")
				w.endpoint("b", "blue", "gone", "02:00:00:00:00:0b", "10.0.0.3/24")
			},
			want: `
network 4096 mtu 1450
  port ovla veth 02:00:00:00:00:0a [10.0.0.2]
`,
		},
		{
			name: "two networks with one VNI: the older has it",
			rows: func(w *world) {
				w.network("old", 4096, 1450)
				w.network("new", 4096, 1450)
				w.endpoint("a", "new", "1", "02:00:00:00:00:0a", "10.0.0.2/24")
				w.endpoint("b", "old", "1", "02:00:00:00:00:0b", "10.0.0.3/24")
			},
			want: `
network 4096 mtu 1450
  port ovlb veth 02:00:00:00:00:0b [10.0.0.3]
alarm network new: is not carried: VNI 4096 belongs to the older network old; it waits for another VNI
`,
		},
		{
			name: "the older network counts also where it is not present",
			rows: func(w *world) {
				w.network("old", 4096, 1450)
				w.network("new", 4096, 1450)
				w.endpoint("a", "new", "1", "02:00:00:00:00:0a", "10.0.0.2/24")
			},
			want: `
alarm network new: is not carried: VNI 4096 belongs to the older network old; it waits for another VNI
`,
		},
		{
			name: "a VNI that ovl may not use",
			rows: func(w *world) {
				w.network("low", 42, 1450)
				w.endpoint("a", "low", "1", "02:00:00:00:00:0a", "10.0.0.2/24")
			},
			want: `
alarm network low: is not carried: VNI out of range: 42 is not in 4096..16777215
`,
		},
		{
			name: "duplicate MAC and address: the older endpoint has them",
			rows: func(w *world) {
				w.network("blue", 4096, 1450)
				w.endpoint("z", "blue", "2", "02:00:00:00:00:0b", "10.0.0.3/24")
				w.endpoint("a", "blue", "1", "02:00:00:00:00:0b", "10.0.0.2/24")
				w.endpoint("b", "blue", "1", "02:00:00:00:00:0d", "10.0.0.3/24")
				w.endpoint("c", "blue", "1", "02:00:00:00:00:0c", "10.0.0.4/24")
			},
			want: `
network 4096 mtu 1450
  port ovlc veth 02:00:00:00:00:0c [10.0.0.4]
  remote 02:00:00:00:00:0b [10.0.0.3] via 192.0.2.2
alarm endpoint a of network blue: is left out: MAC 02:00:00:00:00:0b belongs to the older endpoint z
alarm endpoint b of network blue: is left out: address 10.0.0.3 belongs to the older endpoint z
`,
		},
		{
			name: "nodes with one VTEP: the one that started last has it",
			rows: func(w *world) {
				w.network("blue", 4096, 1450)
				w.node("4", "192.0.2.2")
				w.node("5", "192.0.2.1")
				w.node("6", "")
				w.endpoint("a", "blue", "1", "02:00:00:00:00:0a", "10.0.0.2/24")
				w.endpoint("b", "blue", "2", "02:00:00:00:00:0b", "10.0.0.3/24")
				w.endpoint("c", "blue", "4", "02:00:00:00:00:0c", "10.0.0.4/24")
				w.endpoint("d", "blue", "5", "02:00:00:00:00:0d", "10.0.0.5/24")
				w.endpoint("e", "blue", "6", "02:00:00:00:00:0e", "10.0.0.6/24")
			},
			want: `
network 4096 mtu 1450
  port ovla veth 02:00:00:00:00:0a [10.0.0.2]
  remote 02:00:00:00:00:0c [10.0.0.4] via 192.0.2.2
alarm node host-6: its endpoints cannot be reached: it has no VTEP
alarm node host-5: its endpoints are left out: its VTEP 192.0.2.1 is this host's own
alarm node host-2: its endpoints are left out: node host-4 started later with the same VTEP 192.0.2.2
`,
		},
		{
			name: "another VXLAN port cannot be reached",
			rows: func(w *world) {
				w.network("blue", 4096, 1450)
				h := w.Nodes["3"]
				h.VXLANPort = 8472
				w.Nodes["3"] = h
				w.endpoint("a", "blue", "1", "02:00:00:00:00:0a", "10.0.0.2/24")
				w.endpoint("c", "blue", "3", "02:00:00:00:00:0c", "10.0.0.4/24")
			},
			want: `
network 4096 mtu 1450
  port ovla veth 02:00:00:00:00:0a [10.0.0.2]
alarm node host-3: its endpoints are left out: it has VXLAN on port 8472, this host on 4789
`,
		},
		{
			name: "a VTEP of the other family cannot be reached",
			rows: func(w *world) {
				w.network("blue", 4096, 1450)
				w.node("2", "2001:db8::2")
				w.node("3", "::ffff:192.0.2.3")
				w.node("4", "fe80::4%eth0")
				w.endpoint("a", "blue", "1", "02:00:00:00:00:0a", "10.0.0.2/24")
				w.endpoint("b", "blue", "2", "02:00:00:00:00:0b", "10.0.0.3/24")
				w.endpoint("c", "blue", "3", "02:00:00:00:00:0c", "10.0.0.4/24")
				w.endpoint("d", "blue", "4", "02:00:00:00:00:0d", "10.0.0.5/24")
			},
			want: `
network 4096 mtu 1450
  port ovla veth 02:00:00:00:00:0a [10.0.0.2]
alarm node host-4: its endpoints are left out: its VTEP fe80::4%eth0 is not an address as hosts have it
alarm node host-3: its endpoints are left out: its VTEP ::ffff:192.0.2.3 is not an address as hosts have it
alarm node host-2: its endpoints are left out: its VTEP 2001:db8::2 is not of the family of this host's, 192.0.2.1: a cluster has one
`,
		},
		{
			name: "names that two have, and a network that was removed",
			rows: func(w *world) {
				w.network("blue", 4096, 1450)
				w.network("blue2", 4097, 1450)
				n := w.Networks["blue2"]
				n.Name = "blue"
				w.Networks["blue2"] = n
				h := w.Nodes["3"]
				h.Name = "host-2"
				w.Nodes["3"] = h
				w.endpoint("a", "none", "1", "02:00:00:00:00:0a", "10.0.0.2/24")
			},
			want: `
alarm endpoint a: is cut off: its network none was removed; detach it
alarm network blue: the older network blue has this name: this one is blue2
alarm node host-2: two nodes have this name, 3 and 2: start one of them with another --name
`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			w.node("1", "192.0.2.1")
			w.node("2", "192.0.2.2")
			w.node("3", "192.0.2.3")
			c.rows(w)
			s, alarms := Build(&w.Tables, Local{Node: "1", VTEP: netip.MustParseAddr("192.0.2.1"), Port: 4789, MaxMTU: 1450})
			if got := render(s, alarms); got != strings.TrimPrefix(c.want, "\n") {
				t.Errorf("state is\n%s\nwant\n%s", got, strings.TrimPrefix(c.want, "\n"))
			}
		})
	}
}

// The winner of a conflict must be the same from every host's view.
func TestBuildAgrees(t *testing.T) {
	w := newWorld()
	w.node("1", "192.0.2.1")
	w.node("2", "192.0.2.2")
	w.network("blue", 4096, 1450)
	w.endpoint("b", "blue", "2", "02:00:00:00:00:0b", "10.0.0.2/24")
	w.endpoint("a", "blue", "1", "02:00:00:00:00:0a", "10.0.0.2/24")
	w.endpoint("c", "blue", "1", "02:00:00:00:00:0c", "10.0.0.3/24")
	one, _ := Build(&w.Tables, Local{Node: "1", VTEP: netip.MustParseAddr("192.0.2.1"), Port: 4789})
	two, _ := Build(&w.Tables, Local{Node: "2", VTEP: netip.MustParseAddr("192.0.2.2"), Port: 4789})
	if r := one.Networks[0].Remotes; len(r) != 1 || r[0].MAC[5] != 0x0b {
		t.Errorf("host 1 takes %v for 10.0.0.2, want endpoint b", r)
	}
	if p := two.Networks[0].Ports; len(p) != 1 || p[0].MAC[5] != 0x0b {
		t.Errorf("host 2 has ports %v, want endpoint b", p)
	}
}

func TestVNIs(t *testing.T) {
	w := newWorld()
	w.network("1111", 4096, 1450)
	w.network("2222", 4096, 1450)
	w.network("3333", 4098, 1450)
	if v, ok := w.FreeVNI(); !ok || v != 4097 {
		t.Errorf("free VNI is %v, want 4097", v)
	}
	if l := w.VNILosers(); len(l) != 1 || l[0].ID != "2222" {
		t.Errorf("losers are %v, want 2222", l)
	}
}
