package datapathtest

import (
	"fmt"

	"github.com/ovlnet/ovl/datapath"
)

// longer is a payload with which no frame is padded.
const longer = "more than what an Ethernet frame is padded to"

// truncatedCases cut frames at every byte.
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
