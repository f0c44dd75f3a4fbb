package measure

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// ICMP echo, RFC 792, and as many bytes as ping sends.
const (
	icmpEchoRequest = 8
	icmpEchoReply   = 0
	icmpHeader      = 8
	echoSize        = icmpHeader + 56
)

// maxLost is how many echoes in a row may stay unanswered.
const maxLost = 3

// EchoRoundTrip takes the time from before an ICMP echo request is handed to
// the kernel until its reply is read. The other side's kernel answers, so it
// is the path that is measured, with no program to wake there. Values: "p50",
// the median in µs.
func EchoRoundTrip(ctx context.Context, p Pair, d time.Duration) (Values, error) {
	e, err := newEcho(p)
	if err != nil {
		return nil, err
	}
	defer e.close()
	var times []float64
	err = onCPU(0, func() error {
		for end := time.Now().Add(d); time.Now().Before(end) && ctx.Err() == nil; {
			rtt, err := e.once()
			if err != nil {
				return err
			}
			times = append(times, float64(rtt.Nanoseconds())/1e3)
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	// The first ones fill caches: a tenth is left out.
	times = times[len(times)/10:]
	slices.Sort(times)
	return Values{"p50": percentile(times, 50)}, nil
}

// patience is how long a pair may take until its first echo is answered.
const patience = 3 * time.Second

// WaitReachable returns when the server of a pair answers an echo.
func WaitReachable(ctx context.Context, p Pair) error {
	e, err := newEcho(p)
	if err != nil {
		return err
	}
	defer e.close()
	for end := time.Now().Add(patience); ; {
		_, err := e.once()
		if err == nil || ctx.Err() != nil || time.Now().After(end) {
			return errors.Join(err, ctx.Err())
		}
	}
}

// echo is a raw ICMP socket of the client.
type echo struct {
	fd     int
	to     netip.Addr
	id     uint16
	seq    uint16
	packet [echoSize]byte
	buf    [1500]byte
}

func newEcho(p Pair) (*echo, error) {
	fd, err := socketAt(p.Client, unix.SOCK_RAW, unix.IPPROTO_ICMP, func(fd int) error {
		wait := unix.Timeval{Usec: 300_000}
		return unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait)
	})
	if err != nil {
		return nil, err
	}
	return &echo{fd: fd, to: p.Server.Addr, id: uint16(os.Getpid())}, nil
}

func (e *echo) close() { unix.Close(e.fd) }

// once sends requests until one is answered, and returns how long that one
// took.
func (e *echo) once() (time.Duration, error) {
	for range maxLost {
		e.seq++
		e.build()
		start := time.Now()
		if err := unix.Sendto(e.fd, e.packet[:], 0, &unix.SockaddrInet4{Addr: e.to.As4()}); err != nil {
			return 0, fmt.Errorf("echo to %s: %w", e.to, err)
		}
		answered, err := e.await()
		if err != nil {
			return 0, err
		}
		if answered {
			return time.Since(start), nil
		}
	}
	return 0, fmt.Errorf("%s does not answer an ICMP echo", e.to)
}

// await reads until the reply to the last request; false is a time-out.
func (e *echo) await() (bool, error) {
	for {
		n, _, err := unix.Recvfrom(e.fd, e.buf[:], 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return false, nil
		case err != nil:
			return false, fmt.Errorf("echo from %s: %w", e.to, err)
		}
		if e.isReply(e.buf[:n]) {
			return true, nil
		}
	}
}

// build writes the request with the present sequence number.
func (e *echo) build() {
	b := e.packet[:]
	b[0], b[1] = icmpEchoRequest, 0
	binary.BigEndian.PutUint16(b[2:], 0)
	binary.BigEndian.PutUint16(b[4:], e.id)
	binary.BigEndian.PutUint16(b[6:], e.seq)
	binary.BigEndian.PutUint16(b[2:], checksum(b))
}

// isReply reports whether an IPv4 packet is the reply that is waited for.
func (e *echo) isReply(b []byte) bool {
	if len(b) < 20 {
		return false
	}
	header := int(b[0]&0x0f) * 4
	if len(b) < header+icmpHeader {
		return false
	}
	icmp := b[header:]
	return icmp[0] == icmpEchoReply && binary.BigEndian.Uint16(icmp[4:]) == e.id && binary.BigEndian.Uint16(icmp[6:]) == e.seq
}

// checksum is that of RFC 1071 over an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
