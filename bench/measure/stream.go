package measure

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const streamPort = 9000

// warmUp is how long datagrams flow before they are looked at.
const warmUp = 100 * time.Millisecond

// receiveBuffer is the receiver's, in bytes: more than comes between two
// looks into it.
const receiveBuffer = 16 << 20

// stream is UDP from the client to the server, batch by batch.
type stream struct {
	// size is that of a message, in bytes; batch is how many of them one
	// system call sends or receives.
	size, batch int
	// segment has the kernel cut messages into datagrams of that many bytes
	// (UDP_SEGMENT), and leave them uncut at the receiver (UDP_GRO). 0 is a
	// datagram a message.
	segment int
	// interval is the time from one batch to the next, 0 is as fast as it
	// goes. poll is how often the receiver looks.
	interval, poll time.Duration
}

// arrived is what a program at the server received so far.
type arrived struct{ messages, bytes atomic.Uint64 }

// run sends, and looks at what arrives once it flows. The sender has a CPU of
// its own; with hosts that are namespaces, the path up to the receiver's
// socket runs there too. The receiver has another one. It looks now and then
// instead of being woken: waking it would cost the sender more than some of
// the paths do.
func (s stream) run(ctx context.Context, p Pair, look func(context.Context, *arrived) error) error {
	rx, tx, err := s.sockets(p)
	if err != nil {
		return err
	}
	defer unix.Close(rx)
	defer unix.Close(tx)

	var got arrived
	var sendErr, receiveErr error
	var stop atomic.Bool
	var threads sync.WaitGroup
	threads.Go(func() { sendErr = onCPU(clientCPU, func() error { return s.send(tx, &stop) }) })
	threads.Go(func() {
		receiveErr = onCPU(serverCPU(), func() error { return s.receive(rx, &got, &stop) })
	})
	if err = Sleep(ctx, warmUp); err == nil {
		err = look(ctx, &got)
	}
	stop.Store(true)
	threads.Wait()
	return errors.Join(err, sendErr, receiveErr)
}

// sockets opens those of the receiver and of the sender.
func (s stream) sockets(p Pair) (rx, tx int, err error) {
	server := netip.AddrPortFrom(p.Server.Addr, streamPort)
	rx, err = udpSocket(p.Server, func(fd int) error {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer); err != nil {
			return fmt.Errorf("receive buffer: %w", err)
		}
		if s.segment > 0 {
			if err := unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1); err != nil {
				return fmt.Errorf("receive uncut: %w", err)
			}
		}
		return unix.Bind(fd, sockaddr(server))
	})
	if err != nil {
		return 0, 0, err
	}
	tx, err = udpSocket(p.Client, func(fd int) error {
		if s.segment > 0 {
			if err := unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT, s.segment); err != nil {
				return fmt.Errorf("cut into segments: %w", err)
			}
		}
		return unix.Connect(fd, sockaddr(netip.AddrPortFrom(p.target(), streamPort)))
	})
	if err != nil {
		unix.Close(rx)
		return 0, 0, err
	}
	return rx, tx, nil
}

// send goes on until stop.
func (s stream) send(fd int, stop *atomic.Bool) error {
	m := newMessages(s.batch, s.size)
	for next := time.Now(); !stop.Load(); {
		// A full queue on the way is what a flood is for.
		if _, err := m.send(fd); err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("send: %w", err)
		}
		if s.interval > 0 {
			next = next.Add(s.interval)
			pause(time.Until(next))
		}
	}
	return nil
}

// receive counts until stop.
func (s stream) receive(fd int, got *arrived, stop *atomic.Bool) error {
	m := newMessages(s.batch, s.size)
	for !stop.Load() {
		n, err := m.receive(fd)
		switch {
		case err == nil:
			got.messages.Add(uint64(n))
			got.bytes.Add(m.bytes(n))
		case errors.Is(err, unix.EAGAIN):
			pause(s.poll)
		case !errors.Is(err, unix.EINTR):
			return fmt.Errorf("receive: %w", err)
		}
	}
	return nil
}

// pause is time.Sleep without Go's scheduler, which would wake another thread
// to let this one sleep.
func pause(d time.Duration) {
	if d > 0 {
		t := unix.NsecToTimespec(d.Nanoseconds())
		_ = unix.Nanosleep(&t, nil) // an early end does no harm
	}
}
