package main

import (
	"context"
	"time"

	"github.com/ovlnet/ovl/bench/contender"
	"github.com/ovlnet/ovl/bench/measure"
)

// growthSizes are how many remote endpoints the tables hold, beside those that
// are measured.
var growthSizes = []int{10, 1_000, 100_000}

// growthStage measures contenders beside themselves with fuller tables. A
// third host has the remotes, and all labs are alike, whatever the size.
func growthStage(o contender.Options) Stage {
	return Stage{
		Name:       "growth",
		MTU:        1500,
		Hosts:      3,
		Stays:      true,
		Contenders: func() []contender.Contender { return contender.Growing(o, growthSizes) },
		Scenarios:  growthScenarios,
	}
}

var growthScenarios = []Scenario{
	{
		Name:    "growth-fill",
		Figures: []Figure{{Value: "time", Name: "growth-fill", Title: "As tables grow: time to fill them on two hosts", Unit: "s", LowerIsBetter: true}},
		Once:    true,
		Measure: measureFill,
	},
	{
		Name:    "growth-tcp",
		Figures: []Figure{{Value: "rate", Name: "growth-tcp", Title: "As tables grow: TCP, 1 stream", Unit: "Gbit/s"}},
		Turns:   3,
		Measure: between(measure.TCP(1)),
	},
	{
		Name:    "growth-udp-64",
		Figures: []Figure{{Value: "rate", Name: "growth-udp-64", Title: "As tables grow: UDP, 64 bytes, packets received", Unit: "kpps"}},
		Share:   0.15,
		Turns:   4,
		Measure: between(measure.Packets(64)),
	},
	{
		Name:    "growth-rtt",
		Figures: []Figure{{Value: "p50", Name: "growth-rtt", Title: "As tables grow: round trip, ICMP echo", Unit: "µs", LowerIsBetter: true}},
		Share:   0.1,
		Turns:   5,
		Measure: between(measure.EchoRoundTrip),
	},
	{
		Name:    "growth-cpu",
		Figures: []Figure{{Value: "cpu", Name: "growth-cpu-agent", Title: "As tables grow: CPU time of an agent with nothing to do", Unit: "ms/s", LowerIsBetter: true}},
		Once:    true,
		Measure: measureIdle,
	},
	{
		Name: "growth-memory",
		Figures: []Figure{
			{Value: "processes", Name: "growth-memory-agent", Title: "As tables grow: memory of an agent", Unit: "MiB", LowerIsBetter: true},
			{Value: "tables", Name: "growth-memory-tables", Title: "As tables grow: memory of the tables in the kernel", Unit: "MiB", LowerIsBetter: true},
		},
		Measure: measureMemory,
	},
	{
		Name:    "growth-attach",
		Figures: []Figure{{Value: "time", Name: "growth-attach", Title: "As tables grow: from attach to the first packet through", Unit: "ms", LowerIsBetter: true}},
		Measure: measureGrownAttach,
	},
}

func measureFill(_ context.Context, s Subject, _ time.Duration) (measure.Values, error) {
	c, ok := s.Contender.(contender.Grown)
	if !ok {
		return nil, errNotApplicable
	}
	return measure.Values{"time": c.Filled().Seconds()}, nil
}

// idleTime is how long an agent is looked at: it repairs every 5 seconds what
// somebody else may have changed.
const idleTime = 5 * time.Second

func measureIdle(ctx context.Context, s Subject, _ time.Duration) (measure.Values, error) {
	c, ok := s.Contender.(contender.Footprint)
	if !ok {
		return nil, errNotApplicable
	}
	before, err := c.Usage(ctx)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	if err := measure.Sleep(ctx, idleTime); err != nil {
		return nil, err
	}
	after, err := c.Usage(ctx)
	if err != nil {
		return nil, err
	}
	return measure.Values{"cpu": float64((after.CPU - before.CPU).Milliseconds()) / time.Since(start).Seconds()}, nil
}

func measureMemory(ctx context.Context, s Subject, _ time.Duration) (measure.Values, error) {
	c, ok := s.Contender.(contender.Footprint)
	if !ok {
		return nil, errNotApplicable
	}
	usage, err := c.Usage(ctx)
	if err != nil {
		return nil, err
	}
	const mib = 1 << 20
	return measure.Values{"processes": float64(usage.Processes) / mib, "tables": float64(usage.Tables) / mib}, nil
}

// measureGrownAttach is measureAttach, and a rest: what a change leads to must
// not disturb what is measured next.
func measureGrownAttach(ctx context.Context, s Subject, d time.Duration) (measure.Values, error) {
	values, err := measureAttach(ctx, s, d)
	if c, ok := s.Contender.(contender.Grown); ok && err == nil {
		err = c.Rest(ctx)
	}
	return values, err
}
