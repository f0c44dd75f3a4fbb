package measure

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// probeInterval is how often a server is asked that does not answer yet.
const probeInterval = time.Millisecond

// FirstReply returns when the server has answered the client for the first
// time, to ICMP echo requests every millisecond; after limit it gives up.
func FirstReply(ctx context.Context, p Pair, limit time.Duration) error {
	e, err := newEcho(p)
	if err != nil {
		return err
	}
	defer e.close()
	wait := unix.NsecToTimeval(int64(probeInterval))
	if err := unix.SetsockoptTimeval(e.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		return fmt.Errorf("echo to %s: %w", e.to, err)
	}
	for end := time.Now().Add(limit); time.Now().Before(end); {
		if err := ctx.Err(); err != nil {
			return err
		}
		e.seq++
		e.build()
		next := time.Now().Add(probeInterval)
		// Nobody may be there yet, and the kernel says so of an earlier one.
		if err := e.send(); err != nil && !isUnreachable(err) {
			return fmt.Errorf("echo to %s: %w", e.to, err)
		}
		answered, err := e.await(e.isFromServer)
		if answered || (err != nil && !isUnreachable(err)) {
			return err
		}
		time.Sleep(time.Until(next))
	}
	return fmt.Errorf("%s has not answered an ICMP echo for %v", e.to, limit)
}

// isFromServer reports whether what was read is the server's reply to any
// request so far. What is read of IPv6 does not say whose it is; nobody but
// the server knows the ID.
func (e *echo) isFromServer(b []byte) bool {
	_, ok := e.ownReply(b)
	return ok && (e.to.Is6() || [4]byte(b[12:16]) == e.to.As4())
}

func isUnreachable(err error) bool {
	return errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ENETUNREACH)
}
