package measure

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// changes is how often a service is drained and taken back in one look.
	changes = 3
	// changeLimit bounds the wait for what a change brings about.
	changeLimit = 10 * time.Second
	// connectInterval is how often a new connection is tried, and connectLimit
	// how long one may take.
	connectInterval = 200 * time.Microsecond
	connectLimit    = 50 * time.Millisecond
)

// Changes drains the only backend of the service with p's VIP, which is p's
// server, and takes it back, several times. Values: "time", the median time in
// ms from the call of drain until the first new connection to the VIP is
// refused, and from that of drain with undo until the first gets through.
func Changes(ctx context.Context, p Pair, drain func(ctx context.Context, undo bool) error) (_ Values, err error) {
	server, err := startResponder(p, true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	var took []float64
	for i := range 2 * changes {
		undo, wanted := false, refused
		if i%2 == 1 {
			undo, wanted = true, accepted
		}
		d, err := change(ctx, p, wanted, func() error { return drain(ctx, undo) })
		if err != nil {
			return nil, err
		}
		took = append(took, float64(d.Microseconds())/1e3)
	}
	slices.Sort(took)
	return Values{"time": (took[changes-1] + took[changes]) / 2}, nil
}

// change makes a change and returns how long it takes until new connections to
// the VIP fare as wanted: counted from before the change, which may take longer
// itself.
func change(ctx context.Context, p Pair, wanted string, make func() error) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, changeLimit)
	defer cancel()
	begin := time.Now()
	made := goWith(cancel, make)
	var took time.Duration
	err := p.Client.Namespace.Do(func() error {
		to := p.responder()
		for next := begin; ; next = next.Add(connectInterval) {
			pause(time.Until(next))
			is, err := connect(to)
			if err != nil || is == wanted {
				took = time.Since(begin)
				return err
			}
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("a connection to %s is %s, not %s: %w", to, is, wanted, err)
			}
			if behind := time.Since(next); behind > connectInterval {
				next = next.Add(behind)
			}
		}
	})
	return took, errors.Join(<-made, err)
}

// goWith runs fn beside the caller, and calls cancel if it fails.
func goWith(cancel func(), fn func() error) <-chan error {
	done := make(chan error, 1)
	go func() {
		err := fn()
		if err != nil {
			cancel()
		}
		done <- err
	}()
	return done
}

// How a connection may fare.
const (
	accepted = "accepted"
	refused  = "refused"
	ignored  = "ignored"
)

// connect tries a connection from the calling thread's namespace, and resets
// it.
func connect(to netip.AddrPort) (string, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return "", fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	limit := unix.NsecToTimeval(connectLimit.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit); err != nil {
		return "", fmt.Errorf("limit of a connection: %w", err)
	}
	// No memory of it stays behind (TIME-WAIT).
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return "", fmt.Errorf("reset of a connection: %w", err)
	}
	err = unix.Connect(fd, sockaddr(to))
	switch {
	case err == nil:
		return accepted, nil
	case errors.Is(err, unix.ECONNREFUSED):
		return refused, nil
	case errors.Is(err, unix.EINPROGRESS), errors.Is(err, unix.EINTR):
		return ignored, nil
	}
	return "", fmt.Errorf("connect to %s: %w", to, err)
}
