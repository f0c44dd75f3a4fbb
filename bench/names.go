package main

import (
	"context"
	"time"

	"github.com/ovlnet/ovl/bench/contender"
	"github.com/ovlnet/ovl/bench/measure"
)

// namesAsked is how many names there are.
const namesAsked = 1_000

// nameStage measures who answers for names, on the host of who asks. A third host
// has the endpoints that are asked for.
func nameStage(o contender.Options) Stage {
	return Stage{
		Name:       "names",
		MTU:        1500,
		Hosts:      3,
		Contenders: func() []contender.Contender { return contender.Naming(o, namesAsked) },
		Baseline:   contender.NamesBaseline,
		Scenarios:  nameScenarios,
	}
}

var nameScenarios = []Scenario{
	{
		Name:    "names-rate",
		Figures: []Figure{{Value: "rate", Name: "names-rate", Title: "Queries for names answered, 64 at a time", Unit: "k/s"}},
		Share:   0.5,
		Measure: answering(measure.QueryRate),
	},
	{
		Name: "names-time",
		Figures: []Figure{
			{Value: "p99", Name: "names-p99", Title: "Answer to a query, at 20 000 a second, 99 %", Unit: "µs", LowerIsBetter: true},
			{Value: "p50", Name: "names-p50", Title: "Answer to a query, at 20 000 a second", Unit: "µs", LowerIsBetter: true},
			{Value: "other", Name: "names-other-p99", Title: "Answer to somebody else's query meanwhile, 99 %", Unit: "µs", LowerIsBetter: true},
			{Value: "cpu", Name: "names-cpu", Title: "CPU time of who answers, at 20 000 queries a second", Unit: "s/million", LowerIsBetter: true},
		},
		Measure: answering(measure.QueryTimes),
	},
}

// answering looks at who answers for names.
func answering(look func(context.Context, measure.Names, time.Duration) (measure.Values, error)) func(context.Context, Subject, time.Duration) (measure.Values, error) {
	return func(ctx context.Context, s Subject, d time.Duration) (measure.Values, error) {
		c, ok := s.Contender.(contender.Named)
		if !ok {
			return nil, errNotApplicable
		}
		return look(ctx, c.Names(), d)
	}
}
