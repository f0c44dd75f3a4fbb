package main

import (
	"context"
	"errors"
	"time"

	"github.com/ovlnet/ovl/bench/contender"
	"github.com/ovlnet/ovl/bench/measure"
)

// attachScenario looks at how long it takes until an endpoint is of use: from
// before the contender is asked to attach it to its host until its first
// answer to an endpoint on the other one.
var attachScenario = Scenario{
	Name:    "attach",
	Figures: []Figure{{Value: "time", Name: "attach", Title: "From attach to the first packet through", Unit: "ms", LowerIsBetter: true}},
	Measure: measureAttach,
}

const (
	// attachLimit bounds the wait for the first answer.
	attachLimit = 10 * time.Second
	// detachLimit bounds the way back, which an interrupted run goes too.
	detachLimit = 30 * time.Second
)

func measureAttach(ctx context.Context, s Subject, _ time.Duration) (_ measure.Values, err error) {
	c, ok := s.Contender.(contender.Attacher)
	if !ok {
		return nil, errNotApplicable
	}
	start := time.Now()
	e, detach, err := c.Attach(ctx, s.Lab)
	if detach != nil {
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), detachLimit)
			defer cancel()
			err = errors.Join(err, detach(ctx))
		}()
	}
	if err != nil {
		return nil, err
	}
	if err := measure.FirstReply(ctx, measure.Pair{Client: s.Pair.Client, Server: e}, attachLimit); err != nil {
		return nil, err
	}
	return measure.Values{"time": float64(time.Since(start).Microseconds()) / 1e3}, nil
}
