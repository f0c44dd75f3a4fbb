package api

import (
	"net/netip"
	"time"

	"github.com/ovlnet/ovl/encap"
)

// AttachRequest asks for an endpoint on this host. Exactly one of NetNS, PID
// and TAP says where.
type AttachRequest struct {
	// Network is a reference to the network.
	Network string
	// NetNS is the name of a network namespace under /run/netns, or with a
	// slash in it, the absolute path of one.
	NetNS string `json:",omitempty"`
	// PID is a process whose network namespace is meant.
	PID int `json:",omitempty"`
	// TAP is an existing TAP interface of this host, for a virtual machine.
	TAP string `json:",omitempty"`
	// Name of the endpoint, unique in its network. Empty: the name of the
	// namespace if one was named, the name of the TAP interface, else "ep-"
	// and the first eight digits of the endpoint's ID.
	Name string `json:",omitempty"`
	// IfName is the interface inside the namespace; empty: eth0. It does not
	// go with TAP.
	IfName string `json:",omitempty"`
	// IPs are wanted addresses; for each of the network's address families
	// with none of them, one is handed out.
	IPs []netip.Addr `json:",omitempty"`
	// MAC that is wanted; zero: one derived from the endpoint's ID.
	MAC encap.MAC `json:",omitzero"`
	// Aliases are more names, in this network only.
	Aliases []string `json:",omitempty"`
	// Services are references to services of the network that the endpoint
	// becomes a backend of.
	Services []string          `json:",omitempty"`
	Labels   map[string]string `json:",omitempty"`
	// ResolvConf puts the network's name servers into /etc/resolv.conf of the process,
	// or with a NetNS that is a name, into /etc/netns/NAME/resolv.conf also if there is one;
	// without it only if there is none. The last detach brings back what was there.
	ResolvConf bool `json:",omitempty"`
	// EnteredInode is the inode number of the network namespace, from a
	// caller who may enter it where the agent may not (CodeCannotEnter), and
	// who configures the interface inside: see Backend.AttachFinish. 0 from
	// all others.
	EnteredInode uint64 `json:",omitempty"`
}

// FinishTime is how long an endpoint that its caller configures waits for
// AttachFinish.
const FinishTime = 10 * time.Second

// DetachRequest names an endpoint of this host to remove.
type DetachRequest struct {
	// Endpoint is a reference to it.
	Endpoint string
	// Network is a reference to its network, needed where the endpoint's
	// name exists on several.
	Network string `json:",omitempty"`
}

// EndpointKind says what an endpoint's interface is.
type EndpointKind string

// The kinds of endpoint.
const (
	EndpointVeth EndpointKind = "veth"
	EndpointTAP  EndpointKind = "tap"
)

// Endpoint is one interface on a network, as `ovlctl endpoint` prints it.
type Endpoint struct {
	Name      string
	ID        string
	Network   string
	NetworkID string
	// Node and NodeID say which host it lives on; NodeState is how that host
	// is. The endpoints of a failed host stay until it comes back or leaves.
	Node      string
	NodeID    string
	NodeState PeerState

	Kind EndpointKind
	// Interface is the name inside the namespace, or of the TAP interface.
	Interface string
	// Device is the host's side of it.
	Device string
	// NetNS and PID are where it was attached to, as asked for.
	NetNS string `json:",omitempty"`
	PID   int    `json:",omitempty"`

	MacAddress encap.MAC
	// Addresses with the prefix lengths of their subnets, IPv4 first.
	Addresses []netip.Prefix
	// Gateways of those subnets, in the same order of families.
	Gateways []netip.Addr
	// MTU in bytes of the inner IP packet.
	MTU     int
	Aliases []string
	Labels  map[string]string
	Created time.Time
	// ResolvConf is as asked for.
	ResolvConf bool `json:",omitempty"`
	// Counters are there in `endpoint inspect` on the endpoint's own host: no
	// other counts for it. A host that comes back counts on, an endpoint that
	// is attached again begins anew.
	Counters *EndpointCounters `json:",omitempty"`
}
