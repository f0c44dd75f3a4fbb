// Package contender sets up what is measured: ovl, and what its users would
// pick instead. Each contender is a file, or a few that begin with its name,
// and builds in a lab of its own; all of them build the real thing and answer
// one small interface.
//
// What a contender leaves outside of its lab's namespaces, should the
// benchmark be killed, is found by Leftovers (leftovers.go).
package contender

import (
	"context"
	"time"

	"github.com/ovlnet/ovl/bench/measure"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// Contender is one way to join endpoints on two hosts.
type Contender interface {
	// Name is one word; it is the contender's key in the JSON report.
	Name() string
	// Setup builds whatever makes two endpoints in lab reach each other, one
	// on each host, both ways, and returns when they do. The lab's hosts are
	// this contender's alone. An error says why it cannot run here.
	Setup(ctx context.Context, lab *linktest.Lab) (measure.Pair, error)
	// Teardown ends what Setup started outside of the lab's namespaces, also
	// after a Setup that failed half-way. The lab is closed by the caller, and
	// the contender is not set up again.
	Teardown(ctx context.Context) error
}

// Attacher is a Contender that puts endpoints on a network while it runs.
type Attacher interface {
	Contender
	// Attach adds an endpoint on the second host, by the means that its
	// users have, and returns as soon as these have returned; a packet may
	// not yet get through. The caller calls detach, also if Attach has
	// failed, unless that is nil.
	Attach(ctx context.Context, lab *linktest.Lab) (e measure.Endpoint, detach func(context.Context) error, err error)
}

// Footprint is a Contender that can tell what it costs its first host to have
// it, apart from what its packets cost.
type Footprint interface {
	Contender
	Usage(ctx context.Context) (Usage, error)
}

// Usage is what a Footprint tells.
type Usage struct {
	// Processes is the memory of its processes, and Tables that of its
	// tables in the kernel, in bytes.
	Processes, Tables uint64
	// CPU is the time that its processes have used so far.
	CPU time.Duration
}

// Grown is a Contender whose tables were filled with remote endpoints.
type Grown interface {
	Contender
	// Filled is how long it took until both hosts had them.
	Filled() time.Duration
	// Rest returns when nothing is left to do after a change.
	Rest(ctx context.Context) error
}

// Options say what to set up.
type Options struct {
	// Ovlctl is the path of the ovlctl to measure.
	Ovlctl string
	// Previous is the path of another ovlctl, to be measured beside it; empty
	// for none.
	Previous string
	// Wireguard is the path of wireguard-go.
	Wireguard string
}

// Baseline is the contender that ratios are taken against.
const Baseline = "vxlan"

// All returns every contender, in the order in which a round goes through
// them.
func All(o Options) []Contender {
	all := []Contender{
		underlay{},
		&limit{},
		&kernelVXLAN{},
		&external{},
		&swarm{},
		&wireguard{binary: o.Wireguard},
		&ovl{binary: o.Ovlctl, first: 1},
		&ovl{name: "ovl-userspace", binary: o.Ovlctl, datapath: "userspace", first: 3},
	}
	if o.Previous != "" {
		all = append(all, &ovl{name: "previous", binary: o.Previous, first: 5})
	}
	return all
}
