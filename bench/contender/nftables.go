package contender

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/ovlnet/ovl/bench/measure"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// nftables is the vxlan contender with services as kube-proxy has them in its
// nftables mode: one look-up in a verdict map of VIPs and ports, a chain for
// each service, which picks one of its backends at random, and a chain for each
// backend, which translates (DNAT). conntrack translates what follows, and what
// comes back.
//
// The rules are in the client's host, to which its endpoint sends what is for a
// VIP: it is routed, and goes back over the bridge to the vxlan device. What the
// backend answers comes over the bridge and passes conntrack there
// (bridge-nf-call-iptables). What services without a backend refuse is a second
// map, which every new connection is looked up in; TCP by a reset, since the
// kernel sends ICMP errors at a low rate only. kube-proxy has more rules, which
// masquerade, and a control plane.
type nftables struct {
	kernelVXLAN
	services int
}

// nftServices are where the VIPs are taken from.
var nftServices = netip.MustParsePrefix("10.96.0.0/12")

func (n *nftables) Name() string { return balancedName("nft", n.services) }

// VIP implements Balanced.
func (*nftables) VIP() netip.Addr { return nftServices.Addr().Next() }

func (n *nftables) Setup(ctx context.Context, lab *linktest.Lab) (measure.Pair, error) {
	pair, err := n.kernelVXLAN.Setup(ctx, lab)
	if err != nil {
		return measure.Pair{}, err
	}
	client, server := n.ends[0], n.ends[1]
	if err := client.host.Do(func() error { return routeServices(client.bridge, server.endpoint) }); err != nil {
		return measure.Pair{}, err
	}
	err = pair.Client.Namespace.Do(func() error { return routeVia(nftServices, nftGateway.Addr()) })
	if err != nil {
		return measure.Pair{}, err
	}
	return pair, n.nft(ctx, nftRules(n.services, n.VIP(), pair.Server.Addr))
}

// Drain implements Drainer: of the TCP ports, by which changes are seen.
func (n *nftables) Drain(ctx context.Context, undo bool) error {
	var script strings.Builder
	for _, p := range measure.Ports() {
		if p.Protocol != "tcp" {
			continue
		}
		key := nftKey(n.VIP(), p)
		gone := fmt.Sprintf("element ip services service-ips { %s : goto service-%s }", key, nftMeasured(p))
		there := fmt.Sprintf("element ip services no-endpoints { %s : goto refuse }", key)
		if undo {
			gone, there = there, gone
		}
		fmt.Fprintf(&script, "delete %s\nadd %s\n", gone, there)
	}
	return n.nft(ctx, script.String())
}

// nft has the client's host do as a script says, all or nothing.
func (n *nftables) nft(ctx context.Context, script string) error {
	cmd := n.ends[0].host.Command(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %.500s", err, bytes.TrimSpace(out))
	}
	return nil
}

// routeServices makes a router of the calling thread's namespace, between the
// endpoints of a bridge and a backend on the same bridge.
func routeServices(bridge netlink.Link, backend vethEndpoint) error {
	if err := addAddr(bridge, nftGateway); err != nil {
		return err
	}
	if err := know(bridge, backend); err != nil {
		return err
	}
	for _, s := range nftSysctls() {
		if err := os.WriteFile("/proc/sys/net/"+s.name, []byte(s.value), 0o644); err != nil {
			return fmt.Errorf("sysctl: %w", err)
		}
	}
	return nil
}

// nftGateway is the host's address on the bridge, to which the client sends
// what is for VIPs.
var nftGateway = netip.MustParsePrefix("198.51.100.254/24")

// nftSysctls have the host route, without telling the client that there is a
// shorter way, and what comes back over the bridge pass conntrack, too.
func nftSysctls() []struct{ name, value string } {
	return []struct{ name, value string }{
		{"ipv4/ip_forward", "1"},
		{"ipv4/conf/all/send_redirects", "0"},
		{"ipv4/conf/br0/send_redirects", "0"},
		{"bridge/bridge-nf-call-iptables", "1"},
	}
}

// nftOtherPort is the port of services that are not measured.
const nftOtherPort = 80

// nftKey is a port of a VIP in the maps, and nftMeasured what the chains of a
// port that is measured are called.
func nftKey(vip netip.Addr, p measure.Port) string {
	return fmt.Sprintf("%s . %s . %d", vip, p.Protocol, p.Number)
}

func nftMeasured(p measure.Port) string { return fmt.Sprintf("0-%s-%d", p.Protocol, p.Number) }

// nftRules are those of that many services, the first of which has vip and is
// measured. All have the same backend; those that are not measured pick it
// without a map, since the time to load rules grows with the square of the number
// of maps.
func nftRules(services int, vip, backend netip.Addr) string {
	var chains, elements strings.Builder
	element := func(vip netip.Addr, p measure.Port, name, pick string) {
		fmt.Fprintf(&chains, `	chain endpoint-%[1]s {
		meta l4proto %[2]s dnat to %[3]s:%[4]d
	}
	chain service-%[1]s {
		%[5]s
	}
`, name, p.Protocol, backend, p.Number, pick)
		fmt.Fprintf(&elements, "%s : goto service-%s,\n", nftKey(vip, p), name)
	}
	for _, p := range measure.Ports() {
		name := nftMeasured(p)
		element(vip, p, name, fmt.Sprintf("numgen random mod 1 vmap { 0 : goto endpoint-%s }", name))
	}
	for i := 1; i < services; i++ {
		vip = vip.Next()
		element(vip, measure.Port{Protocol: "tcp", Number: nftOtherPort}, fmt.Sprint(i), fmt.Sprintf("goto endpoint-%d", i))
	}
	return fmt.Sprintf(`table ip services {
%s	map service-ips {
		type ipv4_addr . inet_proto . inet_service : verdict
		elements = {
%s}
	}
	map no-endpoints {
		type ipv4_addr . inet_proto . inet_service : verdict
	}
	chain refuse {
		meta l4proto tcp reject with tcp reset
		reject
	}
	chain filter-prerouting {
		type filter hook prerouting priority -110; policy accept;
		ct state new ip daddr . meta l4proto . th dport vmap @no-endpoints
	}
	chain services {
		ip daddr . meta l4proto . th dport vmap @service-ips
	}
	chain nat-prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		jump services
	}
}
`, &chains, &elements)
}
