package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ovlnet/ovl/bench/contender"
	"github.com/ovlnet/ovl/bench/measure"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// broken is a contender whose attach fails half-way.
type broken struct {
	contender.Contender
	detached bool
}

var errBroken = errors.New("it broke")

func (b *broken) Attach(context.Context, *linktest.Lab) (measure.Endpoint, func(context.Context) error, error) {
	return measure.Endpoint{}, func(ctx context.Context) error {
		b.detached = true
		return ctx.Err()
	}, errBroken
}

// What an attach leaves half-done is taken back, also when the run has been
// interrupted.
func TestAttachFailsHalfWay(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b := &broken{}
	_, err := measureAttach(ctx, Subject{Contender: b}, time.Second)
	if !errors.Is(err, errBroken) || errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	if !b.detached {
		t.Error("detach was not called")
	}
}

func TestNotApplicable(t *testing.T) {
	var plain struct{ contender.Contender }
	for _, s := range append([]Scenario{attachScenario}, growthScenarios...) {
		switch s.Name {
		case "attach", "growth-attach", "growth-cpu", "growth-fill", "growth-memory":
			if _, err := s.Measure(t.Context(), Subject{Contender: plain}, time.Second); !errors.Is(err, errNotApplicable) {
				t.Errorf("%s of a contender that has nothing to look at: %v", s.Name, err)
			}
		}
	}
}
