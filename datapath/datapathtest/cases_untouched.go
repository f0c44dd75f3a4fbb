package datapathtest

import "fmt"

// paths are the ways that a frame can take: from an endpoint, in both cases.
type path struct {
	name     string
	from, to Endpoint
	in       func([]byte) Frame
	out      func([]byte) Frame
}

func (s *Site) paths() []path {
	at := func(p Place) func([]byte) Frame { return func(b []byte) Frame { return Frame{p, b} } }
	from := func(b []byte) Frame { return s.From(s.Host2, Red, b) }
	to := func(b []byte) Frame { return s.To(s.Host2, Red, b) }
	return []path{
		{"to another host", s.A, s.C, at(RedA), to},
		{"from another host", s.C, s.A, from, at(RedA)},
		{"to this host", s.A, s.B, at(RedA), at(RedB)},
		{"from a TAP to another host", s.TAP, s.C, at(RedTAP), to},
		{"from another host to a TAP", s.C, s.TAP, from, at(RedTAP)},
		{"to a TAP of this host", s.A, s.TAP, at(RedA), at(RedTAP)},
		{"from a TAP of this host", s.TAP, s.A, at(RedTAP), at(RedA)},
	}
}

// untouchedCases are what a datapath leaves as it is: all of the inner frame.
func untouchedCases(s *Site) []Case {
	const ip = 14
	flip := func(offset int) func([]byte) []byte {
		return func(b []byte) []byte { return Patch(b, offset, b[offset]^0xff) }
	}
	mtu := string(make([]byte, s.MTU-28))
	var cases []Case
	for _, p := range s.paths() {
		frame4, frame6 := UDP4(p.from.On4(), p.to.On4(), longer), UDP6(p.from.On6(), p.to.On6(), longer)
		add := func(name string, frame []byte) {
			cases = append(cases, passes(name+" "+p.name, p.in(frame), p.out(frame)))
		}
		for _, ttl := range []byte{0, 1, 2, 255} {
			add(fmt.Sprintf("TTL %d", ttl), WithTTL(frame4, ip, ttl))
			add(fmt.Sprintf("hop limit %d", ttl), WithTTL(frame6, ip, ttl))
		}
		for _, dscp := range []byte{0x04, 0xb8, 0xfc} {
			add(fmt.Sprintf("IPv4 with DSCP %d", dscp>>2), WithTOS(frame4, ip, dscp))
			add(fmt.Sprintf("IPv6 with DSCP %d", dscp>>2), WithTOS(frame6, ip, dscp))
		}
		add("IPv6 with a flow label", Patch(frame6, ip+1, 0x0a, 0xbc, 0xde))
		add("IPv4 with an ID and without DF", mendIP(Patch(frame4, ip+4, 0x12, 0x34, 0, 0), ip))
		add("IPv4 with DF", mendIP(Patch(frame4, ip+4, 0x12, 0x34, 0x40, 0), ip))
		add("IPv4 header checksum wrong", flip(ip+10)(frame4))
		add("UDP over IPv4 checksum wrong", flip(ip+20+6)(frame4))
		add("UDP over IPv6 checksum wrong", flip(ip+40+6)(frame6))
		add("UDP over IPv4 without checksum", Patch(frame4, ip+20+6, 0, 0))
		add("payload changed under the checksum", flip(len(frame4)-1)(frame4))
		add("TCP", TCP(p.from.On4(), p.to.On4(), longer))
		add("TCP over IPv6", TCP(p.from.On6(), p.to.On6(), longer))
		add("TCP checksum wrong", flip(ip+20+16)(TCP(p.from.On4(), p.to.On4(), longer)))
		add("TCP over IPv6 checksum wrong", flip(ip+40+16)(TCP(p.from.On6(), p.to.On6(), longer)))
		add("ICMP", ICMP4Echo(p.from.On4(), p.to.On4(), false))
		add("ICMPv6", ICMP6Echo(p.from.On6(), p.to.On6(), true))
		add("an IP protocol that nobody knows", mendIP(Patch(frame4, ip+9, 253), ip))
		add("an IPv6 next header that nobody knows", Patch(frame6, ip+6, 253))
		add("a UDP length that is wrong", WithUDPLength(frame4, ip+20, 4))
		add("bytes behind the IPv4 packet", append(frame4[:len(frame4):len(frame4)], 1, 2, 3))
		add("as long as the MTU", UDP4(p.from.On4(), p.to.On4(), mtu))
		add("IPv6 as long as the MTU", UDP6(p.from.On6(), p.to.On6(), mtu[20:]))
		add("an EtherType that nobody knows", Ethernet(p.from.On4(), p.to.On4(), 0xfff0, longer))
		add("IEEE 802.3", Ethernet(p.from.On4(), p.to.On4(), 4, "\xaa\xaa\x03x"))
	}
	return cases
}
