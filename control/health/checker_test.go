package health

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

var errBad = errors.New("bad")

// bench is a Checker in virtual time, whose endpoints are made up.
type bench struct {
	*Checker
	stop func()

	mu             sync.Mutex
	answers        map[string]error // by key; none: good
	takes          time.Duration    // of each check
	asked          []string
	underWay, most int
	told           []string
}

// run starts one inside a bubble; Checker.Run has ended when stop returns.
func run(t *testing.T, concurrent int) *bench {
	t.Helper()
	b := &bench{answers: make(map[string]error)}
	begin := time.Now()
	b.Checker = New(Options{Concurrent: concurrent, Logger: slog.New(slog.DiscardHandler), Report: func(c Change) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.told = append(b.told, fmt.Sprintf("%s %t %v %v", c.Key, c.Healthy, c.Since.Sub(begin), c.Err))
	}, probe: b.probe})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); b.Run(ctx) }()
	b.stop = func() { cancel(); <-ended }
	return b
}

func (b *bench) probe(ctx context.Context, c Check) error {
	b.mu.Lock()
	b.asked = append(b.asked, c.Key+c.Path)
	b.underWay++
	b.most = max(b.most, b.underWay)
	err, takes := b.answers[c.Key], b.takes
	b.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		err = ctx.Err()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.underWay--
	return err
}

func (b *bench) take(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.takes = d
}

func (b *bench) answer(key string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answers[key] = err
}

// expect compares what was told since the last call.
func (b *bench) expect(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Equal(b.told, want) {
		t.Fatalf("told:\n%s\nwant:\n%s", strings.Join(b.told, "\n"), strings.Join(want, "\n"))
	}
	b.told = nil
}

// askedSince returns how many checks have begun since the last call.
func (b *bench) askedSince() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := len(b.asked)
	b.asked = nil
	return n
}

func TestCheckerReportsChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, 0)
		defer b.stop()
		b.answer("b", errBad)
		b.Set([]Check{{Key: "a"}, {Key: "b", Interval: 500 * time.Millisecond, Rise: 3}})
		synctest.Wait()
		slices.Sort(b.told) // they began together
		b.expect(t, "a true 0s <nil>", "b false 0s bad")

		time.Sleep(2900 * time.Millisecond)
		b.expect(t)
		b.answer("a", errBad) // asked at 4, 6 and 8 s
		b.answer("b", nil)    // asked at 3, 3.5 and 4 s
		time.Sleep(4900 * time.Millisecond)
		b.expect(t, "b true 4s <nil>")
		time.Sleep(300 * time.Millisecond)
		b.expect(t, "a false 8s bad")
	})
}

// TestCheckerSet: what is the same goes on, with its past and at its time; what
// asks something else knows nothing; what is gone is silent.
func TestCheckerSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, 0)
		defer b.stop()
		b.Set([]Check{{Key: "a"}, {Key: "b", Kind: HTTP, Path: "/one"}, {Key: "c"}})
		synctest.Wait()
		slices.Sort(b.told)
		b.expect(t, "a true 0s <nil>", "b true 0s <nil>", "c true 0s <nil>")
		b.askedSince()

		time.Sleep(time.Second)
		b.Set([]Check{{Key: "a"}, {Key: "b", Kind: HTTP, Path: "/two"}})
		b.expect(t, "b true 1s <nil>")
		if n := b.askedSince(); n != 1 {
			t.Errorf("%d checks at once, want that which changed alone", n)
		}

		// Sooner, from the last time on.
		b.Set([]Check{{Key: "a", Interval: 1500 * time.Millisecond, Fall: 1}})
		b.answer("a", errBad)
		time.Sleep(400 * time.Millisecond)
		b.expect(t)
		time.Sleep(200 * time.Millisecond)
		b.expect(t, "a false 1.5s bad")

		b.Set(nil)
		b.askedSince()
		time.Sleep(time.Hour)
		b.expect(t)
		if n := b.askedSince(); n != 0 {
			t.Errorf("%d checks that nobody wants", n)
		}
	})
}

// TestCheckerTakenAway: a result that comes when its check is gone, or asks
// something else by now, counts for nothing.
func TestCheckerTakenAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, 0)
		defer b.stop()
		b.take(time.Second)
		b.answer("a", errBad)
		b.answer("b", errBad)
		b.Set([]Check{{Key: "a"}, {Key: "b"}})
		time.Sleep(500 * time.Millisecond)
		b.answer("b", nil)
		b.Set([]Check{{Key: "b", Path: "/other"}})
		time.Sleep(time.Second)
		b.expect(t, "b true 1.5s <nil>")
	})
}

func TestCheckerBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, 4)
		defer b.stop()
		b.take(100 * time.Millisecond)
		var checks []Check
		for i := range 40 {
			checks = append(checks, Check{Key: fmt.Sprint(i)})
		}
		b.Set(checks)
		time.Sleep(1050 * time.Millisecond)
		synctest.Wait()
		if b.most != 4 {
			t.Errorf("%d checks at once, want 4", b.most)
		}
		if len(b.told) != 40 {
			t.Errorf("%d of 40 have their first result", len(b.told))
		}
		// The next round has every check once, however late the first was.
		b.askedSince()
		time.Sleep(2 * time.Second)
		if n := b.askedSince(); n != 40 {
			t.Errorf("%d checks in an interval, want 40", n)
		}

		// More than there is room for, and no check is left out for good.
		b.take(time.Second)
		time.Sleep(30 * time.Second)
		b.mu.Lock()
		seen := make(map[string]int)
		for _, k := range b.asked {
			seen[k]++
		}
		b.mu.Unlock()
		for _, c := range checks {
			if n := seen[c.Key+"/"]; n < 2 || n > 5 {
				t.Errorf("check %s ran %d times in 30 s, want 3", c.Key, n)
			}
		}
		b.Set([]Check{{Key: "0", Interval: time.Nanosecond}})
		time.Sleep(3 * time.Second)
		b.take(0)
		time.Sleep(2 * time.Second)
		b.askedSince()
		time.Sleep(time.Second)
		if n := b.askedSince(); n != 10 {
			t.Errorf("%d checks in a second, want 10: MinInterval", n)
		}
	})
}

// TestCheckerCannotTell: an agent that is short of descriptors says nothing of
// anybody.
func TestCheckerCannotTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, 0)
		defer b.stop()
		b.answer("a", fmt.Errorf("socket: %w", unix.EMFILE))
		b.Set([]Check{{Key: "a"}})
		time.Sleep(59 * time.Second)
		b.expect(t)
		b.answer("a", nil)
		time.Sleep(2 * time.Second)
		b.expect(t, "a true 1m0s <nil>")
	})
}

// TestCheckerStop: Run ends with its checks, and what they then come to is no
// endpoint's fault.
func TestCheckerStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, 0)
		b.take(time.Hour)
		b.Set([]Check{{Key: "a"}, {Key: "b"}})
		time.Sleep(time.Second)
		b.stop()
		b.expect(t)
		if b.underWay != 0 {
			t.Errorf("%d checks go on", b.underWay)
		}
	})
}

// TestCheckerStopWhileReporting: results wait when ctx ends.
func TestCheckerStopWhileReporting(t *testing.T) {
	for range 30 { // Run may look at either first
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			told := 0
			c := New(Options{
				Report: func(Change) {
					told++
					cancel()
					time.Sleep(time.Second)
				},
				probe: func(ctx context.Context, c Check) error {
					if c.Key == "a" {
						return nil
					}
					<-ctx.Done()
					return ctx.Err()
				},
			})
			c.Set([]Check{{Key: "a"}, {Key: "b"}})
			c.Run(ctx)
			if told != 1 {
				t.Errorf("told of %d changes, want that of a", told)
			}
		})
	}
}

// TestCheckerReportCallsSet: who is told may say at once what is wanted now.
func TestCheckerReportCallsSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		var c *Checker
		c = New(Options{
			Report: func(Change) { c.Set(nil) },
			probe:  func(context.Context, Check) error { asked++; return nil },
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); c.Run(ctx) }()
		c.Set([]Check{{Key: "a"}})
		time.Sleep(time.Minute)
		cancel()
		<-ended
		if asked != 1 {
			t.Errorf("asked %d times", asked)
		}
	})
}
