package health

import (
	"container/heap"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Options are what a Checker works with. Report is needed.
type Options struct {
	// Report is told of every change, one at a time, from the goroutine of Run.
	// It may call Set. A change of a check that Set has just taken away may
	// still come.
	Report func(Change)
	// Concurrent bounds how many checks are under way at once, each with a
	// thread of its own while it connects; 32 by default. Others wait.
	Concurrent int
	// Logger is slog.Default by default.
	Logger *slog.Logger

	// probe is asked instead of endpoints, in tests.
	probe func(context.Context, Check) error
}

// Checker runs checks. Run it in one goroutine; Set may be called from any.
type Checker struct {
	opts Options
	// kick has an element when Set was called.
	kick chan struct{}

	mu     sync.Mutex
	checks map[string]*entry
	// waiting are those that are not under way.
	waiting queue
	// short is set while checks cannot be made, so that it is said once.
	short bool
}

// entry is a check and how it stands.
type entry struct {
	Check
	count count
	// due is when it is to run next, started when it last did.
	due, started time.Time
	running      bool
}

// result is what a run of e came to.
type result struct {
	e   *entry
	err error
}

// New returns a Checker that does nothing until Run.
func New(opts Options) *Checker {
	if opts.Concurrent <= 0 {
		opts.Concurrent = 32
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.probe == nil {
		opts.probe = probe
	}
	return &Checker{opts: opts, kick: make(chan struct{}, 1)}
}

// Set says which checks are wanted from now on; their keys differ. One that was
// not there, or asks something else than before, knows nothing yet and runs at
// once. All others go on from where they are.
func (c *Checker) Set(checks []Check) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := make(map[string]*entry, len(checks))
	for _, wanted := range checks {
		wanted = wanted.withDefaults()
		e := c.checks[wanted.Key]
		if e == nil || !e.asksTheSame(wanted) {
			e = &entry{}
		} else {
			e.due = e.started.Add(wanted.Interval)
		}
		e.Check = wanted
		next[wanted.Key] = e
	}
	c.checks = next
	c.waiting = nil
	for _, e := range next {
		if !e.running {
			c.waiting = append(c.waiting, e)
		}
	}
	heap.Init(&c.waiting)
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// Run checks until ctx ends, and returns when no check is under way any more.
// What those come to that ctx has ended is reported to nobody.
func (c *Checker) Run(ctx context.Context) {
	results := make(chan result)
	running := 0
	defer func() {
		for ; running > 0; running-- {
			<-results
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-results:
			running--
			c.finish(ctx, r)
		case <-timer.C:
		case <-c.kick:
		}
		for running < c.opts.Concurrent {
			e, check, wait := c.next()
			if e == nil {
				timer.Reset(wait)
				break
			}
			running++
			go func() { results <- result{e, c.opts.probe(ctx, check)} }()
		}
	}
}

// next takes the check that is due, or returns how long there is none.
func (c *Checker) next() (*entry, Check, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) == 0 {
		return nil, Check{}, time.Hour // or when Set is called
	}
	now := time.Now()
	if wait := c.waiting[0].due.Sub(now); wait > 0 {
		return nil, Check{}, wait
	}
	e := heap.Pop(&c.waiting).(*entry)
	e.running, e.started, e.due = true, now, now.Add(e.Interval)
	return e, e.Check, 0
}

// finish counts a result, if its check is still wanted, and reports the change.
func (c *Checker) finish(ctx context.Context, r result) {
	if change := c.settle(ctx, r); change != nil {
		c.opts.Report(*change)
	}
}

func (c *Checker) settle(ctx context.Context, r result) *Change {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := r.e
	if c.checks[e.Key] != e || ctx.Err() != nil {
		return nil
	}
	e.running = false
	heap.Push(&c.waiting, e)
	if cannotTell(r.err) {
		if !c.short {
			c.opts.Logger.Warn("health checks cannot be made", "error", r.err)
		}
		c.short = true
		return nil
	}
	c.short = false
	if !e.count.add(r.err == nil, time.Now(), e.Rise, e.Fall) {
		return nil
	}
	return &Change{Key: e.Key, Healthy: e.count.healthy, Since: e.count.since, Err: r.err}
}

// cannotTell reports whether err speaks of this process and not of an endpoint:
// no service may lose all its backends because the agent is short of
// descriptors.
func cannotTell(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM)
}

// queue has the entry that is due first in front (container/heap).
type queue []*entry

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }

// Push is heap.Push's.
func (q *queue) Push(e any) { *q = append(*q, e.(*entry)) }

// Pop is heap.Pop's.
func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return e
}
