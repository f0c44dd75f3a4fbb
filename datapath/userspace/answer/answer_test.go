package answer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/gopacket/layers"

	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/datapath/userspace/offload"
	"github.com/ovlnet/ovl/encap"
)

// Who there is: a and b are endpoints of which each has both families.
var (
	macA, macB = encap.MAC{2, 0, 0, 0, 0, 2}, encap.MAC{2, 0, 0, 0, 0, 3}
	a4, b4     = dt.Party{MAC: macA, Addr: netip.MustParseAddr("10.0.0.2")}, dt.Party{MAC: macB, Addr: netip.MustParseAddr("10.0.0.3")}
	a6, b6     = dt.Party{MAC: macA, Addr: netip.MustParseAddr("fd00::2")}, dt.Party{MAC: macB, Addr: netip.MustParseAddr("fd00::3")}
	gateway4   = netip.MustParseAddr("10.0.0.1")
	gateway6   = netip.MustParseAddr("fd00::1")
	nameless   = dt.Party{MAC: macA, Addr: netip.IPv6Unspecified()}
)

// linkLocal is the party with the address that follows from its MAC.
func linkLocal(p dt.Party) dt.Party {
	m := p.MAC
	return dt.Party{MAC: m, Addr: netip.AddrFrom16([16]byte{
		0xfe, 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5],
	})}
}

// solicited and untold are the flags of an answer to who has a name, and to who has not.
const solicited, untold = ndSolicited | ndOverride, ndOverride

func same(t *testing.T, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("\n got %x\nwant %x", got, want)
	}
}

func TestARPReply(t *testing.T) {
	request := dt.ARPRequest(a4, b4.Addr)
	probe := dt.ARPRequest(dt.Party{MAC: macA, Addr: netip.IPv4Unspecified()}, b4.Addr)
	var b Builder
	for _, c := range []struct {
		name     string
		in, want []byte
	}{
		{"padded", request, dt.ARPReply(b4, a4)},
		{"as short as it may be", request[:42], dt.ARPReply(b4, a4)[:42]},
		{"longer than others pad it", append(slices.Clone(request), 1, 2, 3), append(dt.ARPReply(b4, a4), 1, 2, 3)},
		{"what is behind it stays", dt.Patch(request, 45, 7), dt.Patch(dt.ARPReply(b4, a4), 45, 7)},
		{"by unicast", dt.Patch(request, 0, macB[:]...), dt.ARPReply(b4, a4)},
		{"probe", probe, dt.ARPReply(b4, dt.Party{MAC: macA, Addr: netip.IPv4Unspecified()})},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := slices.Clone(c.in)
			got, err := b.ARPReply(c.in, macB)
			if err != nil {
				t.Fatal(err)
			}
			same(t, got, c.want)
			same(t, c.in, before)
		})
	}
	if _, err := b.ARPReply(request[:41], macB); !errors.Is(err, ErrShort) {
		t.Errorf("of 41 bytes: %v", err)
	}
}

func TestAdvertise(t *testing.T) {
	link := dt.LinkOption(1, macA)
	var b Builder
	for _, c := range []struct {
		name     string
		in, want []byte
	}{
		{"to the group", dt.Solicit(a6, dt.SolicitedNode(b6.Addr), b6.Addr, link), dt.Advertise(b6, a6, solicited)},
		{"without options", dt.Solicit(a6, dt.SolicitedNode(b6.Addr), b6.Addr), dt.Advertise(b6, a6, solicited)},
		{"many options", dt.Solicit(a6, b6, b6.Addr, slices.Repeat(dt.NonceOption(), 12)), dt.Advertise(b6, a6, solicited)},
		{"padded", append(dt.Solicit(a6, b6, b6.Addr), make([]byte, 9)...), dt.Advertise(b6, a6, solicited)},
		{"link-local", dt.Solicit(linkLocal(a6), b6, linkLocal(b6).Addr, link), dt.Advertise(linkLocal(b6), linkLocal(a6), solicited)},
		{"nameless", dt.Solicit(nameless, dt.SolicitedNode(b6.Addr), b6.Addr, dt.NonceOption()), dt.Advertise(b6, dt.AllNodes(), untold)},
		{"named after nameless", dt.Solicit(a6, b6, b6.Addr, link), dt.Advertise(b6, a6, solicited)},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := b.Advertise(c.in, macB)
			if err != nil {
				t.Fatal(err)
			}
			same(t, got, c.want)
		})
	}
	if _, err := b.Advertise(dt.Solicit(a6, b6, b6.Addr)[:77], macB); !errors.Is(err, ErrShort) {
		t.Errorf("of 77 bytes: %v", err)
	}
}

const mtu = 1450

func long4(length int) []byte { return dt.UDP4(a4, b4, strings.Repeat("4", length-28)) }
func long6(length int) []byte { return dt.UDP6(a6, b6, strings.Repeat("6", length-48)) }

// sum16 puts the checksum of an IPv4 header of that length right.
func sum16(frame []byte, length int) []byte {
	out := dt.Patch(frame, 24, 0, 0)
	var sum uint32
	for i := 14; i < 14+length; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(out[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return dt.Patch(out, 24, byte(^sum>>8), byte(^sum))
}

func fragment(frame []byte, field uint16) []byte {
	return sum16(dt.Patch(frame, 20, byte(field>>8), byte(field)), 20)
}

func options(frame []byte) []byte {
	out := slices.Insert(slices.Clone(frame), 34, 1, 1, 1, 0)
	out = dt.Patch(out, 14, 0x46, 0, byte((len(out)-14)>>8), byte(len(out)-14))
	return sum16(out, 24)
}

func TestTooBig4(t *testing.T) {
	long := long4(mtu + 1)
	from := dt.Party{MAC: macB, Addr: gateway4}
	told := func(frame []byte) []byte { return dt.FragmentationNeeded(from, a4, mtu, frame) }
	tag := func(frame []byte, typ, tci uint16) []byte { return dt.Tagged(frame, layers.EthernetType(typ), tci) }
	var b Builder
	for _, c := range []struct {
		name string
		in   []byte
		from netip.Addr
		mtu  int
		want []byte
	}{
		{name: "a byte longer", in: long, from: gateway4, mtu: mtu, want: told(long)},
		{name: "much longer", in: long4(60000), from: gateway4, mtu: mtu, want: told(long4(60000))},
		{name: "with options", in: options(long), from: gateway4, mtu: mtu, want: told(options(long))},
		{name: "that may not be fragmented", in: fragment(long, 0x4000), from: gateway4, mtu: mtu, want: told(fragment(long, 0x4000))},
		{name: "a first fragment", in: fragment(long, 0x2000), from: gateway4, mtu: mtu, want: told(fragment(long, 0x2000))},
		{name: "a ping", in: dt.ICMP4(a4, b4, 8, mtu), from: gateway4, mtu: mtu, want: told(dt.ICMP4(a4, b4, 8, mtu))},
		{name: "a timestamp", in: dt.ICMP4(a4, b4, 13, mtu), from: gateway4, mtu: mtu, want: told(dt.ICMP4(a4, b4, 13, mtu))},
		{name: "without a gateway", in: long, mtu: mtu, want: dt.FragmentationNeeded(b4, a4, mtu, long)},
		{name: "a gateway of IPv6", in: long, from: gateway6, mtu: mtu, want: dt.FragmentationNeeded(b4, a4, mtu, long)},
		{name: "less than anyone may be asked for", in: long, from: gateway4, mtu: 68, want: dt.FragmentationNeeded(from, a4, 576, long)},
		{name: "an unfinished checksum", in: dt.Patch(long, 40, 0x12, 0x34), from: gateway4, mtu: mtu, want: told(dt.Patch(long, 40, 0x12, 0x34))},
		{name: "behind a tag", in: tag(long, 0x8100, 0xb009), mtu: mtu - 4, want: tag(dt.FragmentationNeeded(b4, a4, mtu-4, long), 0x8100, 0xb009)},
		{name: "behind a service tag", in: tag(long, 0x88a8, 9), mtu: mtu - 4, want: tag(dt.FragmentationNeeded(b4, a4, mtu-4, long), 0x88a8, 9)},
		{name: "as short as a quote", in: long[:14+548], from: gateway4, mtu: mtu, want: told(long)},

		{name: "shorter than a quote", in: long[:14+547], mtu: mtu},
		{name: "behind two tags", in: tag(tag(long, 0x8100, 9), 0x88a8, 9), mtu: mtu},
		{name: "IPv6", in: long6(mtu + 1), mtu: mtu},
		{name: "not IP", in: dt.Ethernet(a4, b4, 0x88b5, strings.Repeat("x", mtu)), mtu: mtu},
		{name: "a later fragment", in: fragment(long, 0x2010), mtu: mtu},
		{name: "the last fragment", in: fragment(long, 0x0010), mtu: mtu},
		{name: "the last of many fragments", in: fragment(long, 0x1000), mtu: mtu},
		{name: "to a group", in: dt.Patch(long, 30, 224), mtu: mtu},
		{name: "to all", in: dt.Patch(long, 30, 255, 255, 255, 255), mtu: mtu},
		{name: "to the zero network", in: dt.Patch(long, 30, 0), mtu: mtu},
		{name: "unreachable", in: dt.ICMP4(a4, b4, 3, mtu), mtu: mtu},
		{name: "quench", in: dt.ICMP4(a4, b4, 4, mtu), mtu: mtu},
		{name: "redirect", in: dt.ICMP4(a4, b4, 5, mtu), mtu: mtu},
		{name: "exceeded", in: dt.ICMP4(a4, b4, 11, mtu), mtu: mtu},
		{name: "parameter problem", in: dt.ICMP4(a4, b4, 12, mtu), mtu: mtu},
		{name: "unreachable behind options", in: options(dt.ICMP4(a4, b4, 3, mtu)), mtu: mtu},
		{name: "nothing at all", mtu: mtu},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := b.TooBig4(c.in, c.from, c.mtu)
			if ok != (c.want != nil) {
				t.Fatalf("answered: %v", ok)
			}
			same(t, got, c.want)
		})
	}
}

func TestTooBig6(t *testing.T) {
	long := long6(mtu + 1)
	from := dt.Party{MAC: macB, Addr: gateway6}
	told := func(frame []byte) []byte { return dt.PacketTooBig(from, a6, mtu, frame) }
	tag := func(frame []byte) []byte { return dt.Tagged(frame, 0x8100, 9) }
	hop := dt.Padding(protoDstOpts)
	kind := func(k uint8) []byte { return dt.ICMP6Type(a6, b6, k, mtu) }
	later := dt.Extend(kind(1), dt.FragmentHeader(3, true))
	var b Builder
	for _, c := range []struct {
		name string
		in   []byte
		from netip.Addr
		mtu  int
		want []byte
	}{
		{"a byte longer", long, gateway6, mtu, told(long)},
		{"much longer", long6(60000), gateway6, mtu, told(long6(60000))},
		{"a ping", kind(128), gateway6, mtu, told(kind(128))},
		{"a ping behind a header", dt.Extend(kind(128), hop), gateway6, mtu, told(dt.Extend(kind(128), hop))},
		{"a later fragment", later, gateway6, mtu, told(later)},
		{"without a gateway", long, netip.Addr{}, mtu, dt.PacketTooBig(b6, a6, mtu, long)},
		{"a gateway of IPv4", long, gateway4, mtu, dt.PacketTooBig(b6, a6, mtu, long)},
		{"less than anyone may be asked for", long, gateway6, 576, dt.PacketTooBig(from, a6, 1280, long)},
		{"behind a tag", tag(long), netip.Addr{}, mtu - 4, tag(dt.PacketTooBig(b6, a6, mtu-4, long))},
		{"as short as a quote", long[:14+1232], gateway6, mtu, told(long)},

		{"shorter than a quote", long[:14+1231], gateway6, mtu, nil},
		{"IPv4", long4(mtu + 1), gateway6, mtu, nil},
		{"to a group", dt.Patch(long, 38, 0xff), gateway6, mtu, nil},
		{"an error of the first", kind(1), gateway6, mtu, nil},
		{"an error of the last", kind(127), gateway6, mtu, nil},
		{"an error behind a header", dt.Extend(kind(1), hop), gateway6, mtu, nil},
		{"an error in a first fragment", dt.Extend(kind(1), dt.FragmentHeader(0, true)), gateway6, mtu, nil},
		{"a redirect", kind(137), gateway6, mtu, nil},
		{"too many headers", dt.Extend(long, slices.Repeat([]dt.Extension{hop}, 9)...), gateway6, mtu, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := b.TooBig6(c.in, c.from, c.mtu)
			if ok != (c.want != nil) {
				t.Fatalf("answered: %v", ok)
			}
			same(t, got, c.want)
		})
	}
}

// TestHeadroom is what those who send answers count on.
func TestHeadroom(t *testing.T) {
	var b Builder
	big, _ := b.TooBig6(long6(mtu+1), gateway6, mtu)
	short, err := b.ARPReply(dt.ARPRequest(a4, b4.Addr)[:42], macB)
	if err != nil || len(big) != 1294 {
		t.Fatal(err, len(big))
	}
	// All answers lie in one array, and the first is the longest but for its tag.
	whole := b.buf.Bytes()
	if len(whole) != len(short)+offload.Headroom+60-42 {
		t.Errorf("%d bytes before the frame, want %d", len(whole)-60, offload.Headroom)
	}
}
