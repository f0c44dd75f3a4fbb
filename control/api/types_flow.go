package api

import "net/netip"

// MaxFlows is how many flows one answer has at most.
const MaxFlows = 100_000

// FlowsRequest asks for the flows to VIPs that clients on this host have.
type FlowsRequest struct {
	// Network is a reference to the network that they are of; empty: all.
	Network string `json:",omitempty"`
	// Service is a reference to the service that they go to; empty: all.
	Service string `json:",omitempty"`
	// Limit is how many are wanted at most; 0: MaxFlows.
	Limit int `json:",omitempty"`
}

// FlowList is what `ovlctl flows` prints.
type FlowList struct {
	// Total counts all that fit the request, also beyond its limit.
	Total int
	// Flows by network, service, client and VIP.
	Flows []Flow
}

// Flow is a connection, or what is like one, from an endpoint on this host to
// a VIP. Names are empty where the object is gone.
type Flow struct {
	Network string
	Service string
	// Protocol is ProtocolTCP or ProtocolUDP.
	Protocol string
	Client   netip.AddrPort
	// ClientName is that of the client's endpoint.
	ClientName string
	VIP        netip.AddrPort
	Backend    netip.AddrPort
	// BackendName is that of the backend's endpoint, BackendID its ID.
	BackendName string
	BackendID   string
	// SourcePort is the client's port as the backend sees it.
	SourcePort uint16
	// State is new, established or closing.
	State string
	// Idle is for how long there has been no packet, in whole seconds.
	Idle int64
	// Sent is what went to the backend, Received what came back.
	Sent     Traffic
	Received Traffic
}
