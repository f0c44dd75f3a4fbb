package main

import (
	"context"
	"net/netip"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// Contender is one way to join endpoints on two hosts.
type Contender interface {
	// Name is one word; it is the contender's key in the JSON report.
	Name() string
	// Setup builds whatever makes two endpoints in lab reach each other, one
	// on each host, both ways, and returns when they do. The lab's hosts are
	// this contender's alone.
	Setup(ctx context.Context, lab *linktest.Lab) (Pair, error)
	// Teardown ends what Setup started outside of the lab's namespaces, also
	// after a Setup that failed half-way. The lab is closed by the caller.
	Teardown(ctx context.Context) error
}

// Endpoint is where a measuring program runs.
type Endpoint struct {
	Namespace *linktest.Namespace
	Addr      netip.Addr
}

// Pair is the two ends of a measurement. The client sends, or asks.
type Pair struct {
	Client, Server Endpoint
}

// baseline is the contender that ratios are taken against.
const baseline = "vxlan"

// contenders returns every contender, in the order in which a round goes
// through them.
func contenders(o options) []Contender {
	return []Contender{
		underlay{},
		kernelVXLAN{},
		&ovl{binary: o.ovlctl},
	}
}
