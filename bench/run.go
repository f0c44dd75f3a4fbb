package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/ovlnet/ovl/bench/measure"
	"github.com/ovlnet/ovl/bench/report"
)

// run measures and returns the report. Nothing of the contenders is left when
// it returns. With an error the report has what was measured until then.
func run(ctx context.Context, o options, log io.Writer) (*report.Report, error) {
	r := report.New(o.rounds, o.duration)
	defer r.End()
	release, err := keepAwake()
	if err != nil {
		return r, err
	}
	defer release()
	return r, runStages(ctx, o, stages(o), r, log)
}

// runStages goes round by round through the stages that are set up anew each
// time, and then through those that stay.
func runStages(ctx context.Context, o options, all []Stage, r *report.Report, log io.Writer) error {
	p := newProgress(log, all, o.rounds)
	var anew, staying []*course
	for _, stage := range all {
		c := newCourse(stage, o, r, p)
		if stage.Stays {
			staying = append(staying, c)
		} else {
			anew = append(anew, c)
		}
	}
	for round := range o.rounds {
		for _, c := range anew {
			if err := c.run(ctx, round, round+1); err != nil {
				return err
			}
		}
	}
	for _, c := range staying {
		if err := c.run(ctx, 0, o.rounds); err != nil {
			return err
		}
	}
	return nil
}

// course is a stage while it is run.
type course struct {
	Stage
	options  options
	report   *report.Report
	progress *progress
	looks    []*look
	// gone are the contenders that could not be set up.
	gone map[string]bool
}

func newCourse(stage Stage, o options, r *report.Report, p *progress) *course {
	c := &course{Stage: stage, options: o, report: r, progress: p, gone: map[string]bool{}}
	for _, s := range stage.Scenarios {
		l := newLook(s, stage.Baseline)
		c.looks = append(c.looks, l)
		r.Figures = append(r.Figures, l.figures...)
	}
	return c
}

// run sets the stage's contenders up, measures the rounds from first to before
// end, and takes them down again.
func (c *course) run(ctx context.Context, first, end int) (err error) {
	var stands []*stand
	defer func() {
		for _, s := range stands {
			err = errors.Join(err, s.tearDown(ctx))
		}
	}()
	if first == 0 {
		c.progress.tell("%s: setting up", c.Name)
	}
	for _, one := range c.Contenders() {
		if c.gone[one.Name()] {
			continue
		}
		s := &stand{Subject: Subject{Contender: one}, tb: &labTB{name: one.Name(), log: c.progress.w}}
		stands = append(stands, s)
		err := s.setUp(ctx, c.Stage)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			c.lose(one.Name(), first, err)
		}
	}
	for round := first; round < end; round++ {
		if err := c.round(ctx, stands, round); err != nil {
			return err
		}
	}
	return nil
}

// round looks at what stands by all scenarios.
func (c *course) round(ctx context.Context, stands []*stand, round int) error {
	for _, s := range stands {
		s.Round = round
	}
	for _, l := range c.looks {
		rounds := l.scenario.rounds(c.options.rounds)
		if round >= rounds {
			continue
		}
		err := l.measure(ctx, c.options, stands, func(s *stand, turn int, result string, err error) {
			c.progress.look("%s %d/%d  %-15s %-10s %s",
				c.Name, round+1, c.options.rounds, l.scenario.Name, s.Contender.Name(), result)
			if err != nil {
				c.progress.skip((rounds-round)*l.scenario.turns() - turn - 1)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// lose takes a contender that cannot be set up out of the stage. If it could
// be until now, its figures say why they are none.
func (c *course) lose(name string, round int, err error) {
	c.progress.tell("%s is not run: %v", name, err)
	c.gone[name] = true
	if round == 0 {
		c.report.NotRun[name] = err.Error()
	}
	for _, l := range c.looks {
		if l.left[name] {
			continue
		}
		if left := l.scenario.rounds(c.options.rounds) - round; left > 0 {
			c.progress.skip(left * l.scenario.turns())
			if round > 0 {
				l.fail(name, fmt.Errorf("cannot be set up anew: %w", err))
			}
		}
	}
}

// stand is a contender with its lab.
type stand struct {
	Subject
	tb *labTB
	// ready is set once the pair reaches each other; noOffload is how the
	// underlay is set at present.
	ready, noOffload bool
}

// teardownTime bounds the end of one contender, which Ctrl-C does not cut
// short.
const teardownTime = 30 * time.Second

// setUp builds the contender in a lab. The stand is to be torn down also if
// that fails.
func (s *stand) setUp(ctx context.Context, stage Stage) error {
	lab, err := newLab(s.tb, stage.Hosts, stage.MTU)
	if err != nil {
		return err
	}
	s.Lab = lab
	err = guard(func() error {
		s.Pair, err = s.Contender.Setup(ctx, lab)
		return err
	})
	if err != nil {
		return err
	}
	if err := measure.WaitReachable(ctx, s.Pair); err != nil {
		return err
	}
	s.ready = true
	return nil
}

func (s *stand) tearDown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), teardownTime)
	defer cancel()
	err := s.Contender.Teardown(ctx)
	s.tb.close()
	if err != nil {
		return fmt.Errorf("tear down %s: %w", s.Contender.Name(), err)
	}
	return nil
}

// look is a scenario with the figures that it fills.
type look struct {
	scenario Scenario
	figures  []*report.Figure
	baseline string
	// left are the contenders that are looked at no more.
	left map[string]bool
}

func newLook(s Scenario, baseline string) *look {
	l := &look{scenario: s, baseline: baseline, left: map[string]bool{}}
	for _, f := range s.Figures {
		l.figures = append(l.figures, &report.Figure{
			Name: f.Name, Title: f.Title, Unit: f.Unit, LowerIsBetter: f.LowerIsBetter, Baseline: baseline,
		})
	}
	return l
}

// settle is how long a contender has to follow a change of the underlay's
// features, before any of them is measured.
const settle = 2 * time.Second

// measure is a round's part: it looks at the contenders in turns, tells what it
// sees, and adds what the turns come to. A contender that cannot be measured
// leaves the scenario for good; the others go on.
func (l *look) measure(ctx context.Context, o options, stands []*stand, tell func(s *stand, turn int, result string, err error)) error {
	if err := l.offload(ctx, stands); err != nil {
		return err
	}
	order, seen := slices.Clone(stands), make(map[*stand][]measure.Values)
	for turn := range l.scenario.turns() {
		for _, s := range order {
			if l.left[s.Contender.Name()] || !s.ready {
				continue
			}
			values, result, err := l.look(ctx, o, s)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				delete(seen, s)
				tell(s, turn, l.leave(s, err), err)
				continue
			}
			seen[s] = append(seen[s], values)
			tell(s, turn, result, nil)
		}
		slices.Reverse(order)
	}
	for _, s := range stands {
		if turns := seen[s]; turns != nil {
			l.add(s, turns)
		}
	}
	return nil
}

// offload sets the underlay of all as the scenario has it.
func (l *look) offload(ctx context.Context, stands []*stand) error {
	changed := false
	for _, s := range stands {
		if !s.ready || s.noOffload == l.scenario.NoOffload {
			continue
		}
		if err := s.Lab.SetSegmentationOffload(ctx, !l.scenario.NoOffload); err != nil {
			return err
		}
		s.noOffload = l.scenario.NoOffload
		changed = true
	}
	if changed {
		return measure.Sleep(ctx, settle)
	}
	return nil
}

// leave takes a contender out of the scenario and returns what to tell of it. One
// that has nothing to look at has not failed.
func (l *look) leave(s *stand, err error) string {
	l.left[s.Contender.Name()] = true
	if errors.Is(err, errNotApplicable) {
		return "-"
	}
	l.fail(s.Contender.Name(), err)
	return err.Error()
}

func (l *look) fail(contender string, err error) {
	for _, f := range l.figures {
		f.Fail(contender, err.Error())
	}
}

// add adds what the turns of a round come to.
func (l *look) add(s *stand, turns []measure.Values) {
	for i, f := range l.scenario.Figures {
		values := make([]float64, 0, len(turns))
		for _, t := range turns {
			values = append(values, t[f.Value])
		}
		l.figures[i].Add(s.Contender.Name(), report.Median(values))
	}
}

// looksDisturbed is how often a look is tried that other work disturbs.
const looksDisturbed = 5

// look takes one look at a contender, again while other work disturbs it. The
// first figure's value comes as text, too.
func (l *look) look(ctx context.Context, o options, s *stand) (values measure.Values, result string, err error) {
	for range looksDisturbed {
		values, err = l.scenario.Measure(ctx, s.Subject, l.scenario.duration(o.duration))
		if !errors.Is(err, measure.ErrDisturbed) {
			break
		}
	}
	if err != nil {
		return nil, "", err
	}
	for i, f := range l.scenario.Figures {
		v, ok := values[f.Value]
		if !ok {
			return nil, "", fmt.Errorf("scenario %s yields no %s", l.scenario.Name, f.Value)
		}
		if i == 0 {
			result = fmt.Sprintf("%8.1f %s", v, f.Unit)
		}
	}
	return values, result, nil
}
