package api

import (
	"net/netip"
	"time"

	"github.com/ovlnet/ovl/datapath"
)

// Status is this host as `ovlctl status` prints it.
type Status struct {
	Name     string
	ID       string
	Instance string `json:",omitempty"`
	Version  string
	// PID of the agent.
	PID int
	// Started is when this agent process came up; Uptime is the time since,
	// in whole seconds.
	Started time.Time
	Uptime  int64
	// Datapath is what moves the packets, and why that one.
	Datapath DatapathStatus
	// VTEP is this host's tunnel address: underlay address and UDP port.
	VTEP netip.AddrPort
	// Underlay is the device that holds the VTEP's address; UnderlayMTU is
	// the largest IP packet it takes, in bytes.
	Underlay    string
	UnderlayMTU int
	// JoinAddress is where other hosts reach this one's sync port: what they
	// give to --join.
	JoinAddress netip.AddrPort
	Cluster     ClusterStatus
	// Networks are those that have an endpoint on this host, by ascending
	// name.
	Networks []LocalNetwork
	// Attachments are the programs and hooks in place.
	Attachments []Attachment
	Counters    Counters
	// DNS is what became of queries for names; nil where none are answered.
	DNS *DNSStatus `json:",omitempty"`
	// Problems are lines for the operator: objects that the datapath could
	// not take, duplicate names, clocks that jump. Empty when all is well.
	Problems []string
}

// DatapathStatus says what moves packets on a host.
type DatapathStatus struct {
	Kind datapath.Kind
	// Reason is why this kind was chosen, for people.
	Reason string
}

// ClusterStatus is the cluster as this host sees it.
type ClusterStatus struct {
	// Size counts this host and every peer that has not left.
	Size int
	// Alive and Failed split Size; this host counts as alive.
	Alive  int
	Failed int
	// Converged: everything that live peers are known to have written has
	// arrived here, and the datapath carries it. Reason says what is
	// missing when it is false.
	Converged bool
	Reason    string `json:",omitempty"`
	// LastSync is when state was last compared with a peer; zero before.
	LastSync time.Time `json:",omitzero"`
	// RefusedRows counts rows about one node that another sent, which are
	// refused.
	RefusedRows uint64
}

// LocalNetwork is a network that is present on this host.
type LocalNetwork struct {
	Name string
	ID   string
	VNI  uint32
	// MTU in bytes, inner IP packet.
	MTU int
	// Local and Remote count the network's endpoints here and elsewhere.
	Local  int
	Remote int
	// Counters sum up the endpoints here, those included that are gone.
	Counters EndpointCounters
}

// Attachment is one program in place.
type Attachment struct {
	Program string
	Device  string
	Hook    string
}

// Counters are totals since the datapath was first brought up on this host;
// they survive a restart of the agent.
type Counters struct {
	// Sent and Received count what crossed the tunnel.
	Sent     Traffic
	Received Traffic
	// Drops holds every reason by its name, zero or not.
	Drops map[string]Traffic
	// Drift is how many datapath entries were found changed by someone else
	// and were repaired.
	Drift uint64
}

// EndpointCounters are totals of what an endpoint has sent and received, from
// its own view. Sent is what reached others, what was answered and what was
// dropped, together; but for what Copied counts beyond.
type EndpointCounters struct {
	Sent     Traffic
	Received Traffic
	// Answered is what of Sent its host has answered itself: ARP and neighbour
	// discovery.
	Answered Traffic
	// Dropped is what of Sent was dropped, packets that got an ICMP error
	// among it.
	Dropped Traffic
	// Copied is how many more than one became of broadcast and multicast.
	Copied Traffic
}

// Traffic counts packets and their bytes: inner Ethernet header included,
// tunnel headers not. What the kernel cuts into segments later counts as these
// segments.
type Traffic struct {
	Packets uint64
	Bytes   uint64
}

// PeerState is whether a peer takes part.
type PeerState string

// The states of a peer. A failed one keeps its place, endpoints and
// addresses; one that left has given them up.
const (
	PeerAlive  PeerState = "alive"
	PeerFailed PeerState = "failed"
	PeerLeft   PeerState = "left"
)

// Peer is another host as `ovlctl peers` prints it.
type Peer struct {
	Name  string
	ID    string
	VTEP  netip.AddrPort
	State PeerState
	// Since is when the peer entered State, by this host's clock.
	Since    time.Time
	Datapath datapath.Kind
	Version  string
	// MTU is the largest IP packet that the peer's underlay device takes, in
	// bytes; zero if the peer has not said. PathMTU is the largest that this
	// host last found to reach it; zero before anything was sent there.
	MTU     int
	PathMTU int
	// LastSync is when state was last compared with this peer; zero before.
	LastSync time.Time `json:",omitzero"`
	// Sent and Received are counted by this host's datapath.
	Sent     Traffic
	Received Traffic
}

// TokenRequest asks for a join token. It has no fields yet.
type TokenRequest struct{}

// Token admits a host to the cluster. Whoever has it can join.
type Token struct {
	Token string
	// JoinAddress is the address of this host to join at.
	JoinAddress netip.AddrPort
}

// LeaveRequest is `ovlctl down`.
type LeaveRequest struct {
	// Force asks to go on past a goodbye that nobody hears and past single
	// objects that cannot be removed. An agent that runs does so in any case
	// and reports it; without one, ovlctl itself goes by it.
	Force bool
}

// LeaveReport is what a leave had to pass over; empty when all went well.
type LeaveReport struct {
	Problems []string
}
