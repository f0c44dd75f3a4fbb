package packet

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/gopacket/layers"

	"github.com/ovlnet/ovl/datapath"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/datapath/userspace/offload"
	"github.com/ovlnet/ovl/encap"
)

var (
	macA, macB = encap.MAC{2, 0, 0, 0, 0, 2}, encap.MAC{2, 0, 0, 0, 0, 3}
	a4, b4     = dt.Party{MAC: macA, Addr: netip.MustParseAddr("10.0.0.2")}, dt.Party{MAC: macB, Addr: netip.MustParseAddr("10.0.0.3")}
	a6, b6     = dt.Party{MAC: macA, Addr: netip.MustParseAddr("fd00::2")}, dt.Party{MAC: macB, Addr: netip.MustParseAddr("fd00::3")}
)

const (
	longer    = "more than what an Ethernet frame is padded to"
	truncated = datapath.DropTruncated
	malformed = datapath.DropInnerMalformed
)

// withOptions puts words of options into the header of a frame of IPv4. They are
// not in order, which is nobody's business here.
func withOptions(frame []byte, words int) []byte {
	out := slices.Insert(slices.Clone(frame), 34, bytes.Repeat([]byte{7, 99, 0, 1}, words)...)
	return dt.WithIPLength(dt.Patch(out, 14, 0x45+byte(words)), 14, len(out)-14)
}

func tagged(frame []byte, tcis ...uint16) []byte {
	for _, tci := range tcis {
		frame = dt.Tagged(frame, layers.EthernetTypeDot1Q, tci)
	}
	return frame
}

func TestParse(t *testing.T) {
	four := Packet{Dst: macB, Src: macA, EtherType: TypeIPv4, Inner: TypeIPv4, L3: 14, Proto: 17, SrcAddr: a4.Addr.As16(), DstAddr: b4.Addr.As16()}
	six := Packet{Dst: macB, Src: macA, EtherType: TypeIPv6, Inner: TypeIPv6, L3: 14, Proto: 17, SrcAddr: a6.Addr.As16(), DstAddr: b6.Addr.As16()}
	with := func(p Packet, change func(p *Packet)) Packet { change(&p); return p }
	proto := func(p Packet, n uint8) Packet { p.Proto = n; return p }
	behind := func(p Packet, tags int) Packet {
		return Packet{Dst: p.Dst, Src: p.Src, EtherType: Type8021Q, Tagged: true, Inner: p.Inner, L3: 14 + 4*tags}
	}
	arp := Packet{Dst: macB, Src: macA, EtherType: TypeARP, Inner: TypeARP, L3: 14, SrcAddr: a4.Addr.As16(), DstAddr: b4.Addr.As16()}
	udp4, udp6 := dt.UDP4(a4, b4, longer), dt.UDP6(a6, b6, longer)
	for _, c := range []struct {
		name  string
		frame []byte
		want  Packet
	}{
		{"UDP4", udp4, four},
		{"UDP6", udp6, six},
		{"TCP4", dt.TCP(a4, b4, longer), proto(four, 6)},
		{"TCP6", dt.TCP(a6, b6, longer), proto(six, 6)},
		{"UDP4 with a mark", dt.WithTOS(udp4, 14, 0xbb), with(four, func(p *Packet) { p.TOS = 0xbb })},
		{"UDP6 with a mark", dt.WithTOS(udp6, 14, 0xbb), with(six, func(p *Packet) { p.TOS = 0xbb })},
		{"UDP4 that is padded", append(slices.Clone(udp4), 0, 0, 0), four},
		{"a first fragment", dt.Patch(udp4, 20, 0x20), four},
		{"a later fragment", dt.Patch(udp4, 20, 0x00, 0x10), four},
		{"that may not be fragmented", dt.Patch(udp4, 20, 0x40), four},
		{"options", withOptions(udp4, 2), four},
		{"ICMP", dt.ICMP4(a4, b4, 8, 50), proto(four, 1)},
		{"ICMPv6", dt.ICMP6(a6, b6), proto(six, 58)},
		{"extension headers", dt.Extend(udp6, dt.Padding(0)), proto(six, 0)},
		{"nothing behind IPv6", dt.Patch(udp6, 18, 0, 0, 59)[:54], proto(six, 59)},
		{"ARP", dt.ARPReply(a4, b4), arp},
		{"ARP that asks", dt.ARPRequest(a4, b4.Addr), with(arp, func(p *Packet) { p.Dst, p.Request = encap.MAC{255, 255, 255, 255, 255, 255}, true })},
		{"not IP", dt.Ethernet(a4, b4, 0x88b5, longer), Packet{Dst: macB, Src: macA, EtherType: 0x88b5, Inner: 0x88b5, L3: 14}},
		{"a length for an EtherType", dt.Patch(udp4, 12, 0, 10), Packet{Dst: macB, Src: macA, EtherType: 10, Inner: 10, L3: 14}},
		{"no payload", udp4[:14], with(Packet{}, func(p *Packet) {
			*p = Packet{Dst: macB, Src: macA, EtherType: TypeIPv4, Inner: TypeIPv4, L3: 14, Header: truncated}
		})},

		{"behind a tag", tagged(udp4, 5), behind(four, 1)},
		{"behind a service tag", dt.Tagged(udp6, layers.EthernetTypeQinQ, 5), with(behind(six, 1), func(p *Packet) { p.EtherType = Type8021AD })},
		{"behind a tag with a mark", tagged(dt.WithTOS(udp6, 14, 0xbb), 5), behind(six, 1)},
		{"behind 8 tags", tagged(udp4, 1, 2, 3, 4, 5, 6, 7, 8), behind(four, 8)},
		{"nothing but a header behind a tag", tagged(udp4, 5)[:18+20], behind(four, 1)},
		{"of no version behind a tag", dt.Patch(tagged(udp4, 5), 18, 0), behind(four, 1)},
		{"ARP behind a tag", tagged(dt.ARPReply(a4, b4), 5), behind(arp, 1)},
		{"ARP cut short behind a tag", tagged(dt.ARPReply(a4, b4), 5)[:20], behind(arp, 1)},
	} {
		var p Parser
		if got := *p.Parse(c.frame); got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", c.name, got, c.want)
		}
	}
}

// TestParseReasons has frames for which there are reasons: why they are no frame,
// and why their header is none.
func TestParseReasons(t *testing.T) {
	udp4, udp6, arp := dt.UDP4(a4, b4, longer), dt.UDP6(a6, b6, longer), dt.ARPRequest(a4, b4.Addr)
	big4 := append(slices.Clone(udp4), make([]byte, 0x10000)...)
	for _, c := range []struct {
		name            string
		frame           []byte
		framing, header datapath.DropReason
	}{
		{"nothing", nil, truncated, 0},
		{"13 bytes", udp4[:13], truncated, 0},
		{"IPv4 cut short", udp4[:14+19], 0, truncated},
		{"IPv4 cut short behind its header", udp4[:14+20], 0, malformed},
		{"IPv6 cut short", udp6[:14+39], 0, truncated},
		{"IPv6 cut short behind its header", udp6[:14+40], 0, malformed},
		{"ARP cut short", arp[:14+27], 0, truncated},
		{"ARP as short as may be", arp[:14+28], 0, 0},
		{"ARP of another hardware", dt.Patch(arp, 14, 0, 6), 0, malformed},
		{"ARP of hardware 257", dt.Patch(arp, 14, 1, 1), 0, malformed},
		{"ARP of another protocol", dt.Patch(arp, 16, 0x86, 0xdd), 0, malformed},
		{"ARP of longer hardware addresses", dt.Patch(arp, 18, 0xff), 0, malformed},
		{"ARP of longer addresses", dt.Patch(arp, 19, 0xff), 0, malformed},
		{"ARP that asks nothing", dt.Patch(arp, 20, 0, 3), 0, malformed},
		{"IPv4 of version 6", dt.Patch(udp4, 14, 0x65), 0, malformed},
		{"IPv4 of a header of 16 bytes", dt.Patch(udp4, 14, 0x44), 0, malformed},
		{"IPv4 of no length", dt.Patch(udp4, 16, 0, 0), 0, malformed},
		{"IPv4 shorter than its header", dt.Patch(udp4, 16, 0, 19), 0, malformed},
		{"IPv4 shorter than its options", dt.WithIPLength(withOptions(udp4, 2), 14, 27), 0, malformed},
		{"IPv4 as long as its options", dt.WithIPLength(withOptions(udp4, 2), 14, 28), 0, 0},
		{"IPv4 one beyond the frame", dt.WithIPLength(udp4, 14, len(udp4)-13), 0, malformed},
		{"IPv4 longer than it can say", dt.Patch(big4, 16, 0, 0), 0, 0},
		{"IPv6 of version 4", dt.Patch(udp6, 14, 0x40), 0, malformed},
		{"IPv6 one beyond the frame", dt.WithIPLength(udp6, 14, len(udp6)-13), 0, malformed},
		{"ICMPv6 one beyond the frame", dt.Patch(dt.WithIPLength(udp6, 14, len(udp6)-13), 20, 58), 0, malformed},

		{"a tag cut short", tagged(udp4, 5)[:17], truncated, 0},
		{"a tag and a byte", tagged(dt.ARPReply(a4, b4), 5)[:19], truncated, 0},
		{"a tag and no more", tagged(udp4, 5)[:14], truncated, 0},
		{"IPv4 cut short behind a tag", tagged(udp4, 5)[:18+19], truncated, 0},
		{"IPv4 missing behind a tag", tagged(udp4, 5)[:18], truncated, 0},
		{"IPv6 cut short behind a tag", tagged(udp6, 5)[:18+39], truncated, 0},
		{"IPv6 cut short behind two tags", tagged(udp6, 5, 7)[:22+39], truncated, 0},
		{"nine tags", tagged(udp4, 1, 2, 3, 4, 5, 6, 7, 8, 9), truncated, 0},
	} {
		var p Parser
		got := p.Parse(c.frame)
		if got.Framing != c.framing || (c.framing == 0 && got.Header != c.header) {
			t.Errorf("%s: %v, %v, want %v, %v", c.name, got.Framing, got.Header, c.framing, c.header)
		}
	}
}

func TestUntag(t *testing.T) {
	udp := dt.UDP4(a4, b4, longer)
	header := offload.Header{Flags: offload.NeedsCsum, GSOType: offload.GSOUDP, HdrLen: 46, GSOSize: 5, CsumStart: 38, CsumOffset: 6}
	moved := header
	moved.HdrLen, moved.CsumStart = 42, 34
	for _, c := range []struct {
		name     string
		in, want offload.Frame
		ok       bool
	}{
		{"no tag", offload.Frame{Header: header, Data: udp}, offload.Frame{Header: header, Data: udp}, true},
		{"a VLAN's", offload.Frame{Header: header, Data: tagged(udp, 5)}, offload.Frame{Header: header, Data: tagged(udp, 5)}, true},
		{"VLAN 0", offload.Frame{Header: header, Data: tagged(udp, 0)}, offload.Frame{Header: moved, Data: udp}, true},
		{"a priority", offload.Frame{Data: tagged(udp, 0xf000)}, offload.Frame{Data: udp}, true},
		{"a service VLAN's", offload.Frame{Data: dt.Tagged(udp, layers.EthernetTypeQinQ, 0)}, offload.Frame{Data: udp}, true},
		{"VLAN 0 before a VLAN's", offload.Frame{Data: tagged(udp, 5, 0)}, offload.Frame{Data: tagged(udp, 5)}, true},
		{"VLAN 0 twice", offload.Frame{Data: tagged(udp, 0, 0)}, offload.Frame{Data: tagged(udp, 0)}, false},
		{"VLAN 0 before a tag cut short", offload.Frame{Data: tagged(udp, 5, 0)[:21]}, offload.Frame{Data: tagged(udp, 5)[:17]}, false},
		{"cut short", offload.Frame{Data: tagged(udp, 0)[:17]}, offload.Frame{Data: tagged(udp, 0)[:17]}, true},
		{"nothing", offload.Frame{}, offload.Frame{}, true},
	} {
		f := c.in
		ok := Untag(&f)
		if ok != c.ok || f.Header != c.want.Header || !bytes.Equal(f.Data, c.want.Data) {
			t.Errorf("%s: %v, %+v\nwant %v, %+v", c.name, ok, f, c.ok, c.want)
		}
	}
}

// everything are frames of every kind.
func everything() map[string][]byte {
	udp4, udp6 := dt.UDP4(a4, b4, longer), dt.UDP6(a6, b6, longer)
	return map[string][]byte{
		"UDP4": udp4, "UDP6": udp6, "TCP4": dt.TCP(a4, b4, longer), "TCP6": dt.TCP(a6, b6, longer),
		"ICMP": dt.ICMP4(a4, b4, 8, 50), "ICMPv6": dt.ICMP6(a6, b6), "ARP": dt.ARPReply(a4, b4),
		"Options": withOptions(udp4, 10), "Extended": dt.Extend(udp6, dt.Padding(0)), "NotIP": dt.Ethernet(a4, b4, 0x88b5, longer),
		"Tagged": tagged(udp4, 5), "Tagged2": tagged(udp6, 5, 7), "TagCut": tagged(udp4, 5)[:17], "Tags": tagged(udp4, 1, 2, 3, 4, 5, 6, 7, 8, 9),
		"Cut4": udp4[:33], "Cut6": udp6[:53], "Cut": udp4[:13], "Malformed4": dt.Patch(udp4, 14, 0x44), "Malformed6": dt.Patch(udp6, 14, 0x40),
		"MalformedARP": dt.Patch(dt.ARPReply(a4, b4), 18, 0xff),
	}
}

func TestNoAllocation(t *testing.T) {
	for name, frame := range everything() {
		var p Parser
		p.Parse(frame)
		if n := testing.AllocsPerRun(100, func() { p.Parse(frame); p.decode(frame) }); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

// TestBothWaysAgree: what is read at fixed offsets, the layers find, too.
func TestBothWaysAgree(t *testing.T) {
	plain := 0
	for name, frame := range everything() {
		for n := range len(frame) + 1 {
			plain += agree(t, name, frame[:n])
		}
	}
	if plain == 0 {
		t.Error("nothing is read at fixed offsets")
	}
}

// agree returns 1 for a frame that is read at fixed offsets.
func agree(t *testing.T, name string, frame []byte) int {
	t.Helper()
	var p, q Parser
	p.packet = Packet{Tagged: true, L3: 99, Framing: truncated, Header: malformed, Request: true, TOS: 0xff} // of the one before
	if !p.packet.plain(frame) {
		return 0
	}
	q.decode(frame)
	if p.packet != q.packet {
		t.Errorf("%s of %d bytes:\n at offsets %+v\nthe layers %+v", name, len(frame), p.packet, q.packet)
	}
	return 1
}
