package datapathtest

import (
	"fmt"

	"github.com/ovlnet/ovl/datapath"
)

// The ECN field, RFC 3168 section 5.
const (
	notECT byte = iota
	ect1
	ect0
	ce
)

// ecnCases are RFC 6040: how the mark goes from the inner header to the outer
// one, and back.
func ecnCases(s *Site) []Case {
	const ip = 14
	// Figure 4, by inner and outer mark. lost is a packet that is dropped.
	const lost = 0xff
	out := [4][4]byte{
		notECT: {notECT: notECT, ect0: notECT, ect1: notECT, ce: lost},
		ect0:   {notECT: ect0, ect0: ect0, ect1: ect1, ce: ce},
		ect1:   {notECT: ect1, ect0: ect1, ect1: ect1, ce: ce},
		ce:     {notECT: ce, ect0: ce, ect1: ce, ce: ce},
	}
	names := []string{notECT: "not ECT", ect1: "ECT(1)", ect0: "ECT(0)", ce: "CE"}
	const dscp = 0xb8 // stays where it is

	var cases []Case
	for _, k := range []struct {
		name  string
		frame func(from, to Endpoint) []byte
	}{
		{"IPv4", func(f, t Endpoint) []byte { return UDP4(f.On4(), t.On4(), longer) }},
		{"IPv6", func(f, t Endpoint) []byte { return UDP6(f.On6(), t.On6(), longer) }},
	} {
		for inner, name := range names {
			mark := dscp | byte(inner)
			for _, from := range []Endpoint{s.A, s.TAP} {
				place := s.port(from)
				frame := WithTOS(k.frame(from, s.C), ip, mark)
				cases = append(cases, passes(fmt.Sprintf("%s with %s from %s", k.name, name, place), Frame{place, frame},
					Frame{Underlay, WithTOS(s.To(s.Host2, Red, frame).Bytes, s.OuterIP, byte(inner))}))
			}
			for outer, outerName := range names {
				for _, to := range []Endpoint{s.A, s.TAP} {
					place := s.port(to)
					for _, summed := range []bool{false, true} {
						frame := WithTOS(k.frame(s.C, to), ip, mark)
						packet := WithTOS(s.From(s.Host2, Red, frame).Bytes, s.OuterIP, byte(outer))
						name := fmt.Sprintf("%s with %s in %s to %s", k.name, name, outerName, place)
						if summed {
							packet, name = WithUDPChecksum(packet, s.OuterIP), name+", with an outer checksum"
						}
						if out[inner][outer] == lost {
							cases = append(cases, drops(name, Frame{Underlay, packet}, datapath.DropECN))
						} else {
							cases = append(cases, passes(name, Frame{Underlay, packet},
								Frame{place, WithTOS(frame, ip, dscp|out[inner][outer])}))
						}
					}
				}
			}
		}
	}
	return cases
}
