// Package datapath is the contract between the control plane and what moves
// packets on a host. The control plane hands down one complete State; only
// statistics and errors come back up. The kernel (eBPF) and the userspace
// (TAP) implementation are told apart by nothing in this package.
package datapath

import "context"

// Datapath moves the packets of the networks present on this host.
//
// Apply may not be called concurrently with itself; Stats may be called at
// any time until Close.
type Datapath interface {
	// Apply makes the host carry exactly s. It is idempotent: at first, after a
	// failure, and when the State is that of the last call, the difference is
	// taken against what the host really holds, so that whatever has drifted is
	// repaired; else it may be taken against the last State, so that a change
	// costs what has changed. It adds before it deletes and goes on past single
	// failures; the error then joins one *ObjectError for each object that could
	// not be brought to the wanted state.
	Apply(ctx context.Context, s State) error

	// Stats returns counters since the datapath was first brought up on this
	// host; they survive a restart of the agent.
	Stats(ctx context.Context) (Stats, error)

	// Flows returns the flows to VIPs that endpoints on this host have, in no
	// order, without those to a backend that is gone. They survive a restart of
	// the agent, and its crash, and end with the endpoint (State.Clients).
	Flows(ctx context.Context) ([]Flow, error)

	// Close releases what the process holds. The host goes on forwarding: a
	// datapath opened later takes it over. Close may be called twice.
	Close() error
}

// Kind names an implementation, as `ovlctl status` prints it.
type Kind string

// The two implementations.
const (
	Kernel    Kind = "kernel"
	Userspace Kind = "userspace"
)
