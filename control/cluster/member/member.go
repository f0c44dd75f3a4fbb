// Package member answers who is in the cluster, and carries small messages to
// all of them. What flows through, in order:
//
//	gossip packets ─▶ implementation ─▶ queue ─▶ Events ─▶ the cluster package
//	Publish ────────▶ implementation ─▶ gossip packets
//
// Serf is the implementation for real hosts; clustertest has one that runs
// hundreds of members in a process. Both are unreliable in the same way, and
// what stands on them must not need more than this interface promises.
package member

import (
	"context"
	"errors"
	"net/netip"
)

// MaxPayload is the largest message in bytes that Publish takes. It is what
// one gossip packet holds beside the gossip's own headers, see serfConfig.
const MaxPayload = 1200

// MaxNameLen is the longest node name in bytes. It is a DNS label's length, and it
// keeps the tags of a member inside Serf's 512 bytes.
const MaxNameLen = 63

var (
	// ErrTooLarge is wrapped by Publish for a payload over MaxPayload.
	ErrTooLarge = errors.New("message is too large to gossip")
	// ErrClosed is wrapped by calls after Close or Leave.
	ErrClosed = errors.New("membership is closed")
)

// Membership is one host's part in a cluster. All methods may be called
// concurrently.
type Membership interface {
	// Join meets the members that gossip at addrs and, through them, everyone
	// they know. It returns how many of addrs answered, and an error only if
	// none did. Members met arrive as Joined events, before Join returns or
	// after.
	Join(ctx context.Context, addrs []netip.AddrPort) (int, error)

	// Publish sends payload to every member, best effort: it may be lost,
	// arrive twice, in another order, or back at the sender. It returns at
	// once, without knowing who heard it.
	Publish(payload []byte) error

	// Events returns the one channel of what happens. A slow reader never
	// blocks the gossip: messages are dropped when thousands wait, changes
	// of members are not. Each member that Members lists has been, or will
	// be, in a Joined event. The channel is closed by Close.
	Events() <-chan Event

	// Members returns everyone known, this host included, in no particular
	// order: alive, failed, and those who left a while ago. A failed
	// member is never forgotten by a timer.
	Members() []Member

	// Leave tells the others that this host is gone for good, so that it is
	// Left and not Failed. It is not for a restart: a host that only
	// restarts calls Close. When ctx is over, whoever has not heard of it
	// will see a failure instead.
	Leave(ctx context.Context) error

	// Close stops at once without a word; the others will see a failure if
	// it lasts. It returns when every goroutine has ended, and may be
	// called twice and after Leave.
	Close() error
}

// Local is what a host says of itself to the other members.
type Local struct {
	// ID is unique in the cluster, and the same after a restart.
	ID string
	// Name is for people. Two members may have one name, see cluster.Conflict.
	Name string
	// Addr is the host's underlay address: it gossips, syncs and takes VXLAN
	// there.
	Addr netip.Addr
	// GossipPort is UDP and TCP; zero picks a free one.
	GossipPort uint16
	// SyncPort is TCP.
	SyncPort uint16
	// Incarnation grows with every start of the host's agent.
	Incarnation uint64
	// Protocol is the version of what members say to each other. Members with
	// another one are refused.
	Protocol int
}

// Member is a host as the gossip knows it.
type Member struct {
	Local
	Status Status
}

// Gossip is where the member takes gossip.
func (m Member) Gossip() netip.AddrPort { return netip.AddrPortFrom(m.Addr, m.GossipPort) }

// Sync is where the member takes sync requests.
func (m Member) Sync() netip.AddrPort { return netip.AddrPortFrom(m.Addr, m.SyncPort) }

// Status is what the gossip says of a member.
type Status string

// The states of a member.
const (
	Alive  Status = "alive"
	Failed Status = "failed"
	Left   Status = "left"
)

// Kind tells events apart.
type Kind int

const (
	// Joined says that Member is alive: new, or back from Failed or Left.
	Joined Kind = iota + 1
	// Updated says that Member tells something else of itself; a higher
	// Incarnation means that its agent was restarted faster than anyone
	// noticed.
	Updated
	// Gone says that Member failed or left, as its Status says.
	Gone
	// Message says that Payload was published by some member.
	Message
	// Clash says that Member claims the ID of another host that is, or was a
	// moment ago, alive at Other. It is true of a cloned disk, and for a few
	// seconds also of a host that restarts with a new address.
	Clash
)

// Event is one thing that happened.
type Event struct {
	Kind    Kind
	Member  Member
	Other   netip.AddrPort // where the ID's other claimant syncs; only for Clash
	Payload []byte         // only for Message
}
