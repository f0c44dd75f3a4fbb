package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/ipam"
	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// serve makes a service.
func (n *node) serve(r api.ServiceRequest) api.Service {
	n.lab.t.Helper()
	v, err := n.ServiceCreate(n.lab.t.Context(), r)
	if err != nil {
		n.lab.t.Fatalf("create service %s: %v", r.Name, err)
	}
	return v
}

// join attaches an endpoint as a backend.
func (n *node) join(network, netns string, services ...string) api.Endpoint {
	n.lab.t.Helper()
	n.host.addNamespace(netns)
	e, err := n.Attach(n.lab.t.Context(), api.AttachRequest{Network: network, NetNS: netns, Services: services})
	if err != nil {
		n.lab.t.Fatalf("attach %s to %s: %v", netns, network, err)
	}
	return e
}

// carried is what the node's datapath has of a service: its VIPs, and its backends'
// names.
func (n *node) carried(service string) string {
	s, _ := n.host.dp().Last()
	for _, net := range s.Networks {
		for _, v := range net.Services {
			if v.Name != service {
				continue
			}
			var names []string
			for _, b := range v.Backends {
				name := n.tables().Endpoints[b.ID].Name
				if b.Weight != 1 {
					name += fmt.Sprintf("*%d", b.Weight)
				}
				if b.Draining {
					name += "-"
				}
				names = append(names, name)
			}
			slices.Sort(names)
			return fmt.Sprint(v.VIPs, names)
		}
	}
	return ""
}

// carry fails the test unless all hosts have a service so, soon.
func (l *lab) carry(service, want string, nodes ...*node) {
	l.t.Helper()
	for _, n := range nodes {
		l.eventually(fmt.Sprintf("%s carries %s as %s", n.cfg.Name, service, want), func() bool { return n.carried(service) == want })
	}
}

// hasAtOnce fails the test unless all hosts have a service so now.
func (l *lab) hasAtOnce(service, want string, nodes ...*node) {
	l.t.Helper()
	for _, n := range nodes {
		if got := n.carried(service); got != want {
			l.t.Errorf("%s carries %s as %s, want %s", n.cfg.Name, service, got, want)
		}
	}
}

func states(v api.Service) string {
	out := []string{}
	for _, b := range v.Backends {
		out = append(out, fmt.Sprintf("%s@%s %s %d %.2f", b.Name, b.Node, b.State, b.Weight, b.Share))
	}
	return strings.Join(out, ", ")
}

func TestServiceLife(t *testing.T) {
	l := newLab(t, 3)
	one, two, three := l.nodes[0], l.nodes[1], l.nodes[2]
	one.create(api.NetworkRequest{Name: "blue", Subnets: prefixes("10.1.0.0/24"), IPv6: true})
	a := one.attach("blue", "a")
	two.attach("blue", "b")
	three.attach("blue", "c")

	// Another host than the authority, which hands the VIPs out.
	web := two.serve(api.ServiceRequest{
		Name: "web", Network: "blue", Ports: []api.ServicePort{{Port: 80, Target: 8080}}, Affinity: api.Duration(time.Minute),
		TableSize: 1021, Labels: map[string]string{"a": "b"},
	})
	if len(web.VIPs) != 2 || !web.VIPs[0].Is4() || !web.VIPs[1].Is6() || web.Mode != api.ServiceVIP || web.Network != "blue" || web.Labels["a"] != "b" {
		t.Errorf("created %+v", web)
	}
	vips := fmt.Sprint(web.VIPs)
	l.hasAtOnce("web", vips+" []", one, two, three)
	s, _ := three.host.dp().Last()
	if v := s.Networks[0].Services[0]; v.Affinity != time.Minute || v.TableSize != 1021 ||
		!slices.Equal(v.Ports, []datapath.ServicePort{{Protocol: 6, Port: 80, Target: 8080}}) {
		t.Errorf("carried as %+v", v)
	}

	// Endpoints join at attach and later, from any host.
	two.join("blue", "d", "web")
	l.hasAtOnce("web", vips+" [d]", one, two, three)
	ref := api.ServiceRef{Service: "web"}
	got, err := three.ServiceUpdate(t.Context(), api.ServiceUpdate{ServiceRef: ref, Add: []api.ServiceMember{{Endpoint: "a", Weight: 3}, {Endpoint: "c"}}})
	if err != nil {
		t.Fatal(err)
	}
	if want := "a@host1 serving 3 0.60, c@host3 serving 1 0.20, d@host2 serving 1 0.20"; states(got) != want {
		t.Errorf("backends are %s, want %s", states(got), want)
	}
	l.hasAtOnce("web", vips+" [a*3 c d]", one, two, three)

	// Draining, from a host that has nothing to do with it.
	got, err = three.ServiceDrain(t.Context(), api.ServiceDrain{ServiceRef: ref, Endpoint: "d"})
	if want := "a@host1 serving 3 0.75, c@host3 serving 1 0.25, d@host2 draining 1 0.00"; err != nil || states(got) != want {
		t.Errorf("backends are %s, %v, want %s", states(got), err, want)
	}
	l.hasAtOnce("web", vips+" [a*3 c d-]", one, two, three)
	if _, err := one.ServiceDrain(t.Context(), api.ServiceDrain{ServiceRef: ref, Endpoint: "d"}); err != nil {
		t.Errorf("again: %v", err)
	}
	if _, err := one.ServiceDrain(t.Context(), api.ServiceDrain{ServiceRef: ref, Endpoint: "d", Undo: true}); err != nil {
		t.Error(err)
	}
	l.hasAtOnce("web", vips+" [a*3 c d]", one, two, three)
	_, err = one.ServiceDrain(t.Context(), api.ServiceDrain{ServiceRef: ref, Endpoint: "b"})
	wantCode(t, err, api.CodeNotFound)

	// All else that can be changed.
	ports, affinity, labels := []api.ServicePort{}, api.Duration(0), map[string]string{}
	got, err = one.ServiceUpdate(t.Context(), api.ServiceUpdate{
		ServiceRef: ref, Ports: &ports, Affinity: &affinity, Labels: &labels, Remove: []string{"c"},
		Add: []api.ServiceMember{{Endpoint: "a", Weight: 1}},
	})
	if err != nil || len(got.Ports)+len(got.Labels) != 0 || got.Affinity != 0 || len(got.Backends) != 2 {
		t.Errorf("updated: %+v, %v", got, err)
	}
	l.hasAtOnce("web", vips+" [a d]", one, two, three)

	// Detached: no row is left of it.
	if _, err := two.Detach(t.Context(), api.DetachRequest{Endpoint: "d"}); err != nil {
		t.Fatal(err)
	}
	l.hasAtOnce("web", vips+" [a]", one, two, three)
	if rows := two.rows(store.TableBackend); !slices.Equal(rows, []string{web.ID + "/" + a.ID}) {
		t.Errorf("rows of backends: %v", rows)
	}

	if _, err := one.ServiceRemove(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	l.hasAtOnce("web", "", one, two, three)
	if n := len(three.rows(store.TableBackend)) + len(three.rows(store.TableService)); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	_, err = one.ServiceRemove(t.Context(), ref)
	wantCode(t, err, api.CodeNotFound)
}

// rows are the keys of a table.
func (n *node) rows(table string) []string {
	out := []string{}
	for r := range n.store.Snapshot().All(table) {
		out = append(out, r.Key)
	}
	return out
}

// TestServiceAnswers: what inspect, ls and flows say.
func TestServiceAnswers(t *testing.T) {
	l := newLab(t, 2)
	one, two := l.nodes[0], l.nodes[1]
	blue := one.create(api.NetworkRequest{Name: "blue", Subnets: prefixes("10.1.0.0/24")})
	one.create(api.NetworkRequest{Name: "red", Subnets: prefixes("10.1.0.0/24")})
	web := one.serve(api.ServiceRequest{Name: "web", Network: "blue", VIPs: []netip.Addr{netip.MustParseAddr("10.1.0.99")}})
	one.serve(api.ServiceRequest{Name: "web", Network: "red"})
	rr := one.serve(api.ServiceRequest{Name: "rr", Network: "blue", Mode: api.ServiceDNSRR})
	if len(rr.VIPs) != 0 || rr.TableSize != 0 {
		t.Errorf("dnsrr: %+v", rr)
	}
	if web.TableSize != 16381 || web.VIPs[0].String() != "10.1.0.99" {
		t.Errorf("vip: %+v", web)
	}
	a := one.join("blue", "a", "web", "rr")
	b := two.join("blue", "b", web.ID)
	if _, err := one.ServiceDrain(t.Context(), api.ServiceDrain{ServiceRef: api.ServiceRef{Service: "web", Network: "blue"}, Endpoint: "b"}); err != nil {
		t.Fatal(err)
	}

	list, err := two.ServiceList(t.Context(), "")
	if err != nil || len(list) != 3 || list[0].Name != "rr" || list[1].Network != "blue" || list[2].Network != "red" || list[1].Backends != 2 || list[1].Serving != 1 {
		t.Errorf("list: %+v, %v", list, err)
	}
	if list, err := two.ServiceList(t.Context(), "red"); err != nil || len(list) != 1 {
		t.Errorf("list of red: %+v, %v", list, err)
	}
	_, err = one.ServiceInspect(t.Context(), api.ServiceRef{Service: "web"})
	wantCode(t, err, api.CodeAmbiguous)
	_, err = one.ServiceInspect(t.Context(), api.ServiceRef{Service: "nix", Network: "red"})
	wantCode(t, err, api.CodeNotFound)

	port := netip.MustParseAddrPort
	client := a.Addresses[0].Addr()
	flow := datapath.Flow{
		VNI: encap.VNI(4096), Protocol: 6, Client: netip.AddrPortFrom(client, 40000), VIP: port("10.1.0.99:80"),
		Backend: netip.AddrPortFrom(b.Addresses[0].Addr(), 80), BackendID: b.ID, SourcePort: 40000, State: datapath.FlowEstablished,
		Idle: 3500 * time.Millisecond, Sent: datapath.Counter{Packets: 1, Bytes: 10}, Received: datapath.Counter{Packets: 2, Bytes: 20},
	}
	closing, fresh, gone, elsewhere := flow, flow, flow, flow
	closing.Client, closing.State = netip.AddrPortFrom(client, 40001), datapath.FlowClosing
	fresh.Client, fresh.State = netip.AddrPortFrom(client, 40002), datapath.FlowNew
	gone.Client, gone.VIP, gone.BackendID, gone.Protocol = port("10.1.0.77:1"), port("10.1.0.98:53"), "nix", 17
	elsewhere.VNI = encap.VNI(4097) // the same addresses, in red
	one.host.dp().SetFlows([]datapath.Flow{fresh, closing, gone, elsewhere, flow})

	got, err := one.ServiceInspect(t.Context(), api.ServiceRef{Service: "web", Network: "blue"})
	if err != nil || len(got.Backends) != 2 || got.Backends[0].Flows != 0 || got.Backends[1].Flows != 2 ||
		got.Backends[1].Sent != (api.Traffic{Packets: 3, Bytes: 30}) || got.Backends[1].Received != (api.Traffic{Packets: 6, Bytes: 60}) {
		t.Errorf("inspect: %+v, %v", got, err)
	}
	if want := "a@host1 serving 1 1.00, b@host2 draining 1 0.00"; states(got) != want {
		t.Errorf("backends are %s, want %s", states(got), want)
	}
	all, err := one.Flows(t.Context(), api.FlowsRequest{})
	if err != nil || all.Total != 5 || len(all.Flows) != 5 {
		t.Fatalf("flows: %+v, %v", all, err)
	}
	want := api.Flow{
		Network: "blue", Service: "web", Protocol: "tcp", Client: flow.Client, ClientName: "a", VIP: flow.VIP, Backend: flow.Backend,
		BackendName: "b", BackendID: b.ID, SourcePort: 40000, State: "established", Idle: 3,
		Sent: api.Traffic{Packets: 1, Bytes: 10}, Received: api.Traffic{Packets: 2, Bytes: 20},
	}
	if all.Flows[1] != want {
		t.Errorf("flow is\n%+v, want\n%+v", all.Flows[1], want)
	}
	if f := all.Flows[0]; f.Service != "" || f.ClientName != "" || f.BackendName != "" || f.Protocol != "udp" {
		t.Errorf("flow of what is gone: %+v", f)
	}
	if f, err := one.Flows(t.Context(), api.FlowsRequest{Network: "blue", Service: "web", Limit: 1}); err != nil || f.Total != 3 || len(f.Flows) != 1 {
		t.Errorf("flows to web: %+v, %v", f, err)
	}
	if f, err := one.Flows(t.Context(), api.FlowsRequest{Network: "red"}); err != nil || f.Total != 1 {
		t.Errorf("flows of red: %+v, %v", f, err)
	}

	n, err := two.NetworkInspect(t.Context(), "blue")
	if err != nil || len(n.Services) != 2 || n.Services["web"].Backends != 2 || n.Services["web"].VIPs[0].String() != "10.1.0.99" || n.Services["rr"].VIPs == nil {
		t.Errorf("network: %+v, %v", n.Services, err)
	}
	if blue.Services == nil {
		t.Error("a network without services shows null")
	}
}

// TestServiceRefusals: each leaves nothing behind.
func TestServiceRefusals(t *testing.T) {
	l := newLab(t, 2)
	one, two := l.nodes[0], l.nodes[1]
	one.create(api.NetworkRequest{Name: "blue", Subnets: prefixes("10.1.0.0/29"), IPRanges: prefixes("10.1.0.4/30")})
	one.create(api.NetworkRequest{Name: "red", Subnets: prefixes("10.2.0.0/24")})
	web := one.serve(api.ServiceRequest{Name: "web", Network: "blue"})
	if web.VIPs[0].String() != "10.1.0.4" {
		t.Errorf("VIP %v is not in the range", web.VIPs)
	}
	one.serve(api.ServiceRequest{Name: "red", Network: "red"})
	one.attach("blue", "a") // 10.1.0.5
	rr := one.serve(api.ServiceRequest{Name: "rr", Network: "blue", Mode: api.ServiceDNSRR})
	create := func(vip string) error {
		r := api.ServiceRequest{Name: "new", Network: "blue"}
		if vip != "" {
			r.VIPs = []netip.Addr{netip.MustParseAddr(vip)}
		}
		_, err := two.ServiceCreate(t.Context(), r)
		return err
	}
	for _, c := range []struct {
		vip  string
		code api.Code
		text string
	}{
		{"10.1.0.4", api.CodeTaken, "network blue: address is taken: it is the VIP 10.1.0.4 of service web"},
		{"10.1.0.5", api.CodeTaken, "endpoint a on node host1 has 10.1.0.5"},
		{"10.1.0.1", api.CodeTaken, "gateway"},
		{"10.3.0.1", api.CodeInvalid, "10.3.0.1"},
		{"fd00::9", api.CodeInvalid, "fd00::9"},
	} {
		err := create(c.vip)
		wantCode(t, err, c.code)
		if err != nil && !strings.Contains(err.Error(), c.text) {
			t.Errorf("VIP %s: %q does not say %q", c.vip, err, c.text)
		}
	}
	two.host.addNamespace("b")
	attach := func(r api.AttachRequest) error {
		r.Network, r.NetNS = "blue", "b"
		_, err := two.Attach(t.Context(), r)
		return err
	}
	wantCode(t, attach(api.AttachRequest{IPs: web.VIPs}), api.CodeTaken)
	wantCode(t, attach(api.AttachRequest{MAC: datapath.ServiceMAC}), api.CodeTaken)
	wantCode(t, attach(api.AttachRequest{MAC: datapath.GatewayMAC}), api.CodeTaken)
	wantCode(t, attach(api.AttachRequest{Services: []string{"nix"}}), api.CodeNotFound)
	wantCode(t, attach(api.AttachRequest{Services: []string{"red"}}), api.CodeNotFound)
	if d := two.host.deviceNames(); len(d) != 0 {
		t.Errorf("devices are left: %v", d)
	}
	_, err := two.ServiceCreate(t.Context(), api.ServiceRequest{Name: "web", Network: "blue"})
	wantCode(t, err, api.CodeExists)
	_, err = two.ServiceCreate(t.Context(), api.ServiceRequest{Name: "web", Network: "nix"})
	wantCode(t, err, api.CodeNotFound)
	_, err = two.ServiceCreate(t.Context(), api.ServiceRequest{Name: "web"})
	wantCode(t, err, api.CodeInvalid)
	wantCode(t, two.NetworkRemove(t.Context(), "red"), api.CodeInUse)

	affinity, ports := api.Duration(time.Second), []api.ServicePort{{Port: 1}}
	for _, c := range []struct {
		r    api.ServiceUpdate
		code api.Code
	}{
		{api.ServiceUpdate{Add: []api.ServiceMember{{Endpoint: "nix"}}}, api.CodeNotFound},
		{api.ServiceUpdate{Remove: []string{"a"}}, api.CodeNotFound},
		{api.ServiceUpdate{Affinity: &affinity}, api.CodeInvalid},
		{api.ServiceUpdate{Ports: &ports}, api.CodeInvalid},
	} {
		c.r.ServiceRef = api.ServiceRef{Service: "rr"}
		c.r.Labels = &map[string]string{"changed": "too"}
		_, err := one.ServiceUpdate(t.Context(), c.r)
		wantCode(t, err, c.code)
	}
	if v, err := one.ServiceInspect(t.Context(), api.ServiceRef{Service: rr.ID}); err != nil || len(v.Labels) != 0 || len(v.Backends) != 0 {
		t.Errorf("a refused update left %+v, %v", v, err)
	}
	if n := len(one.addresses.Leases(web.NetworkID)); n != 2 {
		t.Errorf("%d leases on blue, want those of web and a", n)
	}

	// A VIP comes back, after its rest or when it is asked for.
	if _, err := two.ServiceRemove(t.Context(), api.ServiceRef{Service: "web"}); err != nil {
		t.Fatal(err)
	}
	if err := create("10.1.0.4"); err != nil {
		t.Error(err)
	}
	// Of 10.1.0.4/30, .7 is the broadcast address, and .6 is left.
	two.attach("blue", "b")
	_, err = two.ServiceCreate(t.Context(), api.ServiceRequest{Name: "more", Network: "blue"})
	wantCode(t, err, api.CodeExhausted)
}

// TestServiceLeases: a VIP is neither freed while its service lives, nor kept when
// it does not, whoever was away meanwhile.
func TestServiceLeases(t *testing.T) {
	l := newLab(t, 2)
	one, two := l.nodes[0], l.nodes[1]
	blue := one.create(api.NetworkRequest{Name: "blue"})
	two.attach("blue", "a")
	web := two.serve(api.ServiceRequest{Name: "web", Network: "blue"})
	held := func() bool {
		return slices.ContainsFunc(one.addresses.Leases(blue.ID), func(l ipam.Lease) bool { return l.Endpoint == web.ID })
	}
	for range 3 { // each review is a grace after the one before
		time.Sleep(400 * time.Millisecond)
		if err := one.reviewLeases(); err != nil {
			t.Fatal(err)
		}
		if !held() {
			t.Fatal("the lease of a service was freed")
		}
	}
	one.stop()
	if _, err := two.ServiceRemove(t.Context(), api.ServiceRef{Service: "web"}); err != nil {
		t.Fatal(err)
	}
	if err := one.start(); err != nil {
		t.Fatal(err)
	}
	l.eventually("the lease is freed", func() bool { return !held() })
	// A lease whose service was never written.
	if _, err := one.takeAddresses(t.Context(), one.tables().Networks[blue.ID], web.ID, "web", nil); err != nil {
		t.Fatal(err)
	}
	l.eventually("the lease without a row is freed", func() bool { return !held() })
	// The authority goes for good: the VIPs go to the heir.
	web = two.serve(api.ServiceRequest{Name: "web", Network: "blue"})
	if _, err := one.Leave(t.Context(), api.LeaveRequest{}); err != nil {
		t.Fatal(err)
	}
	one.Agent = nil
	two.host.addNamespace("b")
	_, err := two.Attach(t.Context(), api.AttachRequest{Network: "blue", NetNS: "b", IPs: web.VIPs})
	wantCode(t, err, api.CodeTaken)
}

// TestVIPWithoutLease: an authority that has no lease of a VIP, its disk having
// been put back, goes by the row.
func TestVIPWithoutLease(t *testing.T) {
	l := newLab(t, 1)
	one := l.nodes[0]
	blue := one.create(api.NetworkRequest{Name: "blue"})
	web := one.serve(api.ServiceRequest{Name: "web", Network: "blue"})
	if err := one.addresses.Release(blue.ID, web.ID); err != nil {
		t.Fatal(err)
	}
	one.host.addNamespace("a")
	_, err := one.Attach(t.Context(), api.AttachRequest{Network: "blue", NetNS: "a", IPs: web.VIPs})
	wantCode(t, err, api.CodeTaken)
	if err != nil && !strings.Contains(err.Error(), "of service web") {
		t.Errorf("%q does not say whose it is", err)
	}
}

// TestDrainIsCarried: what was changed is in the datapath when the call returns,
// also where there is no peer to wait for.
func TestDrainIsCarried(t *testing.T) {
	l := newLab(t, 1)
	one := l.nodes[0]
	one.create(api.NetworkRequest{Name: "blue"})
	vips := fmt.Sprint(one.serve(api.ServiceRequest{Name: "web", Network: "blue"}).VIPs)
	one.join("blue", "a", "web")
	for i := range 20 {
		r := api.ServiceDrain{ServiceRef: api.ServiceRef{Service: "web"}, Endpoint: "a", Undo: i%2 == 1}
		if _, err := one.ServiceDrain(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		l.hasAtOnce("web", vips+[]string{" [a-]", " [a]"}[i%2], one)
	}
}

// TestFailedNodeServesNot: a node that fails takes its backends out of every
// service, and is back with them.
func TestFailedNodeServesNot(t *testing.T) {
	l := newLab(t, 3)
	one, two, three := l.nodes[0], l.nodes[1], l.nodes[2]
	one.create(api.NetworkRequest{Name: "blue"})
	one.attach("blue", "x")
	web := one.serve(api.ServiceRequest{Name: "web", Network: "blue"})
	vips := fmt.Sprint(web.VIPs)
	two.join("blue", "b", "web")
	three.join("blue", "c", "web")
	l.hasAtOnce("web", vips+" [b c]", one, two, three)
	version := one.store.Snapshot().Version()
	three.stop()
	l.carry("web", vips+" [b]", one, two)
	if now := one.store.Snapshot().Version(); now != version {
		t.Errorf("rows have changed, from version %d to %d", version, now)
	}
	got, err := one.ServiceInspect(t.Context(), api.ServiceRef{Service: "web"})
	if want := "b@host2 serving 1 1.00, c@host3 failed 1 0.00"; err != nil || states(got) != want {
		t.Errorf("backends are %s, %v, want %s", states(got), err, want)
	}
	if s, _ := one.host.dp().Last(); len(s.Networks[0].Remotes) != 2 {
		t.Errorf("the endpoint itself is gone: %+v", s.Networks[0].Remotes)
	}
	if err := three.start(); err != nil {
		t.Fatal(err)
	}
	l.carry("web", vips+" [b c]", one, two, three)
}

// TestRestartKeepsBackends: a host that comes up does not take nodes for failed
// that it has not heard of yet, and after a while does.
func TestRestartKeepsBackends(t *testing.T) {
	l := newLab(t, 2)
	one, two := l.nodes[0], l.nodes[1]
	one.create(api.NetworkRequest{Name: "blue"})
	web := one.serve(api.ServiceRequest{Name: "web", Network: "blue"})
	vips := fmt.Sprint(web.VIPs)
	one.join("blue", "a", "web")
	two.join("blue", "b", "web")
	l.carry("web", vips+" [a b]", one, two)
	one.stop()
	two.stop()
	l.meetTime = time.Hour
	if err := one.start(); err != nil {
		t.Fatal(err)
	}
	if failed := one.tables().Failed; len(failed) != 0 {
		t.Errorf("taken for failed: %v", failed)
	}
	for _, v := range one.host.first.Networks[0].Services {
		if len(v.Backends) != 2 {
			t.Errorf("the first State has backends %+v", v.Backends)
		}
	}
	l.hasAtOnce("web", vips+" [a b]", one)
	one.stop()
	l.meetTime = time.Second
	if err := one.start(); err != nil {
		t.Fatal(err)
	}
	l.carry("web", vips+" [a]", one) // two is not coming
	if err := two.start(); err != nil {
		t.Fatal(err)
	}
	l.carry("web", vips+" [a b]", one, two)
}

// TestLeaverServesNot: what was said of a leaver's endpoints as backends goes with
// it.
func TestLeaverServesNot(t *testing.T) {
	l := newLab(t, 0)
	l.leaseGrace = time.Hour // nobody tidies up after it
	one, two := l.add(), l.add()
	one.create(api.NetworkRequest{Name: "blue"})
	web := one.serve(api.ServiceRequest{Name: "web", Network: "blue"})
	one.join("blue", "a", "web")
	two.join("blue", "b", "web")
	if _, err := two.Leave(t.Context(), api.LeaveRequest{}); err != nil {
		t.Fatal(err)
	}
	two.Agent = nil
	l.carry("web", fmt.Sprint(web.VIPs)+" [a]", one)
	l.eventually("its rows are gone", func() bool { return len(one.rows(store.TableBackend)) == 1 })
}

// TestConcurrentUpdates: hosts that change one service at once end up alike.
func TestConcurrentUpdates(t *testing.T) {
	l := newLab(t, 3)
	one := l.nodes[0]
	one.create(api.NetworkRequest{Name: "blue"})
	one.serve(api.ServiceRequest{Name: "web", Network: "blue"})
	for i, n := range l.nodes {
		for k := range 2 {
			n.join("blue", fmt.Sprintf("e%d%d", i, k), "web")
		}
	}
	var wg sync.WaitGroup
	for i, n := range l.nodes {
		wg.Add(1)
		go func() {
			defer wg.Done()
			ref := api.ServiceRef{Service: "web"}
			for k := range 5 {
				ports := []api.ServicePort{{Port: uint16(1 + 10*k + i)}}
				_, err := n.ServiceUpdate(t.Context(), api.ServiceUpdate{
					ServiceRef: ref, Ports: &ports, Add: []api.ServiceMember{{Endpoint: "e00", Weight: uint16(2 + 10*k + i)}},
				})
				if err != nil {
					t.Error(err)
				}
				if _, err := n.ServiceDrain(t.Context(), api.ServiceDrain{ServiceRef: ref, Endpoint: fmt.Sprintf("e%d0", (i+k)%3), Undo: k%2 == 1}); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	wg.Wait()
	l.eventually("all hosts carry the same", func() bool {
		first, _ := one.host.dp().Last()
		want := first.Networks[0].Services
		for _, n := range l.nodes[1:] {
			s, _ := n.host.dp().Last()
			if !slices.EqualFunc(want, s.Networks[0].Services, func(a, b datapath.Service) bool { return fmt.Sprint(a) == fmt.Sprint(b) }) {
				return false
			}
		}
		return len(want) == 1 && len(want[0].Backends) == 6 && len(want[0].Ports) == 1
	})
}

// TestLooseRowsHaveTheirGrace: what a row needs may come after it.
func TestLooseRowsHaveTheirGrace(t *testing.T) {
	l := newLab(t, 0)
	l.leaseGrace = time.Hour
	one := l.add()
	one.create(api.NetworkRequest{Name: "blue"})
	a := one.attach("blue", "a")
	key := store.BackendKey(newID(), a.ID)
	if _, err := one.store.Put(store.TableBackend, key, store.Backend{Node: one.self.ID, Weight: 1}); err != nil {
		t.Fatal(err)
	}
	if found := one.looseRows(one.tables()); len(found) != 1 {
		t.Fatalf("rows that lead nowhere: %v", found)
	}
	time.Sleep(500 * time.Millisecond) // some reviews
	if rows := one.rows(store.TableBackend); !slices.Equal(rows, []string{key}) {
		t.Errorf("rows of backends: %v", rows)
	}
}

// TestLooseRows: what leads nowhere is ignored at once and deleted in time, by
// one node.
func TestLooseRows(t *testing.T) {
	l := newLab(t, 2)
	one, two := l.nodes[0], l.nodes[1]
	blue := one.create(api.NetworkRequest{Name: "blue"})
	web := one.serve(api.ServiceRequest{Name: "web", Network: "blue"})
	a := one.join("blue", "a", "web")
	b := two.join("blue", "b", "web")
	put := func(n *node, table, key string, value any) {
		t.Helper()
		rows, err := n.store.Update(func(tx *store.Tx) error { return tx.Put(table, key, value) })
		if err != nil {
			t.Fatal(err)
		}
		n.cluster.Spread(t.Context(), rows)
	}
	key := store.BackendKey
	put(one, store.TableBackend, key(web.ID, newID()), store.Backend{Node: two.self.ID, Weight: 1})          // no endpoint
	put(one, store.TableBackend, key(newID(), b.ID), store.Backend{Node: two.self.ID, Weight: 1})            // no service
	put(one, store.TableBackend, key(web.ID, newID()), store.Backend{Node: newID(), Weight: 1})              // of a node that left
	put(two, store.TableHealth, key(web.ID, b.ID), store.Health{Node: two.self.ID})                          // nobody asks
	put(two, store.TableService, newID(), store.Service{Name: "lost", Network: newID(), Created: a.Created}) // no network
	l.hasAtOnce("web", fmt.Sprint(web.VIPs)+" [a b]", one, two)
	want := []string{key(web.ID, a.ID), key(web.ID, b.ID)}
	slices.Sort(want)
	l.eventually("they are gone everywhere", func() bool {
		for _, n := range l.nodes {
			if !slices.Equal(n.rows(store.TableBackend), want) || len(n.rows(store.TableHealth)) != 0 || !slices.Equal(n.rows(store.TableService), []string{web.ID}) {
				return false
			}
		}
		return true
	})
	if blue.ID != web.NetworkID {
		t.Error("the service has another network")
	}
}

// TestServicesOfPartitions: two services of one name are made where hosts do not
// hear of each other; the older keeps the name, the other is to be seen.
func TestServicesOfPartitions(t *testing.T) {
	l := newLab(t, 2)
	one, two := l.nodes[0], l.nodes[1]
	one.create(api.NetworkRequest{Name: "blue"})
	one.attach("blue", "a")
	two.attach("blue", "b")
	first := one.serve(api.ServiceRequest{Name: "web", Network: "blue", Mode: api.ServiceDNSRR})
	row := *one.tables().Services[first.ID].Service
	row.ID, row.Created = newID(), row.Created.Add(time.Second)
	rows, err := two.store.Update(func(tx *store.Tx) error { return tx.Put(store.TableService, row.ID, row) })
	if err != nil {
		t.Fatal(err)
	}
	two.settle(t.Context(), rows)
	for _, n := range l.nodes {
		v, err := n.ServiceInspect(t.Context(), api.ServiceRef{Service: "web"})
		if err != nil || v.ID != first.ID {
			t.Errorf("%s finds %s, %v; want %s", n.cfg.Name, v.ID, err, first.ID)
		}
		l.eventually("the younger is alarmed about", func() bool {
			s, err := n.Status(t.Context())
			return err == nil && slices.ContainsFunc(s.Problems, func(p string) bool {
				return strings.Contains(p, "service web of network blue: is left out: the older service "+first.ID)
			})
		})
	}
	if _, err := one.ServiceRemove(t.Context(), api.ServiceRef{Service: row.ID}); err != nil {
		t.Errorf("the younger cannot be removed by its ID: %v", err)
	}
}

// TestAttachWithServiceRollsBack: an attach that fails leaves no backend.
func TestAttachWithServiceRollsBack(t *testing.T) {
	l := newLab(t, 1)
	one := l.nodes[0]
	one.create(api.NetworkRequest{Name: "blue"})
	one.serve(api.ServiceRequest{Name: "web", Network: "blue"})
	one.host.addNamespace("a")
	one.Agent.hooks.afterStep = func(step string) {
		if step == "attach row" {
			one.host.mu.Lock()
			delete(one.host.namespaces, "a")
			one.host.mu.Unlock()
		}
	}
	_, err := one.Attach(t.Context(), api.AttachRequest{Network: "blue", NetNS: "a", Services: []string{"web"}})
	wantCode(t, err, api.CodeNotFound)
	if rows := slices.Concat(one.rows(store.TableBackend), one.rows(store.TableEndpoint)); len(rows) != 0 {
		t.Errorf("rows are left: %v", rows)
	}
	if len(one.host.deviceNames()) != 0 {
		t.Error("devices are left")
	}
}
