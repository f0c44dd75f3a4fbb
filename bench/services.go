package main

import (
	"context"
	"slices"
	"time"

	"github.com/ovlnet/ovl/bench/contender"
	"github.com/ovlnet/ovl/bench/measure"
)

// serviceSizes are how many services the tables hold; the userspace datapath,
// whose look-ups are those of a Go map, has the last of them alone.
var serviceSizes = []int{1, 1_000, 10_000}

// serviceStage measures what goes through a VIP, beside what goes straight to
// its backend, as tables of services fill. A third host makes the services, and
// all labs are alike, whatever the size.
func serviceStage(o contender.Options) Stage {
	return Stage{
		Name:       "vip",
		MTU:        1500,
		Hosts:      3,
		Contenders: func() []contender.Contender { return contender.Balancing(o, serviceSizes) },
		Scenarios:  serviceScenarios,
	}
}

// serviceScenarios look at the same both ways, in turns.
var serviceScenarios = []Scenario{
	{
		Name: "vip-crr",
		Figures: []Figure{
			{Value: "vip", Name: "vip-crr", Title: "Through a VIP: connect, request and response, 16 at a time", Unit: "k/s"},
			{Value: "direct", Name: "vip-crr-direct", Title: "Straight to the backend: connect, request and response, 16 at a time", Unit: "k/s"},
		},
		Share:   0.5,
		Measure: bothWays("rate", measure.Connections),
	},
	{
		Name: "vip-tcp",
		Figures: []Figure{
			{Value: "vip", Name: "vip-tcp", Title: "Through a VIP: TCP, 1 stream", Unit: "Gbit/s"},
			{Value: "direct", Name: "vip-tcp-direct", Title: "Straight to the backend: TCP, 1 stream", Unit: "Gbit/s"},
		},
		Share:   0.5,
		Measure: bothWays("rate", measure.TCP(1)),
	},
	{
		Name:    "vip-change",
		Figures: []Figure{{Value: "time", Name: "vip-change", Title: "From a change of a backend until new connections go by it", Unit: "ms", LowerIsBetter: true}},
		Measure: measureChange,
	},
}

// bothWays looks at the value of that name straight and through the VIP, in every
// other round in the other order: what drifts meanwhile is in both.
func bothWays(value string, look measure.Func) func(context.Context, Subject, time.Duration) (measure.Values, error) {
	return func(ctx context.Context, s Subject, d time.Duration) (measure.Values, error) {
		c, ok := s.Contender.(contender.Balanced)
		if !ok {
			return nil, errNotApplicable
		}
		vip := s.Pair
		vip.VIP = c.VIP()
		ways := []struct {
			name string
			pair measure.Pair
		}{{"direct", s.Pair}, {"vip", vip}}
		if s.Round%2 == 1 {
			slices.Reverse(ways)
		}
		values := measure.Values{}
		for _, way := range ways {
			v, err := look(ctx, way.pair, d)
			if err != nil {
				return nil, err
			}
			values[way.name] = v[value]
		}
		return values, nil
	}
}

func measureChange(ctx context.Context, s Subject, _ time.Duration) (measure.Values, error) {
	c, ok := s.Contender.(contender.Drainer)
	if !ok {
		return nil, errNotApplicable
	}
	p := s.Pair
	p.VIP = c.VIP()
	return measure.Changes(ctx, p, c.Drain)
}
