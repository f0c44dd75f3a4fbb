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
		if err := unix.Sendto(e.fd, e.packet[:], 0, &unix.SockaddrInet4{Addr: e.to.As4()}); err != nil && !isUnreachable(err) {
			return fmt.Errorf("echo to %s: %w", e.to, err)
		}
		answered, err := e.awaitAny()
		if err != nil || answered {
			return err
		}
		time.Sleep(time.Until(next))
	}
	return fmt.Errorf("%s has not answered an ICMP echo for %v", e.to, limit)
}

// awaitAny reads until the reply to any request so far; false is a time-out.
func (e *echo) awaitAny() (bool, error) {
	for {
		n, _, err := unix.Recvfrom(e.fd, e.buf[:], 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN), isUnreachable(err):
			return false, nil
		case err != nil:
			return false, fmt.Errorf("echo from %s: %w", e.to, err)
		}
		if e.isFromServer(e.buf[:n]) {
			return true, nil
		}
	}
}

// isFromServer reports whether an IPv4 packet is the server's reply to a
// request of this process.
func (e *echo) isFromServer(b []byte) bool {
	if len(b) < 20 || [4]byte(b[12:16]) != e.to.As4() {
		return false
	}
	header := int(b[0]&0x0f) * 4
	if len(b) < header+icmpHeader {
		return false
	}
	icmp := b[header:]
	return icmp[0] == icmpEchoReply && uint16(icmp[4])<<8|uint16(icmp[5]) == e.id
}

func isUnreachable(err error) bool {
	return errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ENETUNREACH)
}
