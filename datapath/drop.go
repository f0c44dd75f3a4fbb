package datapath

import "fmt"

// DropReason says why a datapath dropped a packet. The numbers are shared
// with the BPF programs (bpf/drops.h) and the names are the same in bpftool,
// metrics, logs and ovlctl.
type DropReason uint32

// From an endpoint.
const (
	// DropSourceMAC: an endpoint sent with a MAC that is not its own.
	DropSourceMAC DropReason = iota + 1
	// DropSourceIP: an endpoint sent with an address that is not its own.
	DropSourceIP
	// DropSourceARP: the sender fields of an ARP or ND message are not the
	// endpoint's own.
	DropSourceARP
	// DropUnknownNeighbour: an ARP or ND request for an address that the
	// network does not have.
	DropUnknownNeighbour
	// DropUnknownDestination: the destination MAC is not in the forwarding
	// table. Unknown unicast is never flooded.
	DropUnknownDestination
	// DropMulticast: broadcast or multicast that the network does not carry,
	// or has nobody else to carry to; or a copy that it has no room for on
	// its list. ARP and ND to a group that nobody can answer never flood.
	DropMulticast
	// DropTooBig: the packet does not fit the path MTU and may not be
	// fragmented here.
	DropTooBig
	// DropNoRoute: the host has no route to the VTEP.
	DropNoRoute
	// DropEncap: the kernel could not add or remove the tunnel headers.
	DropEncap
	// DropRogueRouter: an endpoint, here or behind a VTEP, sent a router
	// advertisement or a redirect (RFC 6105): routers of a network are not its
	// endpoints' to name.
	DropRogueRouter
	// DropNoBackend: the service has no backend that takes new flows. The client
	// is told: a TCP reset, or ICMP "port unreachable".
	DropNoBackend
	// DropServicePort: the service does not offer this port or protocol. The
	// client is told in the same way, or with "protocol unreachable".
	DropServicePort
	// DropBackendGone: a TCP connection through a VIP whose backend is gone. The
	// client gets a reset.
	DropBackendGone
	// DropServiceFragment: a fragment to or from a VIP whose first, which has the
	// ports, was not seen.
	DropServiceFragment
)

// From the underlay.
const (
	// DropUnknownVTEP: the outer source is not a member that has the network.
	DropUnknownVTEP DropReason = iota + 32
	// DropUnknownVNI: no network with this VNI is present on this host.
	DropUnknownVNI
	// DropVXLANFlags: the I flag is clear or a reserved bit matters, RFC 7348
	// section 5.
	DropVXLANFlags
	// DropTruncated: the packet ends inside a header.
	DropTruncated
	// DropInnerSource: the inner source MAC or address does not belong to the
	// VTEP that sent it.
	DropInnerSource
	// DropInnerMalformed: an inner header contradicts the frame, or an ARP or ND
	// message its RFC. Endpoints' frames may be, too.
	DropInnerMalformed
	// DropNotLocal: the inner destination is not an endpoint on this host.
	DropNotLocal
	// DropECN: the underlay marked congestion on a packet whose ends do not
	// understand the mark, RFC 6040 section 4.2.
	DropECN
)

// Either way.
const (
	// DropQueue: a queue was full that bounds what the datapath holds: of an
	// endpoint's frames, of packets from the underlay or to it. Only the userspace
	// datapath has such queues of its own.
	DropQueue DropReason = iota + 64
)

var dropNames = map[DropReason]string{
	DropSourceMAC:          "source_mac",
	DropSourceIP:           "source_ip",
	DropSourceARP:          "source_arp",
	DropUnknownNeighbour:   "unknown_neighbour",
	DropUnknownDestination: "unknown_destination",
	DropMulticast:          "multicast",
	DropTooBig:             "too_big",
	DropNoRoute:            "no_route",
	DropEncap:              "encap",
	DropRogueRouter:        "rogue_router",
	DropNoBackend:          "no_backend",
	DropServicePort:        "service_port",
	DropBackendGone:        "backend_gone",
	DropServiceFragment:    "service_fragment",
	DropUnknownVTEP:        "unknown_vtep",
	DropUnknownVNI:         "unknown_vni",
	DropVXLANFlags:         "vxlan_flags",
	DropTruncated:          "truncated",
	DropInnerSource:        "inner_source",
	DropInnerMalformed:     "inner_malformed",
	DropNotLocal:           "not_local",
	DropECN:                "ecn",
	DropQueue:              "queue",
}

// String returns the name by which operators know the reason.
func (r DropReason) String() string {
	if s, ok := dropNames[r]; ok {
		return s
	}
	return fmt.Sprintf("reason_%d", uint32(r))
}

// MarshalText writes the name, so that a reason can be a JSON key.
func (r DropReason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// DropReasons returns every reason, in no particular order.
func DropReasons() []DropReason {
	out := make([]DropReason, 0, len(dropNames))
	for r := range dropNames {
		out = append(out, r)
	}
	return out
}
