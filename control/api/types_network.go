package api

import (
	"net/netip"
	"time"

	"github.com/ovlnet/ovl/encap"
)

// NetworkRequest asks for a network.
type NetworkRequest struct {
	Name string
	// Subnets of the network; empty: the next free one of the address pool.
	// They are prefixes with no host bits set, and do not overlap.
	Subnets []netip.Prefix `json:",omitempty"`
	// IPv6 adds the next free subnet of the IPv6 address pool if Subnets has
	// none of IPv6.
	IPv6 bool `json:",omitempty"`
	// Gateways holds at most one address for each subnet; a subnet without
	// one has its first address as gateway.
	Gateways []netip.Addr `json:",omitempty"`
	// IPRanges holds at most one prefix inside each subnet, from which
	// addresses are handed out that nobody asked for by value.
	IPRanges []netip.Prefix `json:",omitempty"`
	// AuxAddresses are addresses by name that are never handed out.
	AuxAddresses map[string]netip.Addr `json:",omitempty"`
	// Internal networks have no way to the outside.
	Internal bool `json:",omitempty"`
	// Multicast networks carry broadcast and multicast to every endpoint.
	Multicast bool `json:",omitempty"`
	// MTU in bytes of the inner IP packet; 0: the underlay's less the tunnel
	// headers.
	MTU    int               `json:",omitempty"`
	Labels map[string]string `json:",omitempty"`
	// Force takes a subnet that overlaps one of this host's routes.
	Force bool `json:",omitempty"`
}

// NetworkSummary is a line of `ovlctl network ls`.
type NetworkSummary struct {
	Name    string
	ID      string
	VNI     uint32
	Subnets []netip.Prefix
	// MTU in bytes, inner IP packet.
	MTU       int
	Internal  bool
	Multicast bool
	// Endpoints counts those on every host.
	Endpoints int
	Created   time.Time
	Labels    map[string]string
}

// Scope and Driver of every network, as Network names them.
const (
	NetworkScope  = "global"
	NetworkDriver = "ovl"
)

// Keys of Network.Options.
const (
	// OptionVNI is decimal.
	OptionVNI = "vni"
	// OptionMTU is decimal, in bytes, inner IP packet.
	OptionMTU = "mtu"
	// OptionMulticast is "true" or not there.
	OptionMulticast = "multicast"
)

// Network is what `ovlctl network inspect` prints: the fields that users of
// `docker network inspect` know, under the same names.
type Network struct {
	Name       string
	ID         string `json:"Id"`
	Created    time.Time
	Scope      string
	Driver     string
	EnableIPv6 bool
	IPAM       IPAM
	Internal   bool
	// Containers are the network's endpoints on every host by endpoint ID.
	Containers map[string]Container
	// Services are those of the network by name.
	Services map[string]NetworkService
	// Options holds the VNI, the MTU, and whether multicast is carried.
	Options map[string]string
	Labels  map[string]string
	// Peers are the hosts that have an endpoint on the network, by
	// ascending name.
	Peers []NetworkPeer
}

// IPAM holds the addresses of a network.
type IPAM struct {
	Config []IPAMConfig
}

// IPAMConfig is one subnet of a network.
type IPAMConfig struct {
	Subnet             netip.Prefix
	Gateway            netip.Addr            `json:",omitzero"`
	IPRange            netip.Prefix          `json:",omitzero"`
	AuxiliaryAddresses map[string]netip.Addr `json:",omitempty"`
}

// Container is an endpoint as Network lists it.
type Container struct {
	Name       string
	EndpointID string
	MacAddress encap.MAC
	// IPv4Address and IPv6Address are the endpoint's first of each family
	// with the subnet's prefix length; empty if it has none.
	IPv4Address netip.Prefix
	IPv6Address netip.Prefix
	// Node is the name of the host that the endpoint lives on.
	Node string
}

// NetworkPeer is a host that has the network.
type NetworkPeer struct {
	Name string
	// IP is the host's VTEP address.
	IP netip.Addr
}
