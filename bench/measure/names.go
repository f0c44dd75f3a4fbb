package measure

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Names is somebody who answers for names.
type Names struct {
	// Client asks, and Other on the same host.
	Client, Other Endpoint
	// Resolver is whom they ask.
	Resolver netip.Addr
	// Asked are names with an IPv4 address.
	Asked []string
	// CPU is the time that the program which answers has used so far.
	CPU func() (time.Duration, error)
}

const (
	// queriesWaiting is how many queries of a client that asks as fast as it is
	// answered have no answer at any time.
	queriesWaiting = 64
	// queryRate is how many queries a second one asks that does not wait.
	queryRate = 20_000
	// otherInterval is the time from one query of somebody else to the next.
	otherInterval = time.Millisecond
	// answerLimit is how long an answer may take at most; a query without one
	// took that long.
	answerLimit = 200 * time.Millisecond
	// maxUnanswered is which part of all queries may stay unanswered.
	maxUnanswered = 0.01
)

// AwaitNames returns when the last of the names is found by both endpoints.
func AwaitNames(ctx context.Context, n Names, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for _, e := range []Endpoint{n.Client, n.Other} {
		a, err := newAsker(e, n.Resolver, n.Asked[len(n.Asked)-1:])
		if err != nil {
			return err
		}
		defer a.close()
		for {
			a.seq++
			if err := a.ask(1); err != nil && !isUnreachable(err) && !errors.Is(err, unix.ECONNREFUSED) {
				return err
			}
			answers, err := a.answers()
			if err == nil && len(answers) > 0 {
				break
			}
			if ctx.Err() != nil {
				return fmt.Errorf("%s does not answer for %s: %w", n.Resolver, n.Asked[len(n.Asked)-1], errors.Join(ctx.Err(), err))
			}
			time.Sleep(probeInterval)
		}
	}
	return nil
}

// QueryRate asks for one name after the other, with 64 queries on their way at any
// time. Values: "rate", how many a second were answered, in thousands.
func QueryRate(ctx context.Context, n Names, d time.Duration) (Values, error) {
	a, err := newAsker(n.Client, n.Resolver, n.Asked)
	if err != nil {
		return nil, err
	}
	defer a.close()
	var rate float64
	err = onCPU(clientCPU, func() error {
		answered, start := 0, time.Now()
		warm := false
		last := -1 // of those that are answered; what is not answered before it is lost
		for ctx.Err() == nil {
			now := time.Now()
			if !warm && now.Sub(start) > warmUp {
				answered, start, warm = 0, now, true
			}
			if warm && now.Sub(start) >= d {
				rate = float64(answered) / now.Sub(start).Seconds()
				break
			}
			if err := a.ask(queriesWaiting - (a.seq - 1 - last)); err != nil {
				return err
			}
			got, err := a.answers()
			if err != nil {
				return err
			}
			answered += len(got)
			for _, r := range got {
				last = max(last, a.number(r.id))
			}
			if len(got) == 0 {
				last = a.seq - 1 // all are lost
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	if rate == 0 {
		return nil, fmt.Errorf("%s answers no query", n.Resolver)
	}
	return Values{"rate": rate / 1e3}, nil
}

// QueryTimes asks 20 000 times a second, whatever the answers do, while the other
// endpoint asks a thousand times, one query after the other. What could not be sent
// when it was due is sent with what is due next. Values: "p50" and "p99" of the first
// and "other", the 99th percentile of the other, from a query to its answer, in µs;
// "cpu", the CPU seconds of the program that answers for a million queries.
func QueryTimes(ctx context.Context, n Names, d time.Duration) (Values, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var others []float64
	var otherErr error
	var wg sync.WaitGroup
	wg.Go(func() {
		others, otherErr = askSlowly(ctx, n)
		cancel() // it ends by cancel, or it has failed
	})
	before, err := n.CPU()
	var times []float64
	if err == nil {
		times, err = askSteadily(ctx, n, d)
	}
	after, cpuErr := n.CPU()
	cancel()
	wg.Wait()
	if err := errors.Join(otherErr, err, cpuErr); err != nil {
		return nil, err
	}
	sent := len(times)
	// The first ones fill caches: a tenth is left out.
	times, others = times[sent/10:], others[len(others)/10:]
	if len(times) == 0 || len(others) == 0 {
		return nil, errors.New("no queries were sent")
	}
	slices.Sort(times)
	slices.Sort(others)
	if unanswered := len(times) - lessThan(times, answerLimit); float64(unanswered) > maxUnanswered*float64(len(times)) {
		return nil, fmt.Errorf("%d of %d queries were not answered within %v: %w", unanswered, len(times), answerLimit, ErrOverloaded)
	}
	return Values{
		"p50": percentile(times, 50), "p99": percentile(times, 99), "other": percentile(others, 99),
		"cpu": (after - before).Seconds() / float64(sent) * 1e6,
	}, nil
}

// lessThan is how many of the sorted times, in µs, are below a limit.
func lessThan(times []float64, limit time.Duration) int {
	i, _ := slices.BinarySearch(times, microseconds(limit))
	return i
}

func microseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// askSteadily sends what is due and takes what is there, on one thread. It returns
// the times of all queries in the order in which they were sent, in µs.
func askSteadily(ctx context.Context, n Names, d time.Duration) ([]float64, error) {
	const interval = time.Second / queryRate
	a, err := newAsker(n.Client, n.Resolver, n.Asked)
	if err != nil {
		return nil, err
	}
	defer a.close()
	total := int(d / interval)
	times := make([]float64, total)
	for i := range times {
		times[i] = microseconds(answerLimit)
	}
	err = onCPU(clientCPU, func() error {
		if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("timer slack: %w", err)
		}
		sent, start := 0, time.Now()
		for ctx.Err() == nil {
			now := time.Since(start)
			if now > d+answerLimit {
				break
			}
			if due := min(int(now/interval)+1, total); due > sent {
				some := min(due-sent, queriesWaiting)
				if err := a.ask(some); err != nil {
					return err
				}
				sent += some
			}
			got, err := a.present()
			if err != nil {
				return err
			}
			for _, r := range got {
				if i := a.number(r.id); i >= 0 {
					times[i] = min(times[i], microseconds(r.took))
				}
			}
			if sent < total && len(got) == 0 {
				pause(time.Until(start.Add(time.Duration(sent) * interval)))
			} else if len(got) == 0 {
				pause(interval)
			}
		}
		return ctx.Err()
	})
	return times, err
}

// askSlowly asks one query after the other until ctx ends, and returns their times
// in µs.
func askSlowly(ctx context.Context, n Names) (times []float64, err error) {
	a, err := newAsker(n.Other, n.Resolver, n.Asked)
	if err != nil {
		return nil, err
	}
	defer a.close()
	err = onCPU(clientCPU, func() error {
		for next := time.Now(); ctx.Err() == nil; next = next.Add(otherInterval) {
			pause(time.Until(next))
			if err := a.ask(1); err != nil {
				return err
			}
			got, err := a.answers()
			if err != nil {
				return err
			}
			took := answerLimit
			for _, r := range got {
				took = min(took, r.took)
			}
			times = append(times, microseconds(took))
			if took > otherInterval {
				next = next.Add(took)
			}
		}
		return nil
	})
	return times, err
}
