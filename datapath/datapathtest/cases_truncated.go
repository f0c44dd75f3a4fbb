package datapathtest

import (
	"fmt"

	"github.com/ovlnet/ovl/datapath"
)

// longer is a payload with which no frame is padded.
const longer = "more than what an Ethernet frame is padded to"

// truncatedCases cut frames at every byte, and contradict them.
func truncatedCases(s *Site) []Case {
	var cases []Case
	const eth, ip4, ip6, arpLen = 14, 20, 40, 28
	kinds := []struct {
		name    string
		frame   func(from, to Endpoint) []byte
		header  int // bytes that have to be there
		shorter datapath.DropReason
	}{
		{"IPv4", func(f, t Endpoint) []byte { return UDP4(f.On4(), t.On4(), longer) }, eth + ip4, datapath.DropInnerMalformed},
		{"IPv6", func(f, t Endpoint) []byte { return UDP6(f.On6(), t.On6(), longer) }, eth + ip6, datapath.DropInnerMalformed},
		{"ARP", func(f, t Endpoint) []byte { return ARPReply(f.On4(), t.On4()) }, eth + arpLen, 0},
	}
	for _, k := range kinds {
		out := k.frame(s.A, s.C)
		for n := eth; n < len(out); n++ {
			reason := datapath.DropTruncated
			if n >= k.header {
				reason = k.shorter
			}
			if reason != 0 {
				cases = append(cases, drops(fmt.Sprintf("%s from an endpoint, at byte %d", k.name, n), Frame{RedA, out[:n]}, reason))
			}
		}
		for _, to := range []Endpoint{s.A, s.TAP} {
			place := s.port(to)
			in := s.From(s.Host2, Red, k.frame(s.C, to)).Bytes
			for n := s.OuterUDP; n < len(in); n++ {
				reason := datapath.DropTruncated
				if n >= s.Inner+k.header {
					reason = k.shorter
				}
				if reason == 0 {
					continue
				}
				c := drops(fmt.Sprintf("%s to %s, at byte %d", k.name, place, n), Frame{Underlay, s.Cut(in, n)}, reason)
				c.Steps[0].OrStack = n < s.VXLAN
				cases = append(cases, c)
			}
		}
	}
	const ip = eth
	for _, k := range []struct {
		name  string
		field int
		value []byte
	}{
		{"version 0", ip, []byte{0x05}}, {"version 5", ip, []byte{0x55}}, {"version 6", ip, []byte{0x65}},
		{"a header of 0 bytes", ip, []byte{0x40}}, {"a header of 16 bytes", ip, []byte{0x44}},
		{"a length of 0", ip + 2, []byte{0, 0}}, {"a length of 19", ip + 2, []byte{0, 19}},
		{"a length one beyond the frame", ip + 2, uint16Bytes(20 + 8 + len(longer) + 1)},
		{"a length far beyond the frame", ip + 2, []byte{0xff, 0xff}},
	} {
		out := Patch(UDP4(s.A.On4(), s.C.On4(), longer), k.field, k.value...)
		near := Patch(UDP4(s.A.On4(), s.B.On4(), longer), k.field, k.value...)
		in := Patch(UDP4(s.C.On4(), s.A.On4(), longer), k.field, k.value...)
		inTAP := Patch(UDP4(s.C.On4(), s.TAP.On4(), longer), k.field, k.value...)
		cases = append(cases,
			drops("IPv4 of "+k.name, Frame{RedA, out}, datapath.DropInnerMalformed),
			drops("IPv4 of "+k.name+" to this host", Frame{RedA, near}, datapath.DropInnerMalformed),
			drops("IPv4 of "+k.name+" from another host", s.From(s.Host2, Red, in), datapath.DropInnerMalformed),
			drops("IPv4 of "+k.name+" from another host to a TAP", s.From(s.Host2, Red, inTAP), datapath.DropInnerMalformed))
	}
	// The outer lengths say that all of it is there.
	good := s.From(s.Host2, Red, UDP4(s.C.On4(), s.A.On4(), longer)).Bytes
	for n := eth; n < len(good); n++ {
		name, in := fmt.Sprintf("outer packet at byte %d", n), Frame{Underlay, good[:n]}
		if n < s.OuterUDP {
			cases = append(cases, nothing(name, in))
		} else {
			cases = append(cases, cutShort(name, in))
		}
	}
	return cases
}
