package datapathtest

import (
	"fmt"
	"net/netip"

	"github.com/ovlnet/ovl/datapath"
)

// vtepCases are tunnel packets whose outer addresses are nearly right: every
// byte of an address counts.
func vtepCases(s *Site) []Case {
	inner := UDP4(s.C.On4(), s.A.On4(), "hello")
	from := func(addr netip.Addr) Frame { return s.From(Party{s.Host2.MAC, addr}, Red, inner) }
	to := func(addr netip.Addr) Frame {
		return Frame{Underlay, VXLAN(s.Host2, Party{s.Here.MAC, addr}, Red, inner)}
	}
	itself := drops("from this host itself", from(s.Here.Addr), datapath.DropUnknownVTEP)
	itself.Steps[0].OrStack = true // a source that is its own
	cases := []Case{
		passes("from a member to this host", from(s.Host2.Addr), Frame{RedA, inner}),
		itself,
		drops("from another member", from(s.Host3.Addr), datapath.DropInnerSource),
	}
	for i := range s.Here.Addr.AsSlice() {
		cases = append(cases, drops(fmt.Sprintf("from an address that differs in byte %d", i),
			from(differs(s.Host2.Addr, i)), datapath.DropUnknownVTEP))
		if s.Family == IPv6 && i < 8 {
			continue // of another subnet: the host's stack says that it has no route there
		}
		cases = append(cases, Case{ // the host has no such address, and does not forward
			Name:  fmt.Sprintf("to an address that differs in byte %d", i),
			Steps: []Step{{In: []Frame{to(differs(s.Here.Addr, i))}}},
		})
	}
	if s.Family == IPv6 {
		cases = append(cases,
			drops("from a link-local address", from(netip.MustParseAddr("fe80::2")), datapath.DropUnknownVTEP),
			drops("from an IPv4 address", from(netip.MustParseAddr("::ffff:192.0.2.2")), datapath.DropUnknownVTEP))
	}
	return cases
}

// differs changes a byte of an address.
func differs(a netip.Addr, i int) netip.Addr {
	b := a.AsSlice()
	b[i] ^= 0x40
	out, _ := netip.AddrFromSlice(b)
	return out
}
