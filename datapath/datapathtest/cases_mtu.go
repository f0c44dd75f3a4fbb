package datapathtest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ovlnet/ovl/datapath"
)

// mtuCases are packets as long as may be, packets that are longer, and what
// their senders are told.
func mtuCases(s *Site) []Case {
	return slices.Concat(longCases(s), silentCases(s), gatewayCases(s), pathCases(s), jumboCases(s))
}

// long4 and long6 are packets of a length, IP header included.
func long4(from, to Endpoint, length int) []byte {
	return UDP4(from.On4(), to.On4(), strings.Repeat("4", length-28))
}

func long6(from, to Endpoint, length int) []byte {
	return UDP6(from.On6(), to.On6(), strings.Repeat("6", length-48))
}

// tooBig is a case of one step, in which a frame is dropped for its length and
// answered.
func tooBig(name string, in Frame, answer []byte) Case {
	return Case{Name: name, Steps: []Step{{
		In: []Frame{in}, Out: []Frame{{in.At, answer}}, Drops: []datapath.DropReason{datapath.DropTooBig},
	}}}
}

// told4 and told6 are what an endpoint is told of a frame to another one.
func (s *Site) told4(from, to Endpoint, frame []byte, mtu int) []byte {
	return FragmentationNeeded(Party{to.MAC, s.Gateway.V4}, from.On4(), mtu, frame)
}

func (s *Site) told6(from, to Endpoint, frame []byte, mtu int) []byte {
	return PacketTooBig(Party{to.MAC, s.Gateway.V6}, from.On6(), mtu, frame)
}

// longCases are answered, and their neighbours that fit pass.
func longCases(s *Site) []Case {
	var cases []Case
	for at, e := range map[Place]Endpoint{RedA: s.A, RedTAP: s.TAP} {
		fits4, long4 := long4(e, s.C, s.MTU), long4(e, s.C, s.MTU+1)
		fits6, long6 := long6(e, s.C, s.MTU), long6(e, s.C, s.MTU+1)
		from := " from " + string(at)
		cases = append(cases,
			passes("IPv4 as long as the MTU"+from, Frame{at, fits4}, s.To(s.Host2, Red, fits4)),
			passes("IPv6 as long as the MTU"+from, Frame{at, fits6}, s.To(s.Host2, Red, fits6)),
			tooBig("IPv4 a byte longer"+from, Frame{at, long4}, s.told4(e, s.C, long4, s.MTU)),
			tooBig("IPv6 a byte longer"+from, Frame{at, long6}, s.told6(e, s.C, long6, s.MTU)),
		)
	}
	long := long4(s.A, s.C, s.MTU+1)
	for name, frame := range map[string][]byte{
		"IPv4 that may not be fragmented": withFragment(long, 0x4000),
		"IPv4 much longer":                long4(s.A, s.C, 8000),
		"IPv4 with options":               withOptions(long),
		"the first fragment":              withFragment(long, 0x2000),
		"a ping over IPv4":                ICMP4(s.A.On4(), s.C.On4(), 8, s.MTU),
		"a timestamp request":             ICMP4(s.A.On4(), s.C.On4(), 13, s.MTU),
		"IPv4 without transport's header": Patch(long, 23, 253),
		"IPv4 of TCP":                     Patch(long, 23, 6),
	} {
		cases = append(cases, tooBig("answers "+name, Frame{RedA, frame}, s.told4(s.A, s.C, frame, s.MTU)))
	}
	for name, frame := range map[string][]byte{
		"IPv6 much longer": long6(s.A, s.C, 8000),
		"a ping over IPv6": ICMP6Type(s.A.On6(), s.C.On6(), 128, s.MTU),
	} {
		cases = append(cases, tooBig("answers "+name, Frame{RedA, frame}, s.told6(s.A, s.C, frame, s.MTU)))
	}
	return cases
}

// silentCases are too long, and nobody is told.
func silentCases(s *Site) []Case {
	a, c := s.A.On4(), s.C.On4()
	long := long4(s.A, s.C, s.MTU+1)
	frames := map[string][]byte{
		"not IP":                      Ethernet(a, c, 0x88b5, strings.Repeat("x", s.MTU+1)),
		"a later fragment":            withFragment(long, 0x2010),
		"the last fragment":           withFragment(long, 0x0010),
		"IPv4 to a group":             UDP4(a, Party{c.MAC, netip.MustParseAddr("224.0.0.251")}, strings.Repeat("x", s.MTU)),
		"IPv4 to all":                 UDP4(a, Party{c.MAC, netip.MustParseAddr("255.255.255.255")}, strings.Repeat("x", s.MTU)),
		"IPv4 to the zero network":    UDP4(a, Party{c.MAC, netip.MustParseAddr("0.0.0.0")}, strings.Repeat("x", s.MTU)),
		"IPv6 to a group":             UDP6(s.A.On6(), Party{c.MAC, netip.MustParseAddr("ff02::fb")}, strings.Repeat("x", s.MTU)),
		"an ICMPv6 error of the last": ICMP6Type(s.A.On6(), s.C.On6(), 127, s.MTU),
	}
	for _, kind := range []uint8{3, 4, 5, 11, 12} {
		frames[fmt.Sprintf("an ICMP error of type %d", kind)] = ICMP4(a, c, kind, s.MTU)
	}
	for _, kind := range []uint8{1, 2, 3, 4} {
		frames[fmt.Sprintf("an ICMPv6 error of type %d", kind)] = ICMP6Type(s.A.On6(), s.C.On6(), kind, s.MTU)
	}
	var cases []Case
	for name, frame := range frames {
		cases = append(cases, drops("says nothing of "+name, Frame{RedA, frame}, datapath.DropTooBig))
	}
	return cases
}

// gatewayCases are answers that do not come from the network's gateway, or not
// from its first.
func gatewayCases(s *Site) []Case {
	frame4, frame6 := long4(s.A, s.C, s.MTU+1), long6(s.A, s.C, s.MTU+1)
	gateways := func(c Case, addrs ...netip.Addr) Case {
		c.State = func(st *datapath.State) { Network(st, Red).Gateways = addrs }
		return c
	}
	another4, another6 := netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("fd99::1")
	// What is behind a tag is the endpoints' own affair.
	tagged4, tagged6 := withTag(frame4), withTag(frame6)
	fits := withTag(long4(s.A, s.C, s.MTU-4))
	const tag = 4
	return []Case{
		gateways(tooBig("without gateways IPv4 hears from its destination", Frame{RedA, frame4},
			FragmentationNeeded(s.C.On4(), s.A.On4(), s.MTU, frame4))),
		gateways(tooBig("without gateways IPv6 hears from its destination", Frame{RedA, frame6},
			PacketTooBig(s.C.On6(), s.A.On6(), s.MTU, frame6))),
		gateways(tooBig("IPv4 does not hear from a gateway of IPv6", Frame{RedA, frame4},
			FragmentationNeeded(s.C.On4(), s.A.On4(), s.MTU, frame4)), s.Gateway.V6),
		gateways(tooBig("IPv6 does not hear from a gateway of IPv4", Frame{RedA, frame6},
			PacketTooBig(s.C.On6(), s.A.On6(), s.MTU, frame6)), s.Gateway.V4),
		gateways(tooBig("IPv4 hears from the first of its gateways", Frame{RedA, frame4}, s.told4(s.A, s.C, frame4, s.MTU)),
			s.Gateway.V4, another4, another6),
		gateways(tooBig("IPv6 hears from the first of its gateways", Frame{RedA, frame6}, s.told6(s.A, s.C, frame6, s.MTU)),
			another4, s.Gateway.V6, another6),
		passes("IPv4 behind a tag that leaves room for it", Frame{RedA, fits}, s.To(s.Host2, Red, fits)),
		tooBig("IPv4 behind a tag hears from its destination", Frame{RedA, tagged4},
			withTag(FragmentationNeeded(s.C.On4(), s.A.On4(), s.MTU-tag, frame4))),
		tooBig("IPv6 behind a tag hears from its destination", Frame{RedA, tagged6},
			withTag(PacketTooBig(s.C.On6(), s.A.On6(), s.MTU-tag, frame6))),
	}
}

// pathCases are about paths that take less than the hosts' links do: a router of
// the underlay says so, or the host at the other end is known for it.
func pathCases(s *Site) []Case {
	const narrow = 1400
	mtu := narrow - (s.InnerIP - s.OuterIP)
	first := long4(s.A, s.C, mtu+1)
	out := s.To(s.Host2, Red, first)
	// sent is what the datapath has sent, by that port.
	sent := func(sport uint16) []byte {
		return Patch(out.Bytes, s.OuterUDP, byte(sport>>8), byte(sport))
	}
	unheard := Step{In: []Frame{{RedA, first}}, Out: []Frame{out}}

	cases := []Case{
		{
			Name: "a path that takes less", Setup: Setup{Alone: true},
			Steps: append([]Step{unheard, {
				Quote: func(sport uint16) []Frame { return []Frame{s.narrower(narrow, sent(sport))} }, Check: learned,
			}}, s.narrowSteps(mtu)...),
		},
		{
			Name:  "a host whose underlay takes less",
			State: func(st *datapath.State) { st.Peers = []datapath.Peer{{VTEP: s.Host2.Addr, MTU: narrow}} },
			Steps: append([]Step{{Check: learned}}, s.narrowSteps(mtu)...),
		},
		{Name: "a host whose underlay takes more again", Steps: []Step{{Check: learned}, unheard}},
	}
	if s.Family == IPv6 {
		return cases
	}
	// A router of IPv4 may quote as little as 8 bytes behind the IP header.
	brief := func(mtu int, about []byte) Frame {
		return s.narrower(mtu, about[:OuterIPOffset+28])
	}
	good := func(sport uint16) []Frame { return []Frame{brief(narrow, sent(sport))} }
	forged := []Frame{
		{Underlay, Patch(brief(narrow, out.Bytes).Bytes, 14+20+6, 5, 0)},        // a checksum that is wrong
		brief(narrow, s.To(s.Stranger, Red, first).Bytes),                       // a host that we send nothing to
		brief(narrow, VXLAN(s.Host3, s.Host2, Red, first)),                      // not sent by us
		brief(narrow, Patch(out.Bytes, s.OuterUDP, 0x7f, 0xff)),                 // from a port that we do not use
		brief(narrow, Patch(out.Bytes, s.OuterUDP, 0xee, 0x48)),                 // the same
		brief(narrow, Patch(out.Bytes, s.OuterUDP+2, 0x12, 0xb6)),               // to another port
		brief(narrow, Patch(out.Bytes, s.OuterIP+6, 0, 0)),                      // that may be fragmented
		brief(narrow, Patch(out.Bytes, s.OuterIP+9, 6)),                         // TCP
		brief(len(out.Bytes)-OuterIPOffset, out.Bytes),                          // that fits
		{Underlay, ICMP4(s.Stranger, s.Here, 3, 28)},                            // about nothing
		{Underlay, FragmentationNeeded(s.Stranger, s.Host2, narrow, out.Bytes)}, // to somebody else
	}
	return append(cases, Case{
		Name: "a path that takes less, told in few words", Setup: Setup{Alone: true},
		Steps: append([]Step{
			unheard, {In: forged, Check: learned},
			unheard, {Quote: good, Check: learned},
		}, s.narrowSteps(mtu)...),
	}, Case{
		Name: "a path that is said to take next to nothing", Setup: Setup{Alone: true},
		Steps: []Step{
			unheard, {Quote: func(sport uint16) []Frame { return []Frame{brief(68, sent(sport))} }, Check: learned},
			s.least(long4(s.A, s.C, answerLen4)), s.least(long6(s.A, s.C, answerLen6)),
			tooBig("", Frame{RedA, first}, s.told4(s.A, s.C, first, answerLen4)).Steps[0],
			tooBig("", Frame{RedA, long6(s.A, s.C, answerLen6+1)}, s.told6(s.A, s.C, long6(s.A, s.C, answerLen6+1), answerLen6)).Steps[0],
		},
	})
}

// least is a packet that an endpoint may count on, whatever is said of the path.
func (s *Site) least(frame []byte) Step {
	return Step{In: []Frame{{RedA, frame}}, Out: []Frame{s.To(s.Host2, Red, frame)}}
}

// narrowSteps are what a path to Host2 takes, and what not.
func (s *Site) narrowSteps(mtu int) []Step {
	var steps []Step
	for _, k := range []struct {
		build func(from, to Endpoint, length int) []byte
		told  func(from, to Endpoint, frame []byte, mtu int) []byte
	}{{long4, s.told4}, {long6, s.told6}} {
		fits, long, elsewhere := k.build(s.A, s.C, mtu), k.build(s.A, s.C, mtu+1), k.build(s.A, s.E, s.MTU)
		steps = append(steps,
			Step{In: []Frame{{RedA, fits}, {RedA, elsewhere}},
				Out: []Frame{s.To(s.Host2, Red, fits), s.To(s.Host3, Red, elsewhere)}},
			tooBig("", Frame{RedA, long}, k.told(s.A, s.C, long, mtu)).Steps[0],
		)
	}
	other := Ethernet(s.A.On4(), s.C.On4(), 0x88b5, strings.Repeat("x", mtu+1))
	return append(steps, drops("", Frame{RedA, other}, datapath.DropTooBig).Steps[0])
}

// jumboCases are those of an underlay that takes longer frames than most.
func jumboCases(s *Site) []Case {
	const underlay = 9000
	mtu := underlay - (s.InnerIP - s.OuterIP)
	jumbo := func(c Case) Case {
		c.Setup = Setup{MTU: underlay}
		c.State = func(st *datapath.State) { Network(st, Red).MTU = mtu }
		return c
	}
	fits4, fits6 := long4(s.A, s.C, mtu), long6(s.A, s.C, mtu)
	more4, more6 := long4(s.A, s.C, mtu+1), long6(s.A, s.C, mtu+1)
	back := long4(s.C, s.A, mtu)
	return []Case{
		jumbo(passes("IPv4 as long as a jumbo frame", Frame{RedA, fits4}, s.To(s.Host2, Red, fits4))),
		jumbo(passes("IPv6 as long as a jumbo frame", Frame{RedA, fits6}, s.To(s.Host2, Red, fits6))),
		jumbo(passes("a jumbo frame from another host", s.From(s.Host2, Red, back), Frame{RedA, back})),
		jumbo(tooBig("IPv4 a byte longer than a jumbo frame", Frame{RedA, more4}, s.told4(s.A, s.C, more4, mtu))),
		jumbo(tooBig("IPv6 a byte longer than a jumbo frame", Frame{RedA, more6}, s.told6(s.A, s.C, more6, mtu))),
	}
}

// narrower is what a router of the underlay says of a tunnel packet.
func (s *Site) narrower(mtu int, about []byte) Frame {
	if s.Family == IPv6 {
		return Frame{Underlay, PacketTooBig(s.Stranger, s.Here, mtu, about)}
	}
	return Frame{Underlay, FragmentationNeeded(s.Stranger, s.Here, mtu, about)}
}

// learned gives a datapath time to go by what it has heard.
func learned(_, _ datapath.Stats) error {
	time.Sleep(20 * time.Millisecond)
	return nil
}
