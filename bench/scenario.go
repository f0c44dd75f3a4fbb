package main

import (
	"context"
	"errors"
	"time"

	"github.com/ovlnet/ovl/bench/contender"
	"github.com/ovlnet/ovl/bench/measure"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// Scenario is one thing to look at, the same for every contender.
type Scenario struct {
	Name string
	// Figures are what a look yields. The first one is shown while the
	// benchmark runs.
	Figures []Figure
	// NoOffload measures over an underlay that cannot segment, as behind a
	// NIC without offloads: TSO, GSO and tunnel segmentation off, GRO on.
	NoOffload bool
	// Quick scenarios are part of the quick run too.
	Quick bool
	// Share is the part of the usual duration that is enough; 0 is all.
	Share float64
	// Measure looks for d. It returns errNotApplicable for a contender that
	// has nothing to look at.
	Measure func(ctx context.Context, s Subject, d time.Duration) (measure.Values, error)
}

// Figure is one value of a look: a row of the report.
type Figure struct {
	// Value is its name in what Measure returns.
	Value string
	// Name is the figure's key in the JSON report, Title its heading.
	Name          string
	Title         string
	Unit          string
	LowerIsBetter bool
}

// Subject is a contender that is set up.
type Subject struct {
	Contender contender.Contender
	Lab       *linktest.Lab
	Pair      measure.Pair
}

var errNotApplicable = errors.New("the contender has no such thing")

// between looks at what lies between the pair.
func between(look measure.Func) func(context.Context, Subject, time.Duration) (measure.Values, error) {
	return func(ctx context.Context, s Subject, d time.Duration) (measure.Values, error) {
		return look(ctx, s.Pair, d)
	}
}

// duration returns how long the scenario looks when the usual is d.
func (s Scenario) duration(d time.Duration) time.Duration {
	if s.Share == 0 {
		return d
	}
	return time.Duration(float64(d) * s.Share)
}

// pairScenarios are measured on an underlay with the usual MTU.
var pairScenarios = []Scenario{
	{
		Name:    "tcp",
		Figures: []Figure{{Value: "rate", Name: "tcp", Title: "TCP, 1 stream", Unit: "Gbit/s"}},
		Quick:   true,
		Measure: between(measure.TCP(1)),
	},
	{
		Name:      "tcp-no-offload",
		Figures:   []Figure{{Value: "rate", Name: "tcp-no-offload", Title: "TCP, 1 stream, underlay without segmentation offload", Unit: "Gbit/s"}},
		NoOffload: true,
		Quick:     true,
		Measure:   between(measure.TCP(1)),
	},
	{
		Name:    "udp-64",
		Figures: []Figure{{Value: "rate", Name: "udp-64", Title: "UDP, 64 bytes, packets received", Unit: "kpps"}},
		Quick:   true,
		Share:   0.5,
		Measure: between(measure.Packets(64)),
	},
	{
		Name:    "rtt",
		Figures: []Figure{{Value: "p50", Name: "rtt", Title: "Round trip, ICMP echo", Unit: "µs", LowerIsBetter: true}},
		Quick:   true,
		Share:   0.5,
		Measure: between(measure.EchoRoundTrip),
	},
	{
		Name:    "rtt-udp",
		Figures: []Figure{{Value: "p50", Name: "rtt-udp", Title: "Round trip, UDP between two programs", Unit: "µs", LowerIsBetter: true}},
		Share:   0.5,
		Measure: between(measure.UDPRoundTrip),
	},
}
