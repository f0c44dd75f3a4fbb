package datapathtest

import (
	"fmt"
	"slices"

	"github.com/ovlnet/ovl/datapath"
)

// tunnelCases are packets from the underlay that are wrong, or unusual, in what
// is outside the inner frame.
func tunnelCases(s *Site) []Case {
	inner := UDP4(s.C.On4(), s.A.On4(), longer)
	good := s.From(s.Host2, Red, inner).Bytes
	raw := s.From(s.Host2, Red, Ethernet(s.C.On4(), s.A.On4(), 0x88b5, longer)).Bytes
	good6 := s.From(s.Host2, Red, UDP6(s.C.On6(), s.A.On6(), longer)).Bytes
	udpLen := len(good) - s.OuterUDP
	ipLen := len(good) - s.OuterIP
	padded := append(slices.Clone(good), 0, 0, 0, 0, 0)
	delivered := Frame{RedA, inner}
	in := func(frame []byte) Frame { return Frame{Underlay, frame} }
	field := func(offset int, b ...byte) Frame { return in(Patch(good, s.VXLAN+offset, b...)) }
	checksummed := WithUDPChecksum(good, s.OuterIP)

	cases := []Case{
		drops("no I flag", field(0, 0), datapath.DropVXLANFlags),
		drops("all flags", field(0, 0xff), datapath.DropVXLANFlags),
		drops("VNI of zero", field(4, 0, 0, 0), datapath.DropUnknownVNI),
		drops("the last VNI", field(4, 0xff, 0xff, 0xff), datapath.DropUnknownVNI),

		passes("checksum right", in(checksummed), delivered),
		nothing("checksum wrong", in(Patch(checksummed, s.OuterUDP+6, checksummed[s.OuterUDP+6]^1))),
		nothing("payload changed under the checksum", in(Patch(checksummed, len(good)-1, 'x'))),
		passes("outer TTL of one", in(WithTTL(good, s.OuterIP, 1)), delivered),
		passes("outer DSCP stays outside", in(WithTOS(good, s.OuterIP, 0xb8)), delivered),
		passes("source port below the range", in(Patch(good, s.OuterUDP, 0, 53)), delivered),
		passes("source port of zero", in(Patch(good, s.OuterUDP, 0, 0)), delivered),

		passes("padding behind the packet", in(padded), delivered),
		passes("bytes between the UDP packet and the end of the IP packet",
			in(WithIPLength(padded, s.OuterIP, ipLen+5)), delivered),
		cutShort("UDP longer than the IP packet", in(WithUDPLength(good, s.OuterUDP, udpLen+1))),
		cutShort("UDP longer than the IP packet, in the padding", in(WithUDPLength(padded, s.OuterUDP, udpLen+5))),
		cutShort("UDP of all its header can say", in(WithUDPLength(good, s.OuterUDP, 0xffff))),
		cutShort("UDP shorter than its header", in(WithUDPLength(good, s.OuterUDP, 7))),
		drops("UDP that ends in the VXLAN header", in(WithUDPLength(good, s.OuterUDP, 8+7)), datapath.DropTruncated),
		drops("UDP that ends in the inner Ethernet header", in(WithUDPLength(good, s.OuterUDP, 8+8+13)), datapath.DropTruncated),
		drops("UDP that ends in the VXLAN header of a frame that is not IP", in(WithUDPLength(raw, s.OuterUDP, 8+7)), datapath.DropTruncated),
		drops("UDP that ends in the inner Ethernet header of a frame that is not IP",
			in(WithUDPLength(raw, s.OuterUDP, 8+8+13)), datapath.DropTruncated),
		drops("UDP that ends in the inner IPv4 header", in(WithUDPLength(good, s.OuterUDP, 8+8+14+19)), datapath.DropTruncated),
		drops("UDP that ends in the inner IPv6 header", in(WithUDPLength(good6, s.OuterUDP, 8+8+14+39)), datapath.DropTruncated),
		drops("inner IPv6 header cut short under a checksum",
			in(WithUDPChecksum(s.Cut(good6, s.InnerIP+39), s.OuterIP)), datapath.DropTruncated),
		drops("inner IPv4 header cut short under a checksum",
			in(WithUDPChecksum(s.Cut(good, s.InnerIP+19), s.OuterIP)), datapath.DropTruncated),
		drops("UDP that ends in the inner payload", in(WithUDPLength(good, s.OuterUDP, udpLen-1)), datapath.DropInnerMalformed),
		cutShort("IP longer than the frame", in(WithIPLength(good, s.OuterIP, ipLen+1))),

		passes("nested VXLAN is the endpoint's own", s.From(s.Host2, Red, s.nested(s.C, s.A)), Frame{RedA, s.nested(s.C, s.A)}),
		passes("nested VXLAN to another host", Frame{RedA, s.nested(s.A, s.C)}, s.To(s.Host2, Red, s.nested(s.A, s.C))),

		nothing("to another machine's MAC", in(Patch(good, 0, s.Host3.MAC[:]...))),
		nothing("to another machine's address", Frame{Underlay, VXLAN(s.Host2, Party{s.Here.MAC, s.Host3.Addr}, Red, inner)}),
		nothing("in a VLAN of the underlay", in(Tagged(good, 0x8100, 5))),
		nothing("of another IP protocol", in(s.protocol(good, 136))), // UDP-Lite
		passes("not ours: echo request, which the host answers", s.echo(s.Stranger, s.Here, false), s.echo(s.Here, s.Stranger, true)),
	}
	for bit := range 64 {
		offset, mask := bit/8, byte(0x80)>>(bit%8)
		if offset == 0 && mask == 8 || offset >= 4 && offset < 7 {
			continue // the I flag, the VNI
		}
		cases = append(cases, drops(fmt.Sprintf("reserved bit %d", bit),
			field(offset, good[s.VXLAN+offset]|mask), datapath.DropVXLANFlags))
	}
	if s.Family == IPv4 {
		cases = append(cases,
			nothing("outer header's checksum wrong", in(Patch(good, s.OuterIP+10, good[s.OuterIP+10]^1))),
			nothing("outer version of five", in(mendIP(Patch(good, s.OuterIP, 0x55), s.OuterIP))),
			passes("outer options", in(s.options(good)), delivered))
	} else {
		cases = append(cases,
			nothing("outer version of five", in(Patch(good, s.OuterIP, 0x50))),
			passes("outer extension header", in(s.options(good)), delivered))
	}
	if s.Family == IPv4 { // in IPv6 it stands for a jumbogram (RFC 2675), and Linux takes it for any length
		cases = append(cases, cutShort("UDP of length zero", in(WithUDPLength(good, s.OuterUDP, 0))))
	}
	return cases
}

// nothing is a case of a frame that is the host's own, which has no use for it.
func nothing(name string, in Frame) Case {
	return Case{Name: name, Steps: []Step{{In: []Frame{in}}}}
}

// cutShort is a case of a packet that may not get past the host's own stack.
func cutShort(name string, in Frame) Case {
	c := drops(name, in, datapath.DropTruncated)
	c.Steps[0].OrStack = true
	return c
}

// nested is a frame of VXLAN that one endpoint sends to another.
func (s *Site) nested(from, to Endpoint) []byte {
	return VXLAN(from.On4(), to.On4(), Blue, UDP4(s.F.On4(), s.A.On4(), "nested"))
}

// protocol sets the outer IP packet's protocol.
func (s *Site) protocol(frame []byte, number byte) []byte {
	if s.Family == IPv6 {
		return Patch(frame, s.OuterIP+6, number)
	}
	return mendIP(Patch(frame, s.OuterIP+9, number), s.OuterIP)
}

// options puts four bytes of no operation behind an outer IPv4 header, or eight
// of destination options (RFC 8200 section 4.6) behind one of IPv6.
func (s *Site) options(frame []byte) []byte {
	if s.Family == IPv4 {
		f := slices.Insert(slices.Clone(frame), s.OuterUDP, 1, 1, 1, 1)
		f[s.OuterIP] = 0x46
		copy(f[s.OuterIP+2:], uint16Bytes(len(f)-s.OuterIP))
		copy(f[s.OuterIP+10:], []byte{0, 0})
		copy(f[s.OuterIP+10:], uint16Bytes(int(checksum(f[s.OuterIP:s.OuterUDP+4]))))
		return f
	}
	const padN, destination = 1, 60
	f := slices.Insert(slices.Clone(frame), s.OuterUDP, frame[s.OuterIP+6], 0, padN, 4, 0, 0, 0, 0)
	f[s.OuterIP+6] = destination
	return WithIPLength(f, s.OuterIP, len(f)-s.OuterIP)
}

// echo is a ping between hosts on the underlay, or what answers it.
func (s *Site) echo(from, to Party, reply bool) Frame {
	if s.Family == IPv6 {
		return Frame{Underlay, ICMP6Echo(from, to, reply)}
	}
	return Frame{Underlay, ICMP4Echo(from, to, reply)}
}
