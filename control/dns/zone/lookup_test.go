package zone

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/encap"
)

var testLocal = reconcile.Local{Node: "1", VTEP: netip.MustParseAddr("192.0.2.1"), Port: 4789}

// world builds Tables a row at a time; each is a second younger than the one
// before.
type world struct {
	reconcile.Tables
	rows int
}

func newWorld() *world {
	w := &world{Tables: reconcile.Tables{
		Version:   1,
		Nodes:     make(map[string]store.Node),
		Networks:  make(map[string]store.Network),
		Endpoints: make(map[string]store.Endpoint),
		Services:  make(map[string]*reconcile.Service),
		Failed:    make(map[string]bool),
	}}
	for i := range 3 {
		id := fmt.Sprint(i + 1)
		w.Nodes[id] = store.Node{
			ID: id, Name: "host-" + id, VXLANPort: 4789, VTEP: netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), Started: w.now(),
		}
	}
	return w
}

func (w *world) now() time.Time {
	w.rows++
	return time.Date(2026, 1, 1, 0, 0, w.rows, 0, time.UTC)
}

func (w *world) network(id string, subnets ...string) {
	n := store.Network{ID: id, Name: id, VNI: encap.VNI(4096 + len(w.Networks)), MTU: 1450, Created: w.now()}
	for _, s := range subnets {
		p := netip.MustParsePrefix(s)
		n.Subnets = append(n.Subnets, store.Subnet{Prefix: p, Gateway: p.Addr().Next()})
	}
	w.Networks[id] = n
}

// endpoint adds one whose ID is its name and network.
func (w *world) endpoint(name, network, node string, addrs ...string) *store.Endpoint {
	e := store.Endpoint{
		ID: name + "@" + network, Name: name, Network: network, Node: node,
		MAC: encap.MAC{2, 0, 0, 0, byte(w.rows >> 8), byte(w.rows)}, Created: w.now(),
	}
	for _, a := range addrs {
		e.Addrs = append(e.Addrs, netip.PrefixFrom(netip.MustParseAddr(a), 24))
	}
	w.Endpoints[e.ID] = e
	return &e
}

func (w *world) put(e *store.Endpoint) { w.Endpoints[e.ID] = *e }

// service adds one whose ID is its name and network, with endpoints of the network
// as backends.
func (w *world) service(name, network string, vips []string, backends ...string) *reconcile.Service {
	s := &store.Service{ID: name + "@" + network, Name: name, Network: network, TableSize: 16381, Created: w.now(), DNSRR: len(vips) == 0}
	for _, a := range vips {
		s.VIPs = append(s.VIPs, netip.MustParseAddr(a))
	}
	v := &reconcile.Service{Service: s, Backends: make(map[string]store.Backend), Checked: make(map[string]store.Health)}
	for _, b := range backends {
		id := b + "@" + network
		v.Backends[id] = store.Backend{Node: w.Endpoints[id].Node, Weight: 1}
	}
	w.Services[s.ID] = v
	return v
}

func (w *world) view() *View { return (&Reader{Local: testLocal}).Read(&w.Tables) }

// render writes an answer as the cases below have it.
func render(a Answer) string {
	addrs := func(list []netip.Addr) string {
		list = slices.Clone(list)
		slices.SortFunc(list, netip.Addr.Compare)
		return strings.Trim(fmt.Sprint(list), "[]")
	}
	switch a.Kind {
	case Outside:
		return "outside"
	case Nothing:
		return strings.TrimSpace(fmt.Sprintf("nothing %d %s", a.TTL, a.Zone))
	case Addresses:
		return strings.TrimSpace(fmt.Sprintf("%d %s", a.TTL, addrs(a.Addrs)))
	case Ports:
		var list []string
		for _, s := range a.Servers {
			list = append(list, fmt.Sprintf("%s:%d weight %d (%s)", s.Target, s.Port, s.Weight, addrs(s.Addrs)))
		}
		slices.Sort(list)
		return strings.TrimSpace(fmt.Sprintf("%d %s", a.TTL, strings.Join(list, ", ")))
	case Pointer:
		return fmt.Sprintf("%d %s", a.TTL, a.Target)
	}
	return fmt.Sprintf("apex %d %s", a.TTL, a.Zone)
}

// ask looks a name up for the endpoint of blue with address 10.0.0.2.
func ask(t *testing.T, v *View, name string) string {
	t.Helper()
	return askFrom(t, v, "blue", "10.0.0.2", name)
}

func askFrom(t *testing.T, v *View, network, from, name string) string {
	t.Helper()
	c, ok := v.Client(network, netip.MustParseAddr(from))
	if !ok {
		t.Fatalf("%s is no client of %s", from, network)
	}
	var a Answer
	c.Lookup(name, &a)
	return render(a)
}

// twoNetworks have equal subnets and equal names.
func twoNetworks() *world {
	w := newWorld()
	w.network("blue", "10.0.0.0/24", "fd00::/64")
	w.network("red", "10.0.0.0/24")
	w.network("Far.Away", "10.9.0.0/16")
	w.endpoint("me", "blue", "1", "10.0.0.2", "fd00::2")
	w.endpoint("me", "red", "1", "10.0.0.9")
	w.endpoint("secret", "red", "1", "10.0.0.50")
	w.endpoint("b1", "blue", "1", "10.0.0.11", "fd00::11")
	w.endpoint("b2", "blue", "2", "10.0.0.12")
	w.endpoint("b3", "blue", "3", "10.0.0.13")
	a := w.endpoint("Db_1", "blue", "2", "10.0.0.21")
	a.Aliases = []string{"db", "www.example.com"}
	w.put(a)
	b := w.endpoint("db-2", "blue", "2", "10.0.0.22")
	b.Aliases = []string{"DB"}
	w.put(b)
	w.service("web", "blue", []string{"10.0.0.100", "fd00::100"}, "b1", "b2", "b3")
	w.service("rr", "blue", nil, "b1", "b2", "b3").Backends["b2@blue"] = store.Backend{Node: "2", Weight: 7}
	w.service("api", "blue", []string{"10.0.0.101"}, "b1").Ports = []store.ServicePort{{Protocol: 6, Port: 80, Target: 8080}}
	w.service("web", "red", []string{"10.0.0.60"}, "secret")
	return w
}

func TestLookup(t *testing.T) {
	v := twoNetworks().view()
	for _, c := range []struct{ name, want string }{
		{"me", "1 10.0.0.2 fd00::2"},
		{"me.blue", "1 10.0.0.2 fd00::2"},
		{"db_1", "1 10.0.0.21"},
		{"db", "1 10.0.0.21 10.0.0.22"},
		{"db.blue", "1 10.0.0.21 10.0.0.22"},
		{"www.example.com", "1 10.0.0.21"},
		{"www.example.com.blue", "1 10.0.0.21"},
		{"web", "5 10.0.0.100 fd00::100"},
		{"web.blue", "5 10.0.0.100 fd00::100"},
		{"tasks.web", "1 10.0.0.11 10.0.0.12 10.0.0.13 fd00::11"},
		{"tasks.web.blue", "1 10.0.0.11 10.0.0.12 10.0.0.13 fd00::11"},
		{"rr", "1 10.0.0.11 10.0.0.12 10.0.0.13 fd00::11"},
		{"tasks.rr", "1 10.0.0.11 10.0.0.12 10.0.0.13 fd00::11"},

		{"_80._tcp.web", "5 web.blue:80 weight 0 (10.0.0.100 fd00::100)"},
		{"_53._udp.web.blue", "5 web.blue:53 weight 0 (10.0.0.100 fd00::100)"},
		{"_80._tcp.api", "5 api.blue:80 weight 0 (10.0.0.101)"},
		{"_81._tcp.api", "nothing 1"},
		{"_80._udp.api.blue", "nothing 1 blue"},
		{"_7._tcp.rr", "1 b1.blue:7 weight 1 (10.0.0.11 fd00::11), b2.blue:7 weight 7 (10.0.0.12), b3.blue:7 weight 1 (10.0.0.13)"},
		{"_0._tcp.web", "nothing 1"},
		{"_080._tcp.web", "nothing 1"},
		{"_65536._tcp.web", "nothing 1"},
		{"_http._tcp.web", "nothing 1"},
		{"_80._sctp.web", "outside"},
		{"_80._tcp.me", "nothing 1"},

		{"2.0.0.10.in-addr.arpa", "1 me.blue"},
		{"22.0.0.10.in-addr.arpa", "1 db-2.blue"},
		{"100.0.0.10.in-addr.arpa", "5 web.blue"},
		{"2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa", "1 me.blue"},
		{"3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa", "nothing 1"},
		{"1.0.0.10.in-addr.arpa", "nothing 1"},  // the gateway
		{"50.0.0.10.in-addr.arpa", "nothing 1"}, // red's
		{"1.2.9.10.in-addr.arpa", "nothing 1"},  // of a network without endpoints here
		{"0.0.10.in-addr.arpa", "nothing 1"},
		{"lb._dns-sd._udp.0.0.0.10.in-addr.arpa", "nothing 1"},
		{"x.2.0.0.10.in-addr.arpa", "nothing 1"},
		{"0.10.in-addr.arpa", "outside"}, // more than the cluster's
		{"1.2.0.192.in-addr.arpa", "outside"},
		{"256.0.0.10.in-addr.arpa", "nothing 1"},
		{"02.0.0.10.in-addr.arpa", "nothing 1"},
		{"in-addr.arpa", "outside"},

		{"blue", "apex 1 blue"},
		{"nobody", "nothing 1"},
		{"nobody.blue", "nothing 1 blue"},
		{"tasks.nobody", "nothing 1"},
		{"_80._tcp.nobody", "nothing 1"},
		{"secret", "nothing 1"},
		{"secret.red", "nothing 1"},
		{"web.red", "nothing 1"},
		{"red", "nothing 1"},
		{"x.far.away", "nothing 1"},
		{"far.away", "nothing 1"},
		{"away", "nothing 1"},
		{"x.away", "outside"},
		{"web.blue.red", "nothing 1"},
		{"web.blue.blue", "nothing 1 blue"},
		{"tasks.example.com", "outside"},
		{"_sip._udp.example.com", "outside"},
		{"example.com", "outside"},
		{"com", "nothing 1"},
		{"", "outside"},
		{"a\\.blue", "nothing 1"},
		{"web\\.blue", "nothing 1"},
		{"x.web\\.blue", "outside"},
		{"tasks\\.web", "nothing 1"},
	} {
		if got := ask(t, v, c.name); got != c.want {
			t.Errorf("%q: %q, want %q", c.name, got, c.want)
		}
	}
	for _, c := range []struct{ name, want string }{
		{"web", "5 10.0.0.60"}, {"secret.red", "1 10.0.0.50"}, {"me", "1 10.0.0.9"}, {"web.blue", "nothing 1"}, {"db", "nothing 1"},
		{"2.0.0.10.in-addr.arpa", "nothing 1"}, {"9.0.0.10.in-addr.arpa", "1 me.red"},
	} {
		if got := askFrom(t, v, "red", "10.0.0.9", c.name); got != c.want {
			t.Errorf("from red, %q: %q, want %q", c.name, got, c.want)
		}
	}
}

// What does not serve is not in an answer, and a name that has nothing left is not
// asked of anybody else.
func TestWhatDoesNotServe(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(w *world)
		want   map[string]string
	}{
		{
			name:   "failed node",
			change: func(w *world) { w.Failed["2"] = true },
			want: map[string]string{
				"tasks.web": "1 10.0.0.11 10.0.0.13 fd00::11", "rr": "1 10.0.0.11 10.0.0.13 fd00::11", "web": "5 10.0.0.100 fd00::100",
				"b2": "nothing 1", "www.example.com": "nothing 1", "12.0.0.10.in-addr.arpa": "nothing 1",
				"_7._tcp.rr": "1 b1.blue:7 weight 1 (10.0.0.11 fd00::11), b3.blue:7 weight 1 (10.0.0.13)",
			},
		},
		{
			name:   "node that left",
			change: func(w *world) { delete(w.Nodes, "2") },
			want:   map[string]string{"tasks.web": "1 10.0.0.11 10.0.0.13 fd00::11", "b2": "nothing 1"},
		},
		{
			name:   "node that cannot be reached",
			change: func(w *world) { n := w.Nodes["2"]; n.VXLANPort = 8472; w.Nodes["2"] = n },
			want:   map[string]string{"tasks.web": "1 10.0.0.11 10.0.0.13 fd00::11", "b2": "nothing 1"},
		},
		{
			name: "draining",
			change: func(w *world) {
				w.Services["web@blue"].Backends["b1@blue"] = store.Backend{Node: "1", Weight: 1, Draining: true}
			},
			want: map[string]string{"tasks.web": "1 10.0.0.12 10.0.0.13", "b1": "1 10.0.0.11 fd00::11"},
		},
		{
			name: "unhealthy, and not known to be healthy yet",
			change: func(w *world) {
				s := w.Services["web@blue"]
				s.Health = &store.HealthCheck{Type: "tcp", Port: 80}
				s.Checked["b1@blue"] = store.Health{Node: "1"}
				s.Checked["b3@blue"] = store.Health{Node: "3", Healthy: true}
				s.Backends["b2@blue"] = store.Backend{Node: "2", Weight: 1, AwaitsHealth: true}
			},
			want: map[string]string{"tasks.web": "1 10.0.0.13"},
		},
		{
			name: "all of them",
			change: func(w *world) {
				for id := range w.Services["rr@blue"].Backends {
					w.Services["rr@blue"].Backends[id] = store.Backend{Draining: true}
				}
			},
			want: map[string]string{"rr": "1", "tasks.rr": "1", "_7._tcp.rr": "1"},
		},
		{
			name: "a backend of another network, and one that is not there",
			change: func(w *world) {
				w.Services["web@blue"].Backends = map[string]store.Backend{"secret@red": {}, "gone": {}}
			},
			want: map[string]string{"tasks.web": "1"},
		},
		{
			name: "a service wins over an endpoint",
			change: func(w *world) {
				w.endpoint("WEB", "blue", "1", "10.0.0.30")
				w.endpoint("tasks.web", "blue", "1", "10.0.0.31")
			},
			want: map[string]string{
				"web": "5 10.0.0.100 fd00::100", "tasks.web": "1 10.0.0.11 10.0.0.12 10.0.0.13 fd00::11", "30.0.0.10.in-addr.arpa": "1 WEB.blue",
			},
		},
		{
			name: "two services of one name",
			change: func(w *world) {
				w.service("x", "blue", []string{"10.0.0.110"}).ID = "x"
				w.Services["x"] = w.Services["x@blue"]
				delete(w.Services, "x@blue")
				w.service("x", "blue", []string{"10.0.0.111"})
			},
			want: map[string]string{"x": "5 10.0.0.110", "111.0.0.10.in-addr.arpa": "nothing 1"},
		},
		{
			name:   "a VIP that an endpoint has",
			change: func(w *world) { w.endpoint("thief", "blue", "2", "10.0.0.100") },
			want: map[string]string{
				"web": "5", "100.0.0.10.in-addr.arpa": "1 thief.blue", "_80._tcp.web": "5",
				"tasks.web": "1 10.0.0.11 10.0.0.12 10.0.0.13 fd00::11",
			},
		},
		{
			name: "an address that an older endpoint has",
			change: func(w *world) {
				w.endpoint("late", "blue", "2", "10.0.0.40", "10.0.0.11")
				w.endpoint("later", "blue", "2", "10.0.0.40")
			},
			want: map[string]string{"late": "nothing 1", "later": "1 10.0.0.40", "11.0.0.10.in-addr.arpa": "1 b1.blue"},
		},
		{
			name: "names that DNS cannot say",
			change: func(w *world) {
				w.endpoint("odd..name", "blue", "1", "10.0.0.40")
				w.endpoint("odd.", "blue", "1", "10.0.0.41")
				w.endpoint("a b", "blue", "1", "10.0.0.42")
			},
			want: map[string]string{
				"40.0.0.10.in-addr.arpa": "nothing 1", "41.0.0.10.in-addr.arpa": "nothing 1", "42.0.0.10.in-addr.arpa": "nothing 1",
				"odd": "nothing 1", "a\\ b": "nothing 1",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := twoNetworks()
			c.change(w)
			v := w.view()
			for name, want := range c.want {
				if got := ask(t, v, name); got != want {
					t.Errorf("%q: %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestClient(t *testing.T) {
	w := twoNetworks()
	w.endpoint("double", "blue", "1", "10.0.0.11")
	v := w.view()
	for _, c := range []struct {
		network, addr, want string
	}{
		{"blue", "10.0.0.2", "me@blue"},
		{"blue", "::ffff:10.0.0.2", "me@blue"},
		{"blue", "fd00::2", "me@blue"},
		{"red", "10.0.0.9", "me@red"},
		{"blue", "10.0.0.11", "b1@blue"},
		{"blue", "10.0.0.12", ""}, // on another host
		{"blue", "10.0.0.9", ""},  // of another network
		{"blue", "10.0.0.1", ""},
		{"blue", "10.0.0.100", ""},
		{"blue", "127.0.0.1", ""},
		{"green", "10.0.0.2", ""},
	} {
		got, ok := v.Client(c.network, netip.MustParseAddr(c.addr))
		if ok != (c.want != "") || got.Endpoint() != c.want {
			t.Errorf("%s of %s: %q, want %q", c.addr, c.network, got.Endpoint(), c.want)
		}
	}
}

// A namespace on several networks finds the names of all of them.
func TestSiblings(t *testing.T) {
	w := twoNetworks()
	w.network("green", "10.7.0.0/24")
	for _, c := range []struct {
		network, addr string
		inode         uint64
	}{{"green", "10.7.0.2", 5}, {"red", "10.0.0.70", 5}, {"blue", "10.0.0.70", 5}, {"red", "10.0.0.71", 6}, {"blue", "10.0.0.71", 0}, {"red", "10.0.0.72", 0}} {
		e := w.endpoint(fmt.Sprintf("m%d-%s", c.inode, c.addr), c.network, "1", c.addr)
		e.NetnsInode = c.inode
		w.put(e)
	}
	far := w.endpoint("far", "blue", "2", "10.0.0.73") // the same number on another host
	far.NetnsInode = 6
	w.put(far)
	w.endpoint("lamp", "green", "2", "10.7.0.9")
	w.endpoint("lamp", "red", "2", "10.0.0.80")
	v := w.view()
	for _, c := range []struct{ network, from, name, want string }{
		{"blue", "10.0.0.70", "web", "5 10.0.0.100 fd00::100"},
		{"red", "10.0.0.70", "web", "5 10.0.0.60"},
		{"green", "10.7.0.2", "web", "5 10.0.0.60"}, // red was attached before blue
		{"blue", "10.0.0.70", "web.red", "5 10.0.0.60"},
		{"blue", "10.0.0.70", "secret", "1 10.0.0.50"},
		{"blue", "10.0.0.70", "lamp", "1 10.7.0.9"},
		{"red", "10.0.0.70", "lamp", "1 10.0.0.80"},
		{"blue", "10.0.0.70", "50.0.0.10.in-addr.arpa", "1 secret.red"},
		{"blue", "10.0.0.70", "nobody", "nothing 1"},
		{"blue", "10.0.0.71", "secret", "nothing 1"}, // without a namespace
		{"red", "10.0.0.71", "lamp", "1 10.0.0.80"},
		{"red", "10.0.0.71", "me.blue", "nothing 1"},
		{"red", "10.0.0.72", "me.blue", "nothing 1"},
	} {
		if got := askFrom(t, v, c.network, c.from, c.name); got != c.want {
			t.Errorf("%s at %s asks for %q: %q, want %q", c.from, c.network, c.name, got, c.want)
		}
	}
}

func TestAnswersAreShuffled(t *testing.T) {
	v := twoNetworks().view()
	c, _ := v.Client("blue", netip.MustParseAddr("10.0.0.2"))
	first := make(map[netip.Addr]int)
	for range 400 {
		var a Answer
		c.Lookup("db", &a)
		first[a.Addrs[0]]++
	}
	if len(first) != 2 || min(first[netip.MustParseAddr("10.0.0.21")], first[netip.MustParseAddr("10.0.0.22")]) < 100 {
		t.Errorf("of 400 answers the first address was %v", first)
	}
}
