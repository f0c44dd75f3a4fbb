package datapathtest

import (
	"fmt"
	"strings"

	"github.com/ovlnet/ovl/datapath"
)

// vipEchoCases are pings of a VIP, which is up as long as it is there, and other
// ICMP, which is nobody's.
func vipEchoCases(s *Site) []Case {
	ports := s.service(s.backends()...)
	ports.Ports = nil
	var cases []Case
	for _, k := range []struct {
		name string
		v    *vip
	}{
		{"with backends", s.service(s.backends()...)}, {"without backends", s.service()}, {"with every port", ports},
		{"with a backend that is draining", s.service(draining(s.backend(s.C)))},
	} {
		for _, family := range []Family{IPv4, IPv6} {
			for _, client := range []Endpoint{s.A, s.TAP} {
				from, to, at := client.on(family), k.v.on(family), s.port(client)
				for _, n := range []int{0, 1, 18, 56, 57, 1300} {
					payload := strings.Repeat("ping, pong. ", n/12+1)[:n]
					cases = append(cases, serviceCase(fmt.Sprintf("a ping of %d bytes over %s from %s %s", n, family, client.V4, k.name), k.v,
						Step{In: []Frame{{at, Echo(from, to, false, payload)}}, Out: []Frame{{at, Echo(to, from, true, payload)}}}))
				}
			}
		}
	}

	v := s.service(s.backends()...)
	for _, family := range []Family{IPv4, IPv6} {
		// All but what makes it an answer stays as it is.
		turned := func(name string, change func([]byte) []byte) {
			from, to := s.A.on(family), v.on(family)
			cases = append(cases, serviceCase(fmt.Sprintf("a ping with %s over %s", name, family), v, Step{
				In: []Frame{{RedA, change(Echo(from, to, false, longer))}}, Out: []Frame{{RedA, change(Echo(to, from, true, longer))}},
			}))
		}
		turned("TTL 1", func(b []byte) []byte { return WithTTL(b, OuterIPOffset, 1) })
		turned("a DSCP and ECN", func(b []byte) []byte { return WithTOS(b, OuterIPOffset, 46<<2|3) })
		turned("a wrong checksum", func(b []byte) []byte { return Patch(b, len(b)-1, b[len(b)-1]^0x55) })
		turned("padding", func(b []byte) []byte { return append(b, 0, 0, 0) })
		if family == IPv4 {
			turned("IP options", withOptions)
			turned("an ID and DF", func(b []byte) []byte { return mendIP(Patch(b, OuterIPOffset+4, 1, 2, 0x40, 0), OuterIPOffset) })
		} else {
			turned("extension headers", func(b []byte) []byte { return Extend(b, Padding(extHopByHop), Padding(extDestination)) })
			turned("a flow label", func(b []byte) []byte { return Patch(b, OuterIPOffset+1, 0x0a, 0xbc, 0xde) })
		}
	}

	a4, v4, a6, v6 := s.A.On4(), v.on(IPv4), s.A.On6(), v.on(IPv6)
	refuse := func(name string, frame []byte) {
		cases = append(cases, serviceCase(name, v, Step{In: []Frame{{RedA, frame}}, Drops: []datapath.DropReason{datapath.DropServicePort}}))
	}
	refuse("an answer to a ping over IPv4", Echo(a4, v4, true, longer))
	refuse("an answer to a ping over IPv6", Echo(a6, v6, true, longer))
	for _, typ := range []uint8{4, 5, 9, 10, 13, 14, 17, 42, 255} {
		refuse(fmt.Sprintf("ICMP of type %d", typ), ICMP4(a4, v4, typ, 32))
	}
	for _, typ := range []uint8{5, 100, 127, 132, 144, 200, 255} {
		refuse(fmt.Sprintf("ICMPv6 of type %d", typ), ICMP6Type(a6, v6, typ, 32))
	}
	ping := Fragments(Echo(a4, v4, false, longer+longer), OuterIPOffset, 64, s.nextPort())
	refuse("the first fragment of a ping", ping[0])
	ping = Fragments(Echo(a6, v6, false, longer+longer), OuterIPOffset, 64, s.nextPort())
	refuse("the first fragment of a ping over IPv6", ping[0])
	return cases
}
