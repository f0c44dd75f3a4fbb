package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/ovlnet/ovl/bench/contender"
	"github.com/ovlnet/ovl/bench/measure"
	"github.com/ovlnet/ovl/bench/report"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// fickle is the underlay, until it cannot be set up any more.
type fickle struct {
	contender.Contender
	name    string
	setUps  int
	failsAt int
}

func (f *fickle) Name() string { return f.name }

func (f *fickle) Setup(ctx context.Context, lab *linktest.Lab) (measure.Pair, error) {
	f.setUps++
	if f.setUps == f.failsAt {
		return measure.Pair{}, errors.New("it is worn out")
	}
	return f.Contender.Setup(ctx, lab)
}

// Contenders are set up anew for each round, unless their stage stays. Who
// cannot be is left out from then on, and the figures say why.
func TestRoundsSetUpAnew(t *testing.T) {
	linktest.NeedRoot(t)
	const rounds = 3
	for name, c := range map[string]struct {
		stays            bool
		setUps           int
		looks            int
		worn, wornSetUps int
		failed, notRun   string
		seen             int
	}{
		"anew":               {false, 3, 3, 2, 2, "cannot be set up anew: it is worn out", "", 4},
		"anew, never set up": {false, 3, 3, 1, 1, "", "it is worn out", 3},
		"stays":              {true, 1, 3, 2, 1, "", "", 6},
	} {
		t.Run(name, func(t *testing.T) {
			underlay := named(contender.All(contender.Options{}), "underlay")
			base := &fickle{Contender: underlay, name: "base"}
			worn := &fickle{Contender: underlay, name: "worn", failsAt: c.worn}
			var looks []string
			stage := Stage{
				Name: "pair", MTU: 1500, Stays: c.stays, Baseline: "base",
				Contenders: func() []contender.Contender { return []contender.Contender{base, worn} },
				Scenarios:  []Scenario{counting(1, 0, &looks)},
			}
			r := report.New(rounds, 0)
			var log strings.Builder
			if err := runStages(t.Context(), options{rounds: rounds}, []Stage{stage}, r, &log); err != nil {
				t.Fatal(err)
			}
			r.End()
			if base.setUps != c.setUps || worn.setUps != c.wornSetUps {
				t.Errorf("set up %d and %d times, want %d and %d", base.setUps, worn.setUps, c.setUps, c.wornSetUps)
			}
			f := r.Figures[0]
			if len(f.Values["base"]) != c.looks {
				t.Errorf("the baseline has %v", f.Values["base"])
			}
			if f.Failed["worn"] != c.failed || !strings.HasSuffix(r.NotRun["worn"], c.notRun) || (r.NotRun["worn"] == "") != (c.notRun == "") {
				t.Errorf("failed: %v, not run: %v", f.Failed, r.NotRun)
			}
			if seen := strings.Count(log.String(), "counting"); seen != c.seen {
				t.Errorf("%d looks, want %d:\n%s", seen, c.seen, &log)
			}
		})
	}
}
