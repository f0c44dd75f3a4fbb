package agent

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/datapath/link"
)

// subnetsOf returns a network's subnets with their gateways, as text.
func subnetsOf(n api.Network) string {
	var out []string
	for _, c := range n.IPAM.Config {
		out = append(out, c.Subnet.String()+" "+c.Gateway.String())
	}
	return strings.Join(out, ", ")
}

// Subnets of IPv6 that nobody names are out of the cluster's own prefix, on
// whichever host they are picked.
func TestIPv6Pool(t *testing.T) {
	l := newLab(t, 2)
	one, two := l.nodes[0], l.nodes[1]
	own := one.secret.UniqueLocal().Addr().As16()
	local := func(subnet byte) string {
		a := own
		a[7] = subnet
		prefix := netip.PrefixFrom(netip.AddrFrom16(a), 64)
		return prefix.String() + " " + prefix.Addr().Next().String()
	}
	for _, c := range []struct {
		on   *node
		r    api.NetworkRequest
		want string
	}{
		{one, api.NetworkRequest{Name: "a", IPv6: true}, "10.0.0.0/24 10.0.0.1, " + local(0)},
		{two, api.NetworkRequest{Name: "b", IPv6: true}, "10.0.1.0/24 10.0.1.1, " + local(1)},
		{two, api.NetworkRequest{Name: "c", IPv6: true, Subnets: prefixes("10.9.0.0/24")}, "10.9.0.0/24 10.9.0.1, " + local(2)},
		{one, api.NetworkRequest{Name: "d", IPv6: true, Subnets: prefixes("fd00:d::/64")}, "fd00:d::/64 fd00:d::1"},
		{one, api.NetworkRequest{Name: "e", Subnets: prefixes("fd00:e::/120")}, "fd00:e::/120 fd00:e::1"},
	} {
		n := c.on.create(c.r)
		if got := subnetsOf(n); got != c.want || !n.EnableIPv6 {
			t.Errorf("network %s has %s (IPv6 %v), want %s", n.Name, got, n.EnableIPv6, c.want)
		}
	}
	if n := one.create(api.NetworkRequest{Name: "four"}); n.EnableIPv6 {
		t.Errorf("nobody has asked for IPv6: %+v", n)
	}
	// What another network had is picked again; what this host routes is not.
	if err := one.NetworkRemove(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	one.host.routes = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom16(own), 62)}
	if got, want := subnetsOf(one.create(api.NetworkRequest{Name: "f", IPv6: true})), "10.0.0.0/24 10.0.0.1, "+local(4); got != want {
		t.Errorf("network f has %s, want %s", got, want)
	}
}

// A pool of the operator's own, down to its end.
func TestIPv6PoolConfigured(t *testing.T) {
	l := newLab(t, 0)
	n := l.machine()
	n.cfg.AddressPool6, n.cfg.SubnetBits6 = netip.MustParsePrefix("2001:db8:1:2::/64"), 65
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, want string }{
		{"a", "10.0.0.0/24 10.0.0.1, 2001:db8:1:2::/65 2001:db8:1:2::1"},
		{"b", "10.0.1.0/24 10.0.1.1, 2001:db8:1:2:8000::/65 2001:db8:1:2:8000::1"},
	} {
		if got := subnetsOf(n.create(api.NetworkRequest{Name: c.name, IPv6: true})); got != c.want {
			t.Errorf("network %s has %s, want %s", c.name, got, c.want)
		}
	}
	_, err := n.NetworkCreate(t.Context(), api.NetworkRequest{Name: "c", IPv6: true})
	wantCode(t, err, api.CodeExhausted)
	if err != nil && !strings.Contains(err.Error(), "every /65 of the pool 2001:db8:1:2::/64") {
		t.Errorf("%q does not name the pool", err)
	}
	if list, _ := n.NetworkList(t.Context()); len(list) != 2 {
		t.Errorf("%d networks, want the refused one to leave nothing", len(list))
	}
}

// One attach gives an address of each family that the network has, with the
// gateway of each.
func TestAttachFamilies(t *testing.T) {
	l := newLab(t, 2)
	one, two := l.nodes[0], l.nodes[1]
	one.create(api.NetworkRequest{
		Name: "both", Subnets: prefixes("10.1.0.0/24", "fd00:1::/64", "10.2.0.0/24", "fd00:2::/64"),
		Gateways: []netip.Addr{netip.MustParseAddr("fd00:1::fe")}, IPRanges: prefixes("fd00:1::8000/113"),
	})
	one.create(api.NetworkRequest{Name: "six", Subnets: prefixes("fd00:6::/126")})
	var made []api.Endpoint
	for _, c := range []struct {
		network, ns   string
		ips           []string
		want, gateway string
	}{
		{"both", "a", nil, "10.1.0.2/24 fd00:1::8000/64", "10.1.0.1 fd00:1::fe"},
		{"both", "b", []string{"fd00:1::7"}, "10.1.0.3/24 fd00:1::7/64", "10.1.0.1 fd00:1::fe"},
		{"both", "c", []string{"fd00:2::7", "10.2.0.7"}, "10.2.0.7/24 fd00:2::7/64", "10.2.0.1 fd00:2::1"},
		{"six", "d", nil, "fd00:6::2/126", "fd00:6::1"},
	} {
		two.host.addNamespace(c.ns)
		r := api.AttachRequest{Network: c.network, NetNS: c.ns}
		for _, ip := range c.ips {
			r.IPs = append(r.IPs, netip.MustParseAddr(ip))
		}
		e, err := two.Attach(t.Context(), r)
		if err != nil {
			t.Errorf("%s: %v", c.ns, err)
			continue
		}
		var gateways []string
		for _, g := range e.Gateways {
			gateways = append(gateways, g.String())
		}
		if got := textOf(e.Addresses); got != c.want || strings.Join(gateways, " ") != c.gateway {
			t.Errorf("%s has %s, gateways %v; want %s, %s", c.ns, got, gateways, c.want, c.gateway)
		}
		if got := textOf(two.host.devices[e.Device].spec.Addrs); got != c.want {
			t.Errorf("%s: the interface has %s, want %s", c.ns, got, c.want)
		}
		made = append(made, e)
	}
	one.attach("both", "here")
	one.attach("six", "there")
	for _, e := range made {
		if !one.carries(e, two) {
			t.Errorf("the other host does not carry %s", e.Name)
		}
	}
}

func textOf(ps []netip.Prefix) string {
	var out []string
	for _, p := range ps {
		out = append(out, p.String())
	}
	return strings.Join(out, " ")
}

// A host that cannot have IPv6, for want of room or because it is off, refuses
// whole endpoints and goes on with networks of IPv4.
func TestAttachWithoutIPv6(t *testing.T) {
	l := newLab(t, 1)
	l.nodes[0].create(api.NetworkRequest{Name: "both", IPv6: true, MTU: 1280})
	l.nodes[0].create(api.NetworkRequest{Name: "four"})
	small := l.machine()
	small.host.underlay.MTU = 1329
	small.cfg.Join = []string{l.nodes[0].host.underlay.Addr.String()}
	small.cfg.Token = l.nodes[0].secret.Token()
	if err := small.start(); err != nil {
		t.Fatal(err)
	}
	l.eventually("it knows the authority", func() bool { return small.knows(l.nodes[0]) })
	small.host.addNamespace("a")
	_, err := small.Attach(t.Context(), api.AttachRequest{Network: "both", NetNS: "a"})
	wantCode(t, err, api.CodeUnsupported)
	if err != nil && !strings.Contains(err.Error(), "needs an MTU of 1280: underlay eth0 of this host has 1329, which leaves 1279") {
		t.Errorf("%q does not say what is missing", err)
	}
	small.attach("four", "a")

	off := l.nodes[0]
	off.host.addNamespace("b")
	off.host.fail("CreateEndpoint", link.ErrNoIPv6)
	_, err = off.Attach(t.Context(), api.AttachRequest{Network: "both", NetNS: "b"})
	wantCode(t, err, api.CodeUnsupported)
	off.host.fail("CreateEndpoint", nil)
	for _, network := range off.tables().Networks {
		if leases := off.addresses.Leases(network.ID); network.Name == "both" && len(leases) > 0 {
			t.Errorf("the refused endpoint has left leases %v", leases)
		}
	}
}
