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
// (bridge-nf-call-iptables). No rules beside those: kube-proxy has some that
// masquerade, and some that refuse.
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
	cmd := client.host.Command(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(nftRules(n.services, n.VIP(), pair.Server.Addr))
	if out, err := cmd.CombinedOutput(); err != nil {
		return measure.Pair{}, fmt.Errorf("nft: %w: %.500s", err, bytes.TrimSpace(out))
	}
	return pair, nil
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

// nftRules are those of that many services, the first of which has vip and is
// measured. All have the same backend.
func nftRules(services int, vip, backend netip.Addr) string {
	var chains, elements strings.Builder
	element := func(vip netip.Addr, p measure.Port, name string) {
		fmt.Fprintf(&chains, `	chain endpoint-%[1]s {
		meta l4proto %[2]s dnat to %[3]s:%[4]d
	}
	chain service-%[1]s {
		numgen random mod 1 vmap { 0 : goto endpoint-%[1]s }
	}
`, name, p.Protocol, backend, p.Number)
		fmt.Fprintf(&elements, "%s . %s . %d : goto service-%s,\n", vip, p.Protocol, p.Number, name)
	}
	for _, p := range measure.Ports() {
		element(vip, p, fmt.Sprintf("0-%s-%d", p.Protocol, p.Number))
	}
	for i := 1; i < services; i++ {
		vip = vip.Next()
		element(vip, measure.Port{Protocol: "tcp", Number: nftOtherPort}, fmt.Sprint(i))
	}
	return fmt.Sprintf(`table ip services {
%s	map service-ips {
		type ipv4_addr . inet_proto . inet_service : verdict
		elements = {
%s}
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
