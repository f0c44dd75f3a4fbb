package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// stand is a contender that is set up.
type stand struct {
	contender Contender
	tb        *labTB
	lab       *linktest.Lab
	pair      Pair
}

// teardownTime bounds the end of one contender, which Ctrl-C does not cut
// short.
const teardownTime = 20 * time.Second

// run measures and returns the report. Nothing of the contenders is left when
// it returns.
func run(ctx context.Context, o options, progress io.Writer) (r Report, err error) {
	r = newReport(o)
	var stands []*stand
	defer func() {
		for _, s := range stands {
			err = errors.Join(err, s.tearDown(ctx))
		}
	}()
	for _, c := range contenders(o) {
		fmt.Fprintf(progress, "setting up %s\n", c.Name())
		s, err := setUp(ctx, c, progress)
		stands = append(stands, s)
		if ctx.Err() != nil {
			return r, ctx.Err()
		}
		if err != nil {
			fmt.Fprintf(progress, "%s is not run: %v\n", c.Name(), err)
			r.NotRun[c.Name()] = err.Error()
			continue
		}
		r.Contenders = append(r.Contenders, c.Name())
	}
	for round := range o.rounds {
		for i := range r.Scenarios {
			if err := r.Scenarios[i].measure(ctx, o, running(stands), func(contender string, v float64) {
				fmt.Fprintf(progress, "round %d/%d  %-15s %-10s %8.1f %s\n",
					round+1, o.rounds, r.Scenarios[i].Name, contender, v, r.Scenarios[i].Unit)
			}); err != nil {
				return r, err
			}
		}
	}
	r.summarize()
	return r, nil
}

// setUp builds a contender. The stand is to be torn down also if that fails.
func setUp(ctx context.Context, c Contender, log io.Writer) (*stand, error) {
	s := &stand{contender: c, tb: &labTB{name: c.Name(), log: log}}
	lab, err := newLab(s.tb)
	if err != nil {
		return s, err
	}
	err = guard(func() error {
		s.pair, err = c.Setup(ctx, lab)
		return err
	})
	if err != nil {
		return s, err
	}
	if err := waitReachable(ctx, s.pair); err != nil {
		return s, err
	}
	s.lab = lab // it takes part from now on
	return s, nil
}

func (s *stand) tearDown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), teardownTime)
	defer cancel()
	err := s.contender.Teardown(ctx)
	s.tb.close()
	if err != nil {
		return fmt.Errorf("tear down %s: %w", s.contender.Name(), err)
	}
	return nil
}

// running returns the stands that were set up.
func running(all []*stand) []*stand {
	var out []*stand
	for _, s := range all {
		if s.lab != nil {
			out = append(out, s)
		}
	}
	return out
}

// settle is how long a contender has to follow a change of the underlay's
// features, before any of them is measured.
const settle = 2 * time.Second

// measure takes one figure of each contender: a round's part.
func (r *ScenarioReport) measure(ctx context.Context, o options, stands []*stand, tell func(string, float64)) error {
	for _, s := range stands {
		if err := s.lab.SetSegmentationOffload(ctx, !r.scenario.NoOffload); err != nil {
			return err
		}
	}
	if err := sleep(ctx, settle); err != nil {
		return err
	}
	for _, s := range stands {
		name := s.contender.Name()
		v, err := r.scenario.Measure(ctx, s.pair, r.scenario.duration(o.duration))
		if err := errors.Join(ctx.Err(), err); err != nil {
			return fmt.Errorf("%s of %s: %w", r.Name, name, err)
		}
		r.Values[name] = append(r.Values[name], v)
		tell(name, v)
	}
	return nil
}
