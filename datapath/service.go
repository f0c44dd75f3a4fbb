package datapath

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/ovlnet/ovl/encap"
)

// ServiceMAC is what endpoints have for the MAC of every VIP: the one that ARP
// and neighbour discovery answer with. No endpoint may have it.
var ServiceMAC = encap.MAC{0x0a, 'o', 'v', 'l', 0, 1}

// Service is a name in front of backends: what an endpoint of the network sends
// to one of its VIPs goes to one of them (package balance), and comes back from
// the VIP. The client's host does both, so that the backend sees the client's own
// address, and other hosts need not know of it. Flows of a service that is gone are
// cut: TCP clients get a reset, UDP is dropped.
type Service struct {
	// Name is unique in the network.
	Name string
	// VIPs are its addresses, at most one of each family, IPv4 first. No
	// endpoint has them.
	VIPs []netip.Addr
	// Ports are what it offers, by ascending protocol and port; none: every
	// port of TCP and UDP, each led to the same port of the backend.
	Ports []ServicePort
	// Affinity is for how long a client that has been quiet goes to the same
	// backend again, whatever its ports; 0: flows are balanced one by one.
	Affinity time.Duration
	// TableSize is one of balance.Sizes.
	TableSize int
	// Backends by ascending ID.
	Backends []Backend
}

// ServicePort is a port of a service's VIPs, and which port of the backends it
// leads to.
type ServicePort struct {
	Protocol uint8 // 6 is TCP, 17 UDP
	Port     uint16
	Target   uint16
}

// Backend is an endpoint that a service leads to: at once, or, with Draining, as
// long as there are flows that began before. Flows to one that is on the list no
// more are cut: TCP clients get a reset, UDP goes to another.
type Backend struct {
	// ID is the endpoint's. No other ever has the same, also not with the same
	// addresses.
	ID  string
	MAC encap.MAC
	// Addrs are the endpoint's, at most one of each family, IPv4 first. One
	// without a client's family gets nothing from it.
	Addrs []netip.Addr
	// Weight is its share, 1 to 65535.
	Weight   uint16
	Draining bool
}

func (s Service) sort() {
	slices.SortFunc(s.VIPs, netip.Addr.Compare)
	slices.SortFunc(s.Ports, func(a, b ServicePort) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
	})
	slices.SortFunc(s.Backends, func(a, b Backend) int { return cmp.Compare(a.ID, b.ID) })
	for _, b := range s.Backends {
		slices.SortFunc(b.Addrs, netip.Addr.Compare)
	}
}

func (s Service) equal(o Service) bool {
	return s.Name == o.Name && equalValues(s.VIPs, o.VIPs) && equalValues(s.Ports, o.Ports) &&
		s.Affinity == o.Affinity && s.TableSize == o.TableSize && equalLists(s.Backends, o.Backends, Backend.equal)
}

func (b Backend) equal(o Backend) bool {
	return b.ID == o.ID && b.MAC == o.MAC && equalValues(b.Addrs, o.Addrs) && b.Weight == o.Weight && b.Draining == o.Draining
}
