package datapath

import (
	"net/netip"
	"time"

	"github.com/ovlnet/ovl/encap"
)

// Flow is a connection, or what is like one, from an endpoint on this host to a
// VIP.
type Flow struct {
	VNI      encap.VNI
	Protocol uint8 // 6 is TCP, 17 UDP
	Client   netip.AddrPort
	VIP      netip.AddrPort
	// Backend is where it goes, and BackendID the endpoint there.
	Backend   netip.AddrPort
	BackendID string
	// SourcePort is the client's port as the backend sees it: another than the
	// client's own where that would be one flow with another of the client's.
	SourcePort uint16
	State      FlowState
	// Idle is for how long there has been no packet, to a second.
	Idle time.Duration
	// Sent is what went to the backend, Received what came back.
	Sent, Received Counter
}

// FlowState is how far a flow has come.
type FlowState uint8

// The states of a flow.
const (
	// FlowNew: nothing has come back yet.
	FlowNew FlowState = iota
	// FlowEstablished: both ends have spoken.
	FlowEstablished
	// FlowClosing: a TCP connection that an end has finished or reset.
	FlowClosing
)

func (s FlowState) String() string {
	return [...]string{"new", "established", "closing"}[s]
}

// How long a flow is remembered that has been quiet.
const (
	FlowTimeNewTCP         = 60 * time.Second
	FlowTimeEstablishedTCP = 2*time.Hour + 10*time.Minute
	FlowTimeClosing        = 60 * time.Second
	FlowTimeNewUDP         = 60 * time.Second
	FlowTimeEstablishedUDP = 180 * time.Second
)
