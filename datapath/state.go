package datapath

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/ovlnet/ovl/encap"
)

// State is everything that a datapath makes true on its host: complete, never
// changed after it was handed over. Build it in any order, then Sort it.
type State struct {
	// Networks that have a port on this host, by ascending VNI.
	Networks []Network
	// Peers are hosts whose underlay takes less than this host's, by ascending
	// VTEP.
	Peers []Peer
}

// Peer is what a datapath has to know of another host.
type Peer struct {
	VTEP netip.Addr
	// MTU is the largest packet of the underlay, in bytes, that reaches it.
	MTU int
}

// Network is one overlay segment as this host sees it.
type Network struct {
	VNI encap.VNI
	// MTU is the largest inner IP packet in bytes, without Ethernet header.
	MTU int
	// Multicast says that broadcast and multicast frames, but ARP and ND,
	// reach every endpoint of the network. Otherwise they are dropped.
	Multicast bool
	// Gateways are the network's own addresses, by ascending address. The
	// first of each family is where ICMP errors of the network come from.
	Gateways []netip.Addr
	// Ports are the endpoints on this host, by ascending Device.
	Ports []Port
	// Remotes are the endpoints on other hosts, by ascending MAC. The hosts
	// named by them are those that have this network.
	Remotes []Remote
	// Services by ascending name.
	Services []Service
}

// PortKind says what kind of interface a port is.
type PortKind uint8

const (
	// Veth is a port whose Device is the host's end of a veth pair; the
	// other end is in another network namespace.
	Veth PortKind = iota
	// TAP is a port whose Device is a TAP interface of a virtual machine or
	// another userspace program.
	TAP
)

// Port is an endpoint on this host: an interface whose packets belong to one
// network.
type Port struct {
	// Device is the name of the interface on the host's side.
	Device string
	Kind   PortKind
	// MAC and Addrs are the only ones that the endpoint may send from.
	MAC   encap.MAC
	Addrs []netip.Addr
	// Gateway: it is no endpoint but the network itself on this host, with
	// GatewayMAC and Addrs out of Network.Gateways. It exchanges frames with
	// ports of this host alone, and gets no multicast. A network has at most one.
	Gateway bool
}

// GatewayMAC is that of every network's gateway on every host. No endpoint may
// have it, and no frame to or from it crosses the underlay.
var GatewayMAC = encap.MAC{0x0a, 'o', 'v', 'l', 0, 2}

// Remote is an endpoint on another host.
type Remote struct {
	MAC   encap.MAC
	Addrs []netip.Addr
	// VTEP is the underlay address of the endpoint's host.
	VTEP netip.Addr
}

// Sort brings s into the order that its fields promise.
func (s State) Sort() {
	slices.SortFunc(s.Networks, func(a, b Network) int { return cmp.Compare(a.VNI, b.VNI) })
	slices.SortFunc(s.Peers, func(a, b Peer) int { return a.VTEP.Compare(b.VTEP) })
	for _, n := range s.Networks {
		slices.SortFunc(n.Gateways, netip.Addr.Compare)
		slices.SortFunc(n.Ports, func(a, b Port) int { return cmp.Compare(a.Device, b.Device) })
		slices.SortFunc(n.Remotes, func(a, b Remote) int { return slices.Compare(a.MAC[:], b.MAC[:]) })
		for _, p := range n.Ports {
			slices.SortFunc(p.Addrs, netip.Addr.Compare)
		}
		for _, r := range n.Remotes {
			slices.SortFunc(r.Addrs, netip.Addr.Compare)
		}
		slices.SortFunc(n.Services, func(a, b Service) int { return cmp.Compare(a.Name, b.Name) })
		for _, v := range n.Services {
			v.sort()
		}
	}
}

// Equal reports whether two sorted states want the same host.
func (s State) Equal(o State) bool {
	return equalLists(s.Networks, o.Networks, Network.equal) && equalValues(s.Peers, o.Peers)
}

func (n Network) equal(o Network) bool {
	return n.VNI == o.VNI && n.MTU == o.MTU && n.Multicast == o.Multicast && equalValues(n.Gateways, o.Gateways) &&
		equalLists(n.Ports, o.Ports, Port.equal) && equalLists(n.Remotes, o.Remotes, Remote.equal) &&
		equalLists(n.Services, o.Services, Service.equal)
}

func (p Port) equal(o Port) bool {
	return p.Device == o.Device && p.Kind == o.Kind && p.MAC == o.MAC && p.Gateway == o.Gateway && equalValues(p.Addrs, o.Addrs)
}

func (r Remote) equal(o Remote) bool {
	return r.MAC == o.MAC && r.VTEP == o.VTEP && equalValues(r.Addrs, o.Addrs)
}
