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

// ICMP echo, RFC 792 and RFC 4443 section 4, and as many bytes as ping sends.
const (
	icmpEchoRequest   = 8
	icmpEchoReply     = 0
	icmpv6EchoRequest = 128
	icmpv6EchoReply   = 129
	icmpHeader        = 8
	echoSize          = icmpHeader + 56
)

// maxLost is how many echoes in a row may stay unanswered.
const maxLost = 3

// EchoRoundTrip takes the time from before an ICMP echo request is handed to
// the kernel until its reply is read. The other side's kernel answers, so it
// is the path that is measured, with no program to wake there. Values: "p50"
// and "p99", in µs.
func EchoRoundTrip(ctx context.Context, p Pair, d time.Duration) (Values, error) {
	return echoes(ctx, p, d, 0)
}

const (
	// loadBitrate is what flows beside an echo under load, in bit/s: little
	// enough for every contender to have time left.
	loadBitrate = 1_000_000_000
	// loadInterval is the time from one echo under load to the next: not one
	// that iperf3's own pacing, a millisecond, is a multiple of.
	loadInterval = 371 * time.Microsecond
)

// LoadedEchoRoundTrip is EchoRoundTrip while a TCP stream of 1 Gbit/s goes the
// same way from the same CPU, as through a host's only queue. An echo is due
// at regular times, and its time is taken from then on: it may have to wait
// until a burst of the stream is through. Were one sent when the last is
// answered, the bursts would delay few of them. Values: those of
// EchoRoundTrip.
func LoadedEchoRoundTrip(ctx context.Context, p Pair, d time.Duration) (Values, error) {
	var values Values
	rate, err := beside(ctx, p, loadBitrate, d, func(ctx context.Context, d time.Duration) (err error) {
		values, err = echoes(ctx, p, d, loadInterval)
		return err
	})
	if err != nil {
		return nil, err
	}
	// Less by a little is the slow start.
	if rate < 0.8*loadBitrate {
		return nil, fmt.Errorf("only %.2f of %.2f Gbit/s went beside the echoes: %w", rate/1e9, loadBitrate/1e9, ErrOverloaded)
	}
	return values, nil
}

// ErrOverloaded says that the load that was asked for did not get through.
var ErrOverloaded = errors.New("too much load")

// echoes sends one echo every interval, or one after another if that is 0.
func echoes(ctx context.Context, p Pair, d, interval time.Duration) (Values, error) {
	e, err := newEcho(p)
	if err != nil {
		return nil, err
	}
	defer e.close()
	var times []float64
	err = onCPU(clientCPU, func() error {
		// Sleep as exactly as the kernel can, not to 50 µs.
		if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("timer slack: %w", err)
		}
		for due, end := time.Now(), time.Now().Add(d); due.Before(end) && ctx.Err() == nil; {
			pause(time.Until(due))
			rtt, err := e.once(due)
			if err != nil {
				return err
			}
			times = append(times, float64(rtt.Nanoseconds())/1e3)
			due = due.Add(interval)
			if interval == 0 || time.Since(due) > maxLate {
				due = time.Now()
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	// The first ones fill caches: a tenth is left out.
	times = times[len(times)/10:]
	slices.Sort(times)
	return Values{"p50": percentile(times, 50), "p99": percentile(times, 99)}, nil
}

// maxLate is how long an echo may be due before those that are due are given
// up: a path that cannot keep up would be later with each of them.
const maxLate = 20 * time.Millisecond

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
		_, err := e.once(time.Now())
		if err == nil || ctx.Err() != nil || time.Now().After(end) {
			return errors.Join(err, ctx.Err())
		}
	}
}

// echo is a raw ICMP or ICMPv6 socket of the client.
type echo struct {
	fd     int
	to     netip.Addr
	id     uint16
	seq    uint16
	packet [echoSize]byte
	buf    [1500]byte
}

func newEcho(p Pair) (*echo, error) {
	protocol := unix.IPPROTO_ICMP
	if p.Server.Addr.Is6() {
		protocol = unix.IPPROTO_ICMPV6
	}
	fd, err := socketAt(p.Client, unix.SOCK_RAW, protocol, func(fd int) error {
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
// took: the first one since it was due, another one since it was sent.
func (e *echo) once(due time.Time) (time.Duration, error) {
	for range maxLost {
		e.seq++
		e.build()
		if err := e.send(); err != nil {
			return 0, fmt.Errorf("echo to %s: %w", e.to, err)
		}
		answered, err := e.await(e.isReply)
		if err != nil {
			return 0, err
		}
		if answered {
			return time.Since(due), nil
		}
		due = time.Now()
	}
	return 0, fmt.Errorf("%s does not answer an ICMP echo", e.to)
}

// await reads until a packet is the reply that is waited for; false is a
// time-out.
func (e *echo) await(isReply func(packet []byte) bool) (bool, error) {
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
		if isReply(e.buf[:n]) {
			return true, nil
		}
	}
}

// send hands the request to the kernel, which fills in ICMPv6's checksum.
func (e *echo) send() error {
	return unix.Sendto(e.fd, e.packet[:], 0, sockaddr(netip.AddrPortFrom(e.to, 0)))
}

// build writes the request with the present sequence number.
func (e *echo) build() {
	b := e.packet[:]
	b[0], b[1] = icmpEchoRequest, 0
	if e.to.Is6() {
		b[0] = icmpv6EchoRequest
	}
	binary.BigEndian.PutUint16(b[2:], 0)
	binary.BigEndian.PutUint16(b[4:], e.id)
	binary.BigEndian.PutUint16(b[6:], e.seq)
	binary.BigEndian.PutUint16(b[2:], checksum(b))
}

// isReply reports whether what was read is the reply to the last request.
func (e *echo) isReply(b []byte) bool {
	icmp, ok := e.ownReply(b)
	return ok && binary.BigEndian.Uint16(icmp[6:]) == e.seq
}

// ownReply returns the ICMP part of what was read, if that is a reply to any
// request of this process. A raw socket reads packets of IPv4 with their IP
// header, and those of IPv6 without.
func (e *echo) ownReply(b []byte) (icmp []byte, ok bool) {
	reply := byte(icmpv6EchoReply)
	if !e.to.Is6() {
		if len(b) < 20 {
			return nil, false
		}
		b = b[min(len(b), int(b[0]&0x0f)*4):]
		reply = icmpEchoReply
	}
	if len(b) < icmpHeader {
		return nil, false
	}
	return b, b[0] == reply && binary.BigEndian.Uint16(b[4:]) == e.id
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
