package datapathtest

import (
	"fmt"
	"net/netip"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// Family is that of an underlay.
type Family string

// The two families.
const (
	IPv4 Family = "IPv4"
	IPv6 Family = "IPv6"
)

// The places of a lab. Ports are called by the name of their interface.
const (
	Underlay Place = "underlay"
	RedA     Place = "red-a"
	RedB     Place = "red-b"
	RedTAP   Place = "red-tap"
	BlueA    Place = "blue-a"
	BlueB    Place = "blue-b"
)

// The networks. Red and Blue differ in nothing but their VNI and in which hosts
// have them: the endpoints of the same letter have the same MAC and the same
// addresses in both. Nobody has Green.
//
// Blue's VNI is such that what the kernel datapath keeps of Red's endpoints, and
// of Blue's, falls into the same slots (bpf/ways.h).
const (
	Red   encap.VNI = 4096
	Blue  encap.VNI = 4706
	Green encap.VNI = 4097
)

// Endpoint is one end of frames inside a network.
type Endpoint struct {
	MAC    encap.MAC
	V4, V6 netip.Addr
}

// On4 is the endpoint as a party of IPv4 frames.
func (e Endpoint) On4() Party { return Party{e.MAC, e.V4} }

// On6 is the endpoint as a party of IPv6 frames.
func (e Endpoint) On6() Party { return Party{e.MAC, e.V6} }

// OnLinkLocal is the endpoint with the link-local address that follows from its
// MAC (RFC 4291 appendix A).
func (e Endpoint) OnLinkLocal() Party {
	m := e.MAC
	return Party{m, netip.AddrFrom16([16]byte{
		0xfe, 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5],
	})}
}

// Addrs are its addresses, as a State has them.
func (e Endpoint) Addrs() []netip.Addr { return []netip.Addr{e.V4, e.V6} }

// newEndpoint is the endpoint 10.0.0.n.
func newEndpoint(n byte) Endpoint {
	return Endpoint{
		MAC: encap.MAC{2, 0, 0, 0, 0, n},
		V4:  netip.AddrFrom4([4]byte{10, 0, 0, n}),
		V6:  netip.AddrFrom16([16]byte{0xfd, 15: n}),
	}
}

// Site is who there is. All of it is the same in every lab, but for the
// addresses of hosts, which are of the underlay's family.
type Site struct {
	Family Family
	// MTU is that of the networks where the underlay's is 1500.
	MTU int

	// A and B are on this host, in Red and in Blue. TAP is in Red only.
	A, B, TAP Endpoint
	// C and D are on Host2, in Red and in Blue; D has a second address of
	// either family, D2. E is on Host3, in Red only; F on Host4, in Blue only.
	C, D, D2, E, F Endpoint
	// Nobody is an endpoint that neither network has.
	Nobody Endpoint
	// Gateway are the networks' own addresses. No endpoint has them.
	Gateway Endpoint

	// Here is the host under test. Stranger is a machine on the underlay
	// that is no host of any network.
	Here, Host2, Host3, Host4, Stranger Party

	// Offsets into a tunnel packet.
	OuterIP, OuterUDP, VXLAN, Inner, InnerIP int

	// lastVIP and lastPort number what no two cases of a lab may share.
	lastVIP  int
	lastPort uint16
}

func newSite(f Family) *Site {
	s := &Site{
		Family: f, MTU: 1450,
		A: newEndpoint(2), B: newEndpoint(3), TAP: newEndpoint(4),
		C: newEndpoint(5), D: newEndpoint(6), D2: newEndpoint(66), E: newEndpoint(7), F: newEndpoint(8),
		Nobody: newEndpoint(99), Gateway: newEndpoint(1),
		OuterIP: 14, OuterUDP: 14 + 20,
	}
	s.D2.MAC = s.D.MAC
	if f == IPv6 {
		s.MTU, s.OuterUDP = 1430, 14+40
	}
	s.VXLAN = s.OuterUDP + 8
	s.Inner = s.VXLAN + 8
	s.InnerIP = s.Inner + 14
	for i, host := range []*Party{&s.Here, &s.Host2, &s.Host3, &s.Host4, &s.Stranger} {
		n := byte(i + 1)
		host.MAC = encap.MAC{2, 0xf0, 0, 0, 0, n}
		host.Addr = netip.AddrFrom4([4]byte{192, 0, 2, n})
		if f == IPv6 {
			host.Addr = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: n})
		}
	}
	return s
}

// State is the standard State. Its Ports are those that a lab has interfaces
// for.
func (s *Site) State() datapath.State {
	network := func(vni encap.VNI) datapath.Network {
		return datapath.Network{
			VNI: vni, MTU: s.MTU, Gateways: s.Gateway.Addrs(),
			Remotes: []datapath.Remote{
				{MAC: s.C.MAC, Addrs: s.C.Addrs(), VTEP: s.Host2.Addr},
				{MAC: s.D.MAC, Addrs: append(s.D.Addrs(), s.D2.Addrs()...), VTEP: s.Host2.Addr},
			},
		}
	}
	port := func(p Place, e Endpoint) datapath.Port {
		return datapath.Port{Device: string(p), MAC: e.MAC, Addrs: e.Addrs()}
	}
	red, blue := network(Red), network(Blue)
	tap := port(RedTAP, s.TAP)
	tap.Kind = datapath.TAP
	red.Ports = []datapath.Port{port(RedA, s.A), port(RedB, s.B), tap}
	red.Remotes = append(red.Remotes, datapath.Remote{MAC: s.E.MAC, Addrs: s.E.Addrs(), VTEP: s.Host3.Addr})
	blue.Ports = []datapath.Port{port(BlueA, s.A), port(BlueB, s.B)}
	blue.Remotes = append(blue.Remotes, datapath.Remote{MAC: s.F.MAC, Addrs: s.F.Addrs(), VTEP: s.Host4.Addr})
	st := datapath.State{Networks: []datapath.Network{red, blue}}
	st.Sort()
	return st
}

// port is where an endpoint of this host is in Red.
func (s *Site) port(e Endpoint) Place {
	switch e {
	case s.A:
		return RedA
	case s.B, s.gateway():
		return RedB
	case s.TAP:
		return RedTAP
	}
	panic(fmt.Sprintf("datapathtest: endpoint %s is not on this host", e.MAC))
}

// Network returns a State's network, for a case to change.
func Network(s *datapath.State, vni encap.VNI) *datapath.Network {
	for i := range s.Networks {
		if s.Networks[i].VNI == vni {
			return &s.Networks[i]
		}
	}
	panic(fmt.Sprintf("datapathtest: state has no network %d", vni))
}

// To is the tunnel packet with which this host sends a frame to another, as it
// comes out at the underlay.
func (s *Site) To(host Party, vni encap.VNI, inner []byte) Frame {
	return Frame{Underlay, VXLAN(s.Here, host, vni, inner)}
}

// From is the tunnel packet with which another host sends a frame to this one.
func (s *Site) From(host Party, vni encap.VNI, inner []byte) Frame {
	return Frame{Underlay, VXLAN(host, s.Here, vni, inner)}
}

// named is a frame with what to call it.
type named struct {
	name  string
	frame []byte
}

// passes is a case of one step, in which a frame comes out.
func passes(name string, in, out Frame) Case {
	return Case{Name: name, Steps: []Step{{In: []Frame{in}, Out: []Frame{out}}}}
}

// drops is a case of one step, in which a frame is dropped.
func drops(name string, in Frame, reason datapath.DropReason) Case {
	return Case{Name: name, Steps: []Step{{In: []Frame{in}, Drops: []datapath.DropReason{reason}}}}
}
