package api_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/encap"
)

func prefixes(s ...string) (out []netip.Prefix) {
	for _, p := range s {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func addrs(s ...string) (out []netip.Addr) {
	for _, a := range s {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func TestNetworkRequestValidate(t *testing.T) {
	one := prefixes("10.1.0.0/24")
	var sixteen []netip.Prefix
	for i := range byte(api.MaxSubnets) {
		sixteen = append(sixteen, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, i}), 16))
	}
	aux := func(name, a string) map[string]netip.Addr {
		return map[string]netip.Addr{name: netip.MustParseAddr(a)}
	}
	for _, tt := range []struct {
		name string
		req  api.NetworkRequest
		want string // part of the error; empty: valid
	}{
		{"least", api.NetworkRequest{}, ""},
		{"both families", api.NetworkRequest{Subnets: prefixes("10.1.0.0/24", "fd00::/64"), MTU: 1280}, ""},
		{"name", api.NetworkRequest{Name: "a b"}, `network name "a b" is not 1 to 63 letters`},
		{"host bits", api.NetworkRequest{Subnets: prefixes("10.1.0.1/24")}, "10.1.0.0/24 is meant"},
		{"overlap", api.NetworkRequest{Subnets: prefixes("10.1.0.0/16", "10.1.2.0/24")}, "subnets 10.1.0.0/16 and 10.1.2.0/24 overlap"},
		{"too long", api.NetworkRequest{Subnets: prefixes("10.1.0.0/31")}, "not in 8..30"},
		{"too short", api.NetworkRequest{Subnets: prefixes("10.0.0.0/7")}, "not in 8..30"},
		{"too long, IPv6", api.NetworkRequest{Subnets: prefixes("fd00::/127")}, "not in 32..126"},
		{"multicast", api.NetworkRequest{Subnets: prefixes("224.0.0.0/8")}, "not one that hosts can be in"},
		{"mapped", api.NetworkRequest{Subnets: prefixes("::ffff:10.0.0.0/104")}, "not a prefix such as"},
		{"no subnet at all", api.NetworkRequest{Subnets: []netip.Prefix{{}}}, "not a prefix such as"},
		{"gateway", api.NetworkRequest{Subnets: one, Gateways: addrs("10.1.0.254")}, ""},
		{"gateway outside", api.NetworkRequest{Subnets: one, Gateways: addrs("10.2.0.1")}, "in none of the subnets"},
		{"gateway without subnet", api.NetworkRequest{Gateways: addrs("10.2.0.1")}, "in none of the subnets"},
		{"gateway is broadcast", api.NetworkRequest{Subnets: one, Gateways: addrs("10.1.0.255")}, "network or broadcast"},
		{"two gateways", api.NetworkRequest{Subnets: one, Gateways: addrs("10.1.0.1", "10.1.0.2")}, "two gateways"},
		{"range", api.NetworkRequest{Subnets: one, IPRanges: prefixes("10.1.0.128/25")}, ""},
		{"range outside", api.NetworkRequest{Subnets: one, IPRanges: prefixes("10.2.0.0/25")}, "inside none"},
		{"range wider", api.NetworkRequest{Subnets: one, IPRanges: prefixes("10.1.0.0/16")}, "inside none"},
		{"range host bits", api.NetworkRequest{Subnets: one, IPRanges: prefixes("10.1.0.1/25")}, "without host bits"},
		{"aux", api.NetworkRequest{Subnets: one, AuxAddresses: aux("r", "10.1.0.9")}, ""},
		{"aux outside", api.NetworkRequest{Subnets: one, AuxAddresses: aux("r", "10.9.0.9")}, "in none of the subnets"},
		{"aux is gateway", api.NetworkRequest{Subnets: one, AuxAddresses: aux("r", "10.1.0.1")}, "is the gateway"},
		{"aux name", api.NetworkRequest{Subnets: one, AuxAddresses: aux("=", "10.1.0.9")}, "aux address name"},
		{"aux twice", api.NetworkRequest{Subnets: one, AuxAddresses: map[string]netip.Addr{
			"a": netip.MustParseAddr("10.1.0.9"), "b": netip.MustParseAddr("10.1.0.9"),
		}}, "a and b are both 10.1.0.9"},
		{"IPv6", api.NetworkRequest{IPv6: true, MTU: 1280}, ""},
		{"IPv6 and a subnet of it", api.NetworkRequest{IPv6: true, Subnets: prefixes("fd00::/126")}, ""},
		{"IPv6 beside IPv4", api.NetworkRequest{IPv6: true, Subnets: one}, ""},
		{"IPv6, too many", api.NetworkRequest{IPv6: true, Subnets: sixteen}, "16 subnets and one of IPv6 are too many: 16 at most"},
		{"IPv6, gateway of no subnet", api.NetworkRequest{IPv6: true, Subnets: one, Gateways: addrs("fd00::1")}, "in none of the subnets"},
		{"gateways of both", api.NetworkRequest{Subnets: prefixes("10.1.0.0/24", "fd00::/64"), Gateways: addrs("fd00::fe", "10.1.0.9")}, ""},
		{"gateway is anycast", api.NetworkRequest{Subnets: prefixes("fd00::/64"), Gateways: addrs("fd00::")}, "fd00:: is the routers' anycast address of fd00::/64"},
		{"two gateways, IPv6", api.NetworkRequest{Subnets: prefixes("fd00::/64"), Gateways: addrs("fd00::1", "fd00::2")}, "two gateways"},
		{"gateway with zone", api.NetworkRequest{Subnets: prefixes("fd00::/64"), Gateways: addrs("fd00::1%eth0")}, "in none of the subnets"},
		{"range, IPv6", api.NetworkRequest{Subnets: prefixes("fd00::/64"), IPRanges: prefixes("fd00::8000/113")}, ""},
		{"range wider, IPv6", api.NetworkRequest{Subnets: prefixes("fd00::/64"), IPRanges: prefixes("fd00::/48")}, "inside none"},
		{"aux is gateway, IPv6", api.NetworkRequest{Subnets: prefixes("fd00::/64"), AuxAddresses: aux("r", "fd00::1")}, "is the gateway"},
		{"aux is anycast", api.NetworkRequest{Subnets: prefixes("fd00::/64"), AuxAddresses: aux("r", "fd00::")}, "anycast address"},
		{"host bits, IPv6", api.NetworkRequest{Subnets: prefixes("fd00::1/64")}, "fd00::/64 is meant"},
		{"overlap, IPv6", api.NetworkRequest{Subnets: prefixes("fd00::/56", "fd00:0:0:1::/64")}, "overlap"},
		{"too short, IPv6", api.NetworkRequest{Subnets: prefixes("fd00::/31")}, "not in 32..126"},
		{"link-local", api.NetworkRequest{Subnets: prefixes("fe80::/64")}, "not one that hosts can be in"},
		{"unspecified", api.NetworkRequest{Subnets: prefixes("::/96")}, "not one that hosts can be in"},
		{"multicast, IPv6", api.NetworkRequest{Subnets: prefixes("ff05::/64")}, "not one that hosts can be in"},
		{"MTU low, IPv6 picked", api.NetworkRequest{IPv6: true, MTU: 1279}, "1279 is not in 1280..65485"},
		{"MTU low", api.NetworkRequest{MTU: 575}, "MTU out of range: 575 is not in 576..65485"},
		{"MTU high", api.NetworkRequest{MTU: 65486}, "65486 is not in 576..65485"},
		{"MTU negative", api.NetworkRequest{MTU: -1}, "-1 is not in"},
		{"MTU low, IPv6", api.NetworkRequest{Subnets: prefixes("fd00::/64"), MTU: 1279}, "not in 1280..65485"},
		{"label", api.NetworkRequest{Labels: map[string]string{"": "x"}}, "label key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.req.Name == "" {
				tt.req.Name = "red"
			}
			check(t, tt.req.Validate(), tt.want)
		})
	}
}

func TestAttachRequestValidate(t *testing.T) {
	for _, tt := range []struct {
		name string
		req  api.AttachRequest
		want string
	}{
		{"netns", api.AttachRequest{NetNS: "c1"}, ""},
		{"path", api.AttachRequest{NetNS: "/proc/7/ns/net", IfName: "net1"}, ""},
		{"pid", api.AttachRequest{PID: 7}, ""},
		{"tap", api.AttachRequest{TAP: "tap0"}, ""},
		{"nowhere", api.AttachRequest{}, "exactly one of"},
		{"two places", api.AttachRequest{PID: 7, NetNS: "c1"}, "exactly one of"},
		{"negative PID", api.AttachRequest{PID: -7}, "PID -7 is not positive"},
		{"relative path", api.AttachRequest{NetNS: "./c1"}, "neither a name nor an absolute path"},
		{"dots", api.AttachRequest{NetNS: ".."}, "is not a name"},
		{"tap, entered", api.AttachRequest{TAP: "tap0", EnteredInode: 7}, "no network namespace"},
		{"tap and ifname", api.AttachRequest{TAP: "tap0", IfName: "eth0"}, "does not go with a TAP"},
		{"tap name", api.AttachRequest{TAP: "much-too-long-a-name"}, "interface name"},
		{"ifname", api.AttachRequest{PID: 7, IfName: "a/b"}, "interface name"},
		{"network", api.AttachRequest{Network: "a b", PID: 7}, "network name"},
		{"name", api.AttachRequest{PID: 7, Name: "a b"}, "endpoint name"},
		{"alias", api.AttachRequest{PID: 7, Aliases: []string{"ok", ""}}, "alias name is empty"},
		{"IP twice", api.AttachRequest{PID: 7, IPs: addrs("10.0.0.2", "10.0.0.2")}, "given twice"},
		{"IP multicast", api.AttachRequest{PID: 7, IPs: addrs("224.0.0.1")}, "not one that an endpoint can have"},
		{"IP with zone", api.AttachRequest{PID: 7, IPs: addrs("fe80::1%eth0")}, "not one that an endpoint can have"},
		{"MAC of a group", api.AttachRequest{PID: 7, MAC: encap.MAC{1, 0, 0x5e, 0, 0, 1}}, "group address"},
		{"label", api.AttachRequest{PID: 7, Labels: map[string]string{"k": strings.Repeat("v", 256)}}, "256 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.req.Network == "" {
				tt.req.Network = "red"
			}
			check(t, tt.req.Validate(), tt.want)
		})
	}
}

func check(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("refused: %v", err)
	case want == "":
	case err == nil:
		t.Errorf("accepted; want an error with %q", want)
	case !strings.Contains(err.Error(), want):
		t.Errorf("got %q, want %q in it", err, want)
	case api.CodeOf(err) != api.CodeInvalid:
		t.Errorf("code %q, want %q", api.CodeOf(err), api.CodeInvalid)
	}
}
