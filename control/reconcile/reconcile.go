// Package reconcile brings the host to what the replicated tables say.
//
// A snapshot of the store is decoded (Reader, Tables), made into the one State
// of this host (Build, pure), and handed to the datapath (Reconciler), which
// coalesces changes: however many came while it was applying, the next pass
// takes the newest snapshot.
//
//	store ── change ──▶ Reconciler ──▶ Read ──▶ Build ──▶ Datapath.Apply
//	                        ▲                                  │
//	                        └── again after a failure, and ◀───┘
//	                            every Options.Repair anyhow
package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/datapath"
)

// Options are what a Reconciler works with. The first four are needed.
type Options struct {
	Datapath datapath.Datapath
	// Tables returns the newest snapshot, the same pointer while it is the
	// same; it is called from one goroutine.
	Tables func() *Tables
	// Changes has a value whenever Tables may return something newer.
	Changes <-chan struct{}
	Local   Local
	// Gateways returns those that this host has now, the same pointer while they
	// are the same; nil is none. It is called from the same goroutine.
	Gateways func() *Gateways
	// Repair is how long a State that was applied is trusted before it is
	// applied again to repair drift; 5 s by default.
	Repair time.Duration
	// RetryMin and RetryMax bound the wait after a failure, which doubles;
	// 100 ms and 5 s by default.
	RetryMin, RetryMax time.Duration
	// Logger is slog.Default by default.
	Logger *slog.Logger
}

// Reconciler applies the newest State, again and again. Run it in one
// goroutine; the other methods may be called from any.
type Reconciler struct {
	opts Options
	// again has a value after Again.
	again chan struct{}

	// What the last pass built, and of which tables and gateways: a repair applies it
	// again. Only pass looks at them.
	builder  Builder
	tables   *Tables
	gateways *Gateways
	state    datapath.State
	alarms   []Alarm

	mu     sync.Mutex
	status Status
	// passed is closed and replaced at the end of every pass.
	passed chan struct{}
}

// Status is the outcome of the last pass.
type Status struct {
	// Version is that of the newest snapshot that a pass has ended for, and
	// At when it ended; zero before the first.
	Version uint64
	At      time.Time
	// State is what was applied.
	State datapath.State
	// Err is why the pass failed as a whole, nil if it did not.
	Err error
	// Objects are the objects that could not be brought to the wanted state,
	// by their names in datapath.ObjectError.
	Objects map[string]error
	// Alarms are what the tables hold and the State had to leave out.
	Alarms []Alarm
}

// Converged reports whether the last pass did all it should.
func (s Status) Converged() bool { return s.Version > 0 && s.Err == nil && len(s.Objects) == 0 }

// Carries reports whether the State of the last pass has this endpoint of the
// host as a port.
func (s Status) Carries(e store.Endpoint) bool {
	for _, n := range s.State.Networks {
		for _, p := range n.Ports {
			if p.Device == e.Device && p.MAC == e.MAC {
				return true
			}
		}
	}
	return false
}

// New returns a Reconciler that does nothing until Run.
func New(opts Options) *Reconciler {
	if opts.Repair <= 0 {
		opts.Repair = 5 * time.Second
	}
	if opts.RetryMin <= 0 {
		opts.RetryMin = 100 * time.Millisecond
	}
	if opts.RetryMax <= 0 {
		opts.RetryMax = 5 * time.Second
	}
	if opts.Gateways == nil {
		opts.Gateways = func() *Gateways { return nil }
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	return &Reconciler{opts: opts, again: make(chan struct{}, 1), passed: make(chan struct{})}
}

// Run applies the newest State at once, on every change, after every failure
// with a growing wait, and every Options.Repair. It returns when ctx ends.
func (r *Reconciler) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	retry := r.opts.RetryMin
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.opts.Changes:
		case <-r.again:
		case <-timer.C:
		}
		wait := r.opts.Repair
		if ok := r.pass(ctx); ok {
			retry = r.opts.RetryMin
		} else {
			wait = min(retry, r.opts.Repair)
			retry = min(2*retry, r.opts.RetryMax)
		}
		timer.Reset(wait)
	}
}

// Again brings about a pass, for what changes Tables without Options.Changes.
func (r *Reconciler) Again() {
	select {
	case r.again <- struct{}{}:
	default:
	}
}

// pass applies the newest State and reports whether all of it was.
func (r *Reconciler) pass(ctx context.Context) bool {
	if t, g := r.opts.Tables(), r.opts.Gateways(); t != r.tables || g != r.gateways {
		r.tables, r.gateways = t, g
		r.state, r.alarms = r.builder.Build(t, r.opts.Local)
		r.state = g.In(r.state)
	}
	objects, err := split(r.opts.Datapath.Apply(ctx, r.state))
	if ctx.Err() != nil {
		return false
	}
	now := Status{
		Version: r.tables.Version,
		At:      time.Now(),
		State:   r.state,
		Err:     err,
		Objects: objects,
		Alarms:  r.alarms,
	}
	r.mu.Lock()
	before := r.status
	r.status = now
	close(r.passed)
	r.passed = make(chan struct{})
	r.mu.Unlock()
	r.report(before, now)
	return now.Converged()
}

// split takes an error of Apply apart: what it says of single objects, and
// the rest.
func split(err error) (map[string]error, error) {
	if err == nil {
		return nil, nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var objects map[string]error
		var rest []error
		for _, e := range joined.Unwrap() {
			o, e := split(e)
			if e != nil {
				rest = append(rest, e)
			}
			for name, cause := range o {
				if objects == nil {
					objects = make(map[string]error)
				}
				objects[name] = cause
			}
		}
		return objects, errors.Join(rest...)
	}
	if object, ok := err.(*datapath.ObjectError); ok { //nolint:errorlint // one level at a time, so that none hides others
		return map[string]error{object.Object: object.Err}, nil
	}
	objects, rest := split(errors.Unwrap(err))
	if len(objects) > 0 && rest == nil {
		return objects, nil
	}
	return objects, err
}

// report logs what has become different since the pass before.
func (r *Reconciler) report(before, now Status) {
	log := r.opts.Logger
	if text(now.Err) != text(before.Err) {
		if now.Err != nil {
			log.Error("datapath not applied", "err", now.Err)
		} else {
			log.Info("datapath applied again")
		}
	}
	for name, err := range now.Objects {
		if text(before.Objects[name]) != err.Error() {
			log.Warn("object not applied", "object", name, "err", err)
		}
	}
	for name := range before.Objects {
		if _, still := now.Objects[name]; !still && now.Err == nil {
			log.Info("object applied again", "object", name)
		}
	}
	raised := make(map[Alarm]bool, len(before.Alarms))
	for _, a := range before.Alarms {
		raised[a] = true
	}
	for _, a := range now.Alarms {
		if !raised[a] {
			log.Warn("alarm", "object", a.Object, "text", a.Text)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Wait returns when a pass for version or a newer one has ended, with what
// made that pass fail as a whole. Single objects that failed are in Status.
func (r *Reconciler) Wait(ctx context.Context, version uint64) error {
	for {
		r.mu.Lock()
		status, passed := r.status, r.passed
		r.mu.Unlock()
		if !status.At.IsZero() && status.Version >= version {
			return status.Err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-passed:
		}
	}
}

// Status returns the outcome of the last pass. Its maps and slices are not to
// be changed.
func (r *Reconciler) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}
