package reconcile

import (
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/datapath"
)

// subnet gives a network one, with its first address for a gateway.
func (w *world) subnet(network, prefix string) {
	n := w.Networks[network]
	p := netip.MustParsePrefix(prefix)
	n.Subnets = append(n.Subnets, store.Subnet{Prefix: p, Gateway: p.Addr().Next()})
	w.Networks[network] = n
}

// service adds one, and endpoints as its backends.
func (w *world) service(id, network string, vips []string, backends ...string) *Service {
	row := store.Service{ID: id, Name: id, Network: network, Created: w.now(), TableSize: 1021}
	for _, v := range vips {
		row.VIPs = append(row.VIPs, netip.MustParseAddr(v))
	}
	v := &Service{Service: &row, Backends: make(map[string]store.Backend), Checked: make(map[string]store.Health)}
	for _, e := range backends {
		v.Backends[e] = store.Backend{Node: w.Endpoints[e].Node, Weight: 1}
	}
	w.Services[id] = v
	return v
}

// backend changes what is said of an endpoint as a backend.
func (v *Service) backend(endpoint string, change func(*store.Backend)) {
	row := v.Backends[endpoint]
	change(&row)
	v.Backends[endpoint] = row
}

func TestBuildServices(t *testing.T) {
	const carried = `
network 4096 mtu 1450
  port ovla veth 02:00:00:00:00:0a [10.0.0.2]
  remote 02:00:00:00:00:0b [10.0.0.3] via 192.0.2.2
  remote 02:00:00:00:00:0c [10.0.0.4] via 192.0.2.3
`
	check := &store.HealthCheck{Type: "tcp", Port: 80}
	for _, c := range []struct {
		name string
		rows func(w *world)
		want string
	}{
		{
			name: "by name, with backends by ID",
			rows: func(w *world) {
				w.service("web", "blue", []string{"10.0.0.10", "fd00::10"}, "c", "a", "b").Affinity = time.Minute
				v := w.service("dns", "blue", []string{"10.0.0.11"}, "b")
				v.Ports = []store.ServicePort{{Protocol: 6, Port: 80, Target: 8080}, {Protocol: 17, Port: 53, Target: 53}}
				v.backend("b", func(b *store.Backend) { b.Weight, b.Draining = 7, true })
				w.service("none", "blue", []string{"10.0.0.12"})
			},
			want: `  service dns [10.0.0.11] ports [{6 80 8080} {17 53 53}] affinity 0s table 1021
    backend b 02:00:00:00:00:0b [10.0.0.3] weight 7 draining
  service none [10.0.0.12] ports [] affinity 0s table 1021
  service web [10.0.0.10 fd00::10] ports [] affinity 1m0s table 1021
    backend a 02:00:00:00:00:0a [10.0.0.2] weight 1
    backend b 02:00:00:00:00:0b [10.0.0.3] weight 1
    backend c 02:00:00:00:00:0c [10.0.0.4] weight 1
`,
		},
		{
			name: "those of other networks, and those that names alone lead to",
			rows: func(w *world) {
				w.network("red", 4097, 1450)
				w.subnet("red", "10.0.0.0/24")
				w.service("web", "red", []string{"10.0.0.10"})
				w.service("rr", "blue", nil, "a").DNSRR = true
				w.service("gone", "green", []string{"10.0.0.10"})
			},
		},
		{
			name: "backends that are not there, are of another network, or whose node has failed or left",
			rows: func(w *world) {
				w.network("red", 4097, 1450)
				w.endpoint("d", "red", "2", "02:00:00:00:00:0d", "10.0.0.5/24")
				w.service("web", "blue", []string{"10.0.0.10"}, "b", "c", "d", "nix", "left")
				w.endpoint("left", "blue", "9", "02:00:00:00:00:0e", "10.0.0.6/24")
				w.Failed["3"] = true
			},
			want: `  service web [10.0.0.10] ports [] affinity 0s table 1021
    backend b 02:00:00:00:00:0b [10.0.0.3] weight 1
`,
		},
		{
			name: "health, as their own nodes have found it",
			rows: func(w *world) {
				v := w.service("web", "blue", []string{"10.0.0.10"}, "a", "b", "c")
				v.Health = check
				v.Checked["a"] = store.Health{Node: "1", Healthy: false}
				v.Checked["b"] = store.Health{Node: "1", Healthy: false} // another's word
				v.backend("c", func(b *store.Backend) { b.AwaitsHealth = true })
				v = w.service("web2", "blue", []string{"10.0.0.11"}, "a", "c")
				v.Health = check
				v.Checked["a"] = store.Health{Node: "1", Healthy: true}
				v.backend("c", func(b *store.Backend) { b.AwaitsHealth = true })
				v.Checked["c"] = store.Health{Node: "3", Healthy: true}
				v = w.service("web3", "blue", []string{"10.0.0.12"}, "a") // not checked any more
				v.Checked["a"] = store.Health{Node: "1", Healthy: false}
				v.backend("a", func(b *store.Backend) { b.AwaitsHealth = true })
			},
			want: `  service web [10.0.0.10] ports [] affinity 0s table 1021
    backend b 02:00:00:00:00:0b [10.0.0.3] weight 1
  service web2 [10.0.0.11] ports [] affinity 0s table 1021
    backend a 02:00:00:00:00:0a [10.0.0.2] weight 1
    backend c 02:00:00:00:00:0c [10.0.0.4] weight 1
  service web3 [10.0.0.12] ports [] affinity 0s table 1021
    backend a 02:00:00:00:00:0a [10.0.0.2] weight 1
`,
		},
		{
			name: "a weight of 0 is one of 1",
			rows: func(w *world) {
				w.service("web", "blue", []string{"10.0.0.10"}, "a").backend("a", func(b *store.Backend) { b.Weight = 0 })
			},
			want: `  service web [10.0.0.10] ports [] affinity 0s table 1021
    backend a 02:00:00:00:00:0a [10.0.0.2] weight 1
`,
		},
		{
			name: "one name, one VIP",
			rows: func(w *world) {
				w.service("1", "blue", []string{"10.0.0.10"}).Name = "web"
				w.service("2", "blue", []string{"10.0.0.11"}).Name = "web"
				w.service("3", "blue", []string{"10.0.0.10"})
				w.service("4", "blue", []string{"10.0.0.12"}).DNSRR = true
				w.service("5", "blue", []string{"10.0.0.12"}).Name = "4" // names that have no VIP are taken as well
			},
			want: `  service web [10.0.0.10] ports [] affinity 0s table 1021
alarm service web of network blue: is left out: the older service 1 has this name: this one is 2
alarm service 3 of network blue: is left out: VIP 10.0.0.10 belongs to the older service web
alarm service 4 of network blue: is left out: the older service 4 has this name: this one is 5
`,
		},
		{
			name: "what no service can have",
			rows: func(w *world) {
				port := func(id string, ports ...store.ServicePort) {
					w.service(id, "blue", []string{"10.0.0.20"}).Ports = ports
				}
				w.service("size", "blue", []string{"10.0.0.20"}).TableSize = 1000
				w.service("affinity", "blue", []string{"10.0.0.20"}).Affinity = -1
				w.service("endpoint", "blue", []string{"10.0.0.4"})
				w.service("outside", "blue", []string{"10.0.1.20"})
				w.service("gateway", "blue", []string{"10.0.0.1"})
				w.service("two", "blue", []string{"10.0.0.20", "10.0.0.21"})
				w.service("order", "blue", []string{"fd00::20", "10.0.0.20"})
				w.service("no VIP", "blue", nil)
				port("sctp", store.ServicePort{Protocol: 132, Port: 80, Target: 80})
				port("port 0", store.ServicePort{Protocol: 6, Port: 80})
				port("twice", store.ServicePort{Protocol: 6, Port: 80, Target: 80}, store.ServicePort{Protocol: 6, Port: 80, Target: 81})
			},
			want: `alarm service size of network blue: is left out: table size 1000 is none of [1021 4093 16381 65521 131071]
alarm service affinity of network blue: is left out: affinity -1ns is negative
alarm service endpoint of network blue: is left out: VIP 10.0.0.4 is the address of endpoint c
alarm service outside of network blue: is left out: VIP 10.0.1.20 is in none of the network's subnets
alarm service gateway of network blue: is left out: VIP 10.0.0.1 is a gateway of the network
alarm service two of network blue: is left out: its VIPs are not one of each family, IPv4 first: [10.0.0.20 10.0.0.21]
alarm service order of network blue: is left out: its VIPs are not one of each family, IPv4 first: [fd00::20 10.0.0.20]
alarm service no VIP of network blue: is left out: it has no VIP
alarm service sctp of network blue: is left out: port 80 to 80 of protocol 132 is none that a service can have
alarm service port 0 of network blue: is left out: port 80 to 0 of protocol 6 is none that a service can have
alarm service twice of network blue: is left out: its ports are not in order: 80 of protocol 6
`,
		},
		{
			name: "an endpoint with the MAC of VIPs",
			rows: func(w *world) {
				w.endpoint("d", "blue", "2", datapath.ServiceMAC.String(), "10.0.0.5/24")
				w.service("web", "blue", []string{"10.0.0.10"}, "d")
			},
			want: `  service web [10.0.0.10] ports [] affinity 0s table 1021
alarm endpoint d of network blue: is left out: MAC 0a:6f:76:6c:00:01 is that of every VIP
`,
		},
		{
			name: "an endpoint with the MAC of gateways",
			rows: func(w *world) {
				w.endpoint("d", "blue", "2", datapath.GatewayMAC.String(), "10.0.0.5/24")
				w.service("web", "blue", []string{"10.0.0.10"}, "d")
			},
			want: `  service web [10.0.0.10] ports [] affinity 0s table 1021
alarm endpoint d of network blue: is left out: MAC 0a:6f:76:6c:00:02 is that of every gateway
`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := serviceWorld()
			c.rows(w)
			s, alarms := Build(&w.Tables, serviceLocal)
			if got, want := render(s, alarms), strings.TrimPrefix(carried, "\n")+c.want; got != want {
				t.Errorf("state is\n%s\nwant\n%s", got, want)
			}
		})
	}
}

var serviceLocal = Local{Node: "1", VTEP: netip.MustParseAddr("192.0.2.1"), Port: 4789}

// serviceWorld is a network with an endpoint on each of three nodes.
func serviceWorld() *world {
	w := newWorld()
	w.node("1", "192.0.2.1")
	w.node("2", "192.0.2.2")
	w.node("3", "192.0.2.3")
	w.network("blue", 4096, 1450)
	w.subnet("blue", "10.0.0.0/24")
	w.subnet("blue", "fd00::/64")
	w.endpoint("a", "blue", "1", "02:00:00:00:00:0a", "10.0.0.2/24")
	w.endpoint("b", "blue", "2", "02:00:00:00:00:0b", "10.0.0.3/24")
	w.endpoint("c", "blue", "3", "02:00:00:00:00:0c", "10.0.0.4/24")
	return w
}

// TestBuilderRemembers: whatever changes, a Builder that has built before says
// the same as a new one, and does not touch what it handed out.
func TestBuilderRemembers(t *testing.T) {
	s, err := store.Open(filepath.Join(t.TempDir(), "state.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w := serviceWorld()
	put := func(table, key string, value any) {
		t.Helper()
		if _, err := s.Put(table, key, value); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(table, key string) {
		t.Helper()
		if _, err := s.Delete(table, key); err != nil {
			t.Fatal(err)
		}
	}
	for id, n := range w.Nodes {
		put(store.TableNode, id, n)
	}
	put(store.TableNetwork, "blue", w.Networks["blue"])
	for id, e := range w.Endpoints {
		put(store.TableEndpoint, id, e)
	}
	service := func(id, name, vip string) store.Service {
		row := *w.service(id, "blue", []string{vip}).Service
		row.Name = name
		return row
	}
	web := service("v1", "web", "10.0.0.10")
	late := service("v2", "web", "10.0.0.11")
	key := store.BackendKey
	failed := map[string]bool{}

	var reader Reader
	var builder Builder
	var before datapath.State
	var rendered string
	for _, step := range []struct {
		name   string
		change func()
	}{
		{"a service", func() { put(store.TableService, "v1", web) }},
		{"another of its name", func() { put(store.TableService, "v2", late) }},
		{"backends of both", func() {
			for _, e := range []string{"a", "b", "c", "d"} {
				put(store.TableBackend, key("v1", e), store.Backend{Weight: 1})
				put(store.TableBackend, key("v2", e), store.Backend{Weight: 2})
			}
		}},
		{"drained", func() { put(store.TableBackend, key("v1", "b"), store.Backend{Weight: 1, Draining: true}) }},
		{"a node fails", func() { failed = map[string]bool{"3": true} }},
		{"and is back", func() { failed = map[string]bool{} }},
		{"a backend that there was a row for", func() {
			w.endpoint("d", "blue", "2", "02:00:00:00:00:0d", "10.0.0.5/24")
			put(store.TableEndpoint, "d", w.Endpoints["d"])
		}},
		{"it has another address", func() {
			e := w.Endpoints["d"]
			e.Addrs = []netip.Prefix{netip.MustParsePrefix("10.0.0.6/24")}
			put(store.TableEndpoint, "d", e)
		}},
		{"a service of another name, which stays", func() { put(store.TableService, "v3", service("v3", "dns", "10.0.0.12")) }},
		{"the younger of one name goes", func() { remove(store.TableService, "v2") }},
		{"the address of before", func() { put(store.TableEndpoint, "d", w.Endpoints["d"]) }},
		{"without the endpoint", func() { remove(store.TableEndpoint, "d") }},
		{"and with it", func() { put(store.TableEndpoint, "d", w.Endpoints["d"]) }},
		{"its node fails", func() { failed = map[string]bool{"2": true} }},
		{"is back, and another fails", func() { failed = map[string]bool{"3": true} }},
		{"which is back", func() { failed = nil }},
		{"an endpoint with its VIP", func() {
			w.endpoint("e", "blue", "2", "02:00:00:00:00:0e", "10.0.0.12/24")
			put(store.TableEndpoint, "e", w.Endpoints["e"])
		}},
		{"that goes", func() { remove(store.TableEndpoint, "e") }},
		{"another subnet", func() {
			n := w.Networks["blue"]
			n.Subnets = n.Subnets[1:]
			put(store.TableNetwork, "blue", n)
		}},
		{"the one before", func() { put(store.TableNetwork, "blue", w.Networks["blue"]) }},
		{"the younger comes back", func() { put(store.TableService, "v2", late) }},
		{"a node goes", func() { remove(store.TableNode, "2") }},
		{"that comes back", func() { put(store.TableNode, "2", w.Nodes["2"]) }},
		{"a health check", func() {
			web.Health = &store.HealthCheck{Type: "tcp", Port: 80}
			put(store.TableService, "v1", web)
		}},
		{"unhealthy", func() { put(store.TableHealth, key("v1", "a"), store.Health{Node: "1"}) }},
		{"healthy", func() { put(store.TableHealth, key("v1", "a"), store.Health{Node: "1", Healthy: true}) }},
		{"an endpoint goes", func() { remove(store.TableEndpoint, "d") }},
		{"a backend goes", func() { remove(store.TableBackend, key("v1", "c")) }},
		{"a row that cannot be read", func() { put(store.TableBackend, key("v1", "a"), "?") }},
		{"and is put right", func() { put(store.TableBackend, key("v1", "a"), store.Backend{Weight: 9}) }},
		{"other ports", func() {
			web.Ports = []store.ServicePort{{Protocol: 6, Port: 80, Target: 80}}
			put(store.TableService, "v1", web)
		}},
		{"the older service goes", func() { remove(store.TableService, "v1") }},
		{"the network is carried no more", func() { remove(store.TableEndpoint, "a") }},
		{"and is again", func() { put(store.TableEndpoint, "a", w.Endpoints["a"]) }},
		{"all go", func() { remove(store.TableService, "v2"); remove(store.TableService, "v3") }},
	} {
		step.change()
		read := *reader.Read(s.Snapshot())
		read.Failed = failed
		state, alarms := builder.Build(&read, serviceLocal)

		fresh := *new(Reader).Read(s.Snapshot())
		fresh.Failed = failed
		want, wantAlarms := Build(&fresh, serviceLocal)
		if got, want := render(state, alarms), render(want, wantAlarms); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", step.name, got, want)
		}
		if !state.Equal(want) {
			t.Errorf("%s: states differ in what is not rendered", step.name)
		}
		if got := render(before, nil); got != rendered {
			t.Errorf("%s: the State before has become\n%s\nit was\n%s", step.name, got, rendered)
		}
		if quiet := []string{"another of its name", "the younger of one name goes", "the younger comes back", "a health check"}; state.Equal(before) != slices.Contains(quiet, step.name) {
			t.Errorf("%s: has changed: %v", step.name, !state.Equal(before))
		}
		before, rendered = state, render(state, nil)
	}
	if len(reader.backends.known) != 7 || len(reader.services.known) != 0 {
		t.Errorf("%d rows of backends and %d of services are remembered", len(reader.backends.known), len(reader.services.known))
	}
	if last := reader.Read(s.Snapshot()); len(last.Services) != 0 || len(last.Strays) != 2 {
		t.Errorf("%d services and %d strays", len(last.Services), len(last.Strays))
	}
}
