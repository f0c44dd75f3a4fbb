package answer

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/ovlnet/ovl/datapath"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/encap"
)

// endpoint is a Sender.
type endpoint struct {
	mac   encap.MAC
	addrs []netip.Addr
}

func (e *endpoint) MAC() encap.MAC            { return e.mac }
func (e *endpoint) Owns(addr netip.Addr) bool { return slices.Contains(e.addrs, addr) }

func sender() *endpoint { return &endpoint{macA, []netip.Addr{a4.Addr, a6.Addr}} }

func TestCheckARP(t *testing.T) {
	as := func(addr netip.Addr) dt.Party { return dt.Party{MAC: macA, Addr: addr} }
	request, reply := dt.ARPRequest(a4, b4.Addr), dt.ARPReply(a4, b4)
	for _, c := range []struct {
		name  string
		frame []byte
		want  datapath.DropReason
	}{
		{"request", request, 0},
		{"request of 28 bytes", request[:42], 0},
		{"reply", reply, 0},
		{"probe", dt.ARPRequest(as(netip.IPv4Unspecified()), b4.Addr), 0},
		{"announcement", dt.ARPRequest(a4, a4.Addr), 0},
		{"cut short", request[:41], datapath.DropTruncated},
		{"nothing", request[:14], datapath.DropTruncated},
		{"another hardware", dt.Patch(request, 14, 0, 6), datapath.DropInnerMalformed},
		{"another protocol", dt.Patch(request, 16, 0x86, 0xdd), datapath.DropInnerMalformed},
		{"another length of hardware addresses", dt.Patch(request, 18, 8), datapath.DropInnerMalformed},
		{"another length of addresses", dt.Patch(request, 19, 16), datapath.DropInnerMalformed},
		{"operation 0", dt.Patch(request, 20, 0, 0), datapath.DropInnerMalformed},
		{"operation 3", dt.Patch(request, 20, 0, 3), datapath.DropInnerMalformed},
		{"operation 257", dt.Patch(request, 20, 1, 1), datapath.DropInnerMalformed},
		{"another's MAC", dt.Patch(request, 22, macB[:]...), datapath.DropSourceARP},
		{"another's address", dt.ARPRequest(as(b4.Addr), b4.Addr), datapath.DropSourceARP},
		{"another's address in a reply", dt.ARPReply(as(b4.Addr), b4), datapath.DropSourceARP},
		{"reply without an address", dt.ARPReply(as(netip.IPv4Unspecified()), b4), datapath.DropSourceARP},
	} {
		if got := CheckARP(slices.Clip(c.frame[14:]), sender()); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// checked mends the checksum of an ICMPv6 message that was changed by hand, and
// takes its length from the header.
func checked(frame []byte) []byte {
	out := dt.Patch(frame, 56, 0, 0)
	length := int(binary.BigEndian.Uint16(out[18:]))
	sum := uint32(length) + protoICMPv6
	for _, part := range [][]byte{out[22:54], append(slices.Clone(out[54:54+length]), make([]byte, length%2)...)} {
		for i := 0; i < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return dt.Patch(out, 56, byte(^sum>>8), byte(^sum))
}

// endAt cuts a frame of IPv6 off n bytes behind its header, and mends its length.
func endAt(frame []byte, n int) []byte {
	return dt.Patch(frame[:54+n], 18, byte(n>>8), byte(n))
}

func TestInspect6(t *testing.T) {
	const malformed = datapath.DropInnerMalformed
	group := dt.SolicitedNode(b6.Addr)
	link, others := dt.LinkOption(1, macA), dt.LinkOption(1, macB)
	asB := dt.Party{MAC: macA, Addr: b6.Addr}
	good := dt.Solicit(a6, group, b6.Addr, link)
	advert := dt.Advertise(a6, b6, solicited)
	hop, dst := dt.Padding(protoHopByHop), dt.Padding(protoDstOpts)
	route, auth := dt.Extension{Protocol: protoRouting, Body: make([]byte, 14)}, dt.Extension{Protocol: protoAH, Body: make([]byte, 22)}
	router := dt.Message6(a6, dt.AllNodes(), TypeRouterAdvertisement, make([]byte, 12))
	report := func(from dt.Party, kind byte) []byte {
		return dt.Extend(dt.Message6(from, dt.MulticastOf(netip.MustParseAddr("ff02::16")), kind, make([]byte, 4)), hop)
	}
	mapped := dt.Party{MAC: macA, Addr: netip.AddrFrom16(a4.Addr.As16())}
	stray := linkLocal(a6).Addr.As16()
	stray[7] = 1
	// An advertisement of another's address behind a header which, read as the
	// message, begins a solicitation that is right in every field: what is in its
	// place begins an option.
	victim := netip.AddrFrom16([16]byte{0xfd, 8: 14, 9: 1, 15: 3})
	disguised := checked(dt.Extend(dt.Discovery(a6, b6, 136, victim, ndOverride, dt.LinkOption(2, macA)), dst))
	for _, c := range []struct {
		name  string
		frame []byte
		want  datapath.DropReason
	}{
		{"solicitation", good, 0},
		{"solicitation without options", dt.Solicit(a6, group, b6.Addr), 0},
		{"solicitation with a nonce", dt.Solicit(a6, group, b6.Addr, dt.NonceOption(), link), 0},
		{"solicitation with 13 options", dt.Solicit(a6, group, b6.Addr, slices.Repeat(dt.NonceOption(), 12), link), 0},
		{"solicitation from link-local", dt.Solicit(linkLocal(a6), group, b6.Addr, link), 0},
		{"solicitation that is padded", append(slices.Clone(good), 1, 2, 3), 0},
		{"probe", dt.Solicit(a6, b6, b6.Addr, link), 0},
		{"duplicate-address detection", dt.Solicit(nameless, group, b6.Addr), 0},
		{"duplicate-address detection with a nonce", dt.Solicit(nameless, group, b6.Addr, dt.NonceOption()), 0},
		{"advertisement", advert, 0},
		{"unsolicited advertisement", dt.Advertise(a6, dt.AllNodes(), ndOverride), 0},
		{"advertisement of link-local", dt.Advertise(linkLocal(a6), b6, solicited), 0},

		{"hop limit 254", dt.Patch(good, 21, 254), malformed},
		{"code 1", checked(dt.Patch(good, 55, 1)), malformed},
		{"target that is a group", dt.Solicit(a6, group, netip.IPv6LinkLocalAllNodes(), link), malformed},
		{"checksum that is wrong", dt.Patch(good, 56, good[56]^1), malformed},
		{"checksum that is wrong at the end", dt.Patch(good, len(good)-9, good[len(good)-9]^1), malformed},
		{"address that the checksum is not of", dt.Patch(good, 37, 9), datapath.DropSourceIP},
		{"destination that the checksum is not of", dt.Patch(good, 52, 9), malformed},
		{"option of no length", dt.Solicit(a6, group, b6.Addr, []byte{14, 0, 0, 0, 0, 0, 0, 0}), malformed},
		{"second option of no length", dt.Solicit(a6, group, b6.Addr, link, []byte{14, 0, 0, 0, 0, 0, 0, 0}), malformed},
		{"option longer than the message", dt.Solicit(a6, group, b6.Addr, []byte{14, 2, 0, 0, 0, 0, 0, 0}), malformed},
		{"option cut short", dt.Solicit(a6, group, b6.Addr, link[:6]), malformed},
		{"option cut short, in padding", append(dt.Solicit(a6, group, b6.Addr, link[:6]), 0, 2), malformed},
		{"option of zeros cut short", dt.Solicit(a6, group, b6.Addr, make([]byte, 6)), malformed},
		{"options beyond the frame", good[:78], malformed},
		{"link address of two lengths", dt.Solicit(a6, group, b6.Addr, append([]byte{1, 2}, make([]byte, 14)...)), malformed},
		{"target's link address of two lengths", dt.Solicit(a6, group, b6.Addr, append([]byte{2, 2}, make([]byte, 14)...)), malformed},
		{"14 options", dt.Solicit(a6, group, b6.Addr, slices.Repeat(dt.NonceOption(), 14)), malformed},
		{"no target", dt.Message6(a6, group, 135, make([]byte, 12)), datapath.DropTruncated},
		{"no target in its length", checked(dt.Patch(good, 18, 0, 16)), malformed},
		{"duplicate-address detection with a link address", dt.Solicit(nameless, group, b6.Addr, link), malformed},
		{"duplicate-address detection by unicast", dt.Solicit(nameless, b6, b6.Addr), malformed},
		{"duplicate-address detection with another group", dt.Solicit(nameless, dt.AllNodes(), b6.Addr), malformed},
		{"another's link address", dt.Solicit(a6, group, b6.Addr, others), datapath.DropSourceARP},
		{"another's link address in the second option", dt.Solicit(a6, group, b6.Addr, link, others), datapath.DropSourceARP},
		{"another's link address as the target's", dt.Solicit(a6, group, b6.Addr, dt.LinkOption(2, macB)), datapath.DropSourceARP},
		{"duplicate-address detection with another's link address as the target's", dt.Solicit(nameless, group, b6.Addr, dt.LinkOption(2, macB)), datapath.DropSourceARP},
		{"B's address", dt.Solicit(asB, group, b6.Addr, link), datapath.DropSourceIP},
		{"B's link-local", dt.Solicit(dt.Party{MAC: macA, Addr: linkLocal(b6).Addr}, group, b6.Addr, link), datapath.DropSourceIP},
		{"behind a header", dt.Extend(good, dst), malformed},
		{"in an atomic fragment", dt.Extend(good, dt.FragmentHeader(0, false)), malformed},
		{"advertisement behind a header", dt.Extend(advert, dst), malformed},
		{"advertisement in disguise", disguised, malformed},
		{"advertisement to a group that says it was asked for", dt.Advertise(a6, dt.AllNodes(), solicited), malformed},
		{"advertisement of B's address", dt.Discovery(a6, b6, 136, b6.Addr, ndSolicited, dt.LinkOption(2, macA)), datapath.DropSourceARP},
		{"advertisement of B's link-local", dt.Discovery(a6, b6, 136, linkLocal(b6).Addr, ndSolicited), datapath.DropSourceARP},
		{"advertisement of nobody's", dt.Discovery(a6, b6, 136, netip.IPv6Unspecified(), ndSolicited), datapath.DropSourceARP},
		{"advertisement with B's address", dt.Discovery(asB, b6, 136, a6.Addr, ndSolicited), datapath.DropSourceIP},
		{"advertisement without an address", dt.Discovery(nameless, b6, 136, a6.Addr, ndSolicited), datapath.DropSourceIP},

		{"router solicitation", dt.Message6(linkLocal(a6), dt.AllNodes(), TypeRouterSolicitation, make([]byte, 4)), datapath.DropMulticast},
		{"router advertisement", router, datapath.DropRogueRouter},
		{"router advertisement with B's address", dt.Message6(asB, dt.AllNodes(), TypeRouterAdvertisement, make([]byte, 12)), datapath.DropRogueRouter},
		{"router advertisement behind every header", dt.Extend(router, hop, dst, route, auth, dst), datapath.DropRogueRouter},
		{"router advertisement in a first fragment", dt.Extend(router, dt.FragmentHeader(0, true), dst), datapath.DropRogueRouter},
		{"a later fragment like a router advertisement", dt.Extend(router, dt.FragmentHeader(3, false)), 0},
		{"redirect", dt.Message6(a6, b6, TypeRedirect, make([]byte, 36)), datapath.DropRogueRouter},

		{"report before an address", report(nameless, TypeListenerReport2), datapath.DropMulticast},
		{"old report before an address", report(nameless, TypeListenerReport), datapath.DropMulticast},
		{"done before an address", report(nameless, TypeListenerDone), datapath.DropMulticast},
		{"query before an address", report(nameless, 130), datapath.DropSourceIP},
		{"report", report(linkLocal(a6), TypeListenerReport2), 0},
		{"report with B's address", report(asB, TypeListenerReport2), datapath.DropSourceIP},
		{"echo", dt.ICMP6(a6, b6), 0},
		{"echo from link-local", dt.ICMP6(linkLocal(a6), b6), 0},
		{"echo from link-local with more in the prefix", dt.ICMP6(dt.Party{MAC: macA, Addr: netip.AddrFrom16(stray)}, b6), datapath.DropSourceIP},
		{"echo before an address", dt.ICMP6(nameless, dt.AllNodes()), datapath.DropSourceIP},
		{"echo with B's address", dt.ICMP6(asB, b6), datapath.DropSourceIP},
		{"echo with an IPv4 address", dt.ICMP6(mapped, b6), datapath.DropSourceIP},
		{"cut short in its header", good[:53], datapath.DropTruncated},
	} {
		// Nothing is behind it in memory, either.
		if _, got := Inspect6(slices.Clip(c.frame), sender()); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestOwns6(t *testing.T) {
	// A table may be wrong: some addresses are nobody's, whatever it says.
	all := &endpoint{macA, []netip.Addr{a6.Addr, netip.IPv6Unspecified(), netip.AddrFrom16(a4.Addr.As16()), linkLocal(b6).Addr}}
	for _, c := range []struct {
		addr netip.Addr
		want bool
	}{
		{a6.Addr, true}, {linkLocal(a6).Addr, true},
		{b6.Addr, false}, {netip.IPv6Unspecified(), false}, {netip.AddrFrom16(a4.Addr.As16()), false}, {linkLocal(b6).Addr, false},
	} {
		if got := Owns6(all, c.addr.As16()); got != c.want {
			t.Errorf("%v: %v, want %v", c.addr, got, c.want)
		}
	}
}

func TestWalk6(t *testing.T) {
	udp, echo := dt.UDP6(a6, b6, "sixteen bytes or more"), dt.ICMP6(a6, b6)
	dst := dt.Padding(protoDstOpts)
	auth := dt.Extension{Protocol: protoAH, Body: make([]byte, 22)}
	long := dt.Extension{Protocol: protoRouting, Body: make([]byte, 254)}
	for _, c := range []struct {
		name   string
		frame  []byte
		want   Upper
		reason datapath.DropReason
	}{
		{"UDP", udp, Upper{Offset: 40, Proto: 17}, 0},
		{"ICMPv6", echo, Upper{Offset: 40, Proto: 58, Type: 128}, 0},
		{"UDP behind a header", dt.Extend(udp, dst), Upper{Offset: 48, Proto: 17, Type: 4, Extended: true}, 0},
		{"behind a long header", dt.Extend(echo, long), Upper{Offset: 296, Proto: 58, Type: 128, Extended: true}, 0},
		{"behind authentication", dt.Extend(echo, auth), Upper{Offset: 64, Proto: 58, Type: 128, Extended: true}, 0},
		{"behind eight headers", dt.Extend(echo, slices.Repeat([]dt.Extension{dst}, 8)...), Upper{Offset: 104, Proto: 58, Type: 128, Extended: true}, 0},
		{"an atomic fragment", dt.Extend(echo, dt.FragmentHeader(0, false)), Upper{Offset: 48, Proto: 58, Type: 128, Extended: true, Fragment: true, FragmentAt: 40}, 0},
		{"a first fragment", dt.Extend(echo, dt.FragmentHeader(0, true), dst), Upper{Offset: 56, Proto: 58, Type: 128, Extended: true, Fragment: true, FragmentAt: 40}, 0},
		{"a later fragment", dt.Extend(echo, dst, dt.FragmentHeader(1, true)), Upper{Offset: 48, Proto: 44, Extended: true, Fragment: true, FragmentAt: 48}, 0},
		{"nothing behind a header", endAt(dt.Extend(dt.Patch(udp, 20, 59), dst), 8), Upper{Offset: 48, Proto: 59, Extended: true}, 0},
		{"nothing at all", endAt(dt.Patch(udp, 20, 59), 0), Upper{Offset: 40, Proto: 59}, 0},
		{"ESP, of which nothing is there", endAt(dt.Patch(udp, 20, 50), 0), Upper{Offset: 40, Proto: 50}, 0},

		{"nine headers", dt.Extend(echo, slices.Repeat([]dt.Extension{dst}, 9)...), Upper{}, datapath.DropInnerMalformed},
		{"ICMPv6 without a type", endAt(echo, 0), Upper{}, datapath.DropTruncated},
		{"UDP behind a header, without a byte", endAt(dt.Extend(udp, dst), 8), Upper{}, datapath.DropTruncated},
		{"a header cut short", endAt(dt.Extend(udp, dst), 3), Upper{}, datapath.DropTruncated},
		{"a header longer than the packet", dt.Patch(dt.Extend(udp, dst), 55, 4), Upper{}, datapath.DropTruncated},
		{"IPv6 cut short", echo[:53], Upper{}, datapath.DropTruncated},
	} {
		got, reason := Walk6(slices.Clip(c.frame[14:]))
		if reason != c.reason {
			t.Errorf("%s: %v, want %v", c.name, reason, c.reason)
		}
		if reason == 0 && got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestLinkLocalMAC(t *testing.T) {
	good := linkLocal(a6).Addr.As16()
	if mac, ok := LinkLocalMAC(good); !ok || mac != macA {
		t.Errorf("%v, %v", mac, ok)
	}
	for _, at := range []int{0, 1, 2, 7, 11, 12} {
		bad := good
		bad[at] ^= 1
		if mac, ok := LinkLocalMAC(bad); ok {
			t.Errorf("%v is one of %v", netip.AddrFrom16(bad), mac)
		}
	}
}
