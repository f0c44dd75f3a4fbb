package measure

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const packetPort = 9000

// warmUp is how long packets flow before they are counted.
const warmUp = 200 * time.Millisecond

// Packets sends UDP packets of size bytes of payload as fast as one CPU can.
// Values: "rate", how many a second a program on the other side received, in
// thousands.
//
// The sender hands the kernel 64 packets a call. With hosts that are
// namespaces, the path up to the receiver's socket runs on the sender's CPU,
// so the rate is what the path leaves of it. The receiver runs on another one
// and looks every 100 µs instead of being woken: waking it would cost the
// sender more than some of the paths do.
func Packets(size int) Func {
	return func(ctx context.Context, p Pair, d time.Duration) (Values, error) {
		rate, err := packetRate(ctx, p, d, size)
		if err != nil {
			return nil, err
		}
		return Values{"rate": rate / 1e3}, nil
	}
}

func packetRate(ctx context.Context, p Pair, d time.Duration, size int) (float64, error) {
	server := netip.AddrPortFrom(p.Server.Addr, packetPort)
	rx, err := udpSocket(p.Server, func(fd int) error {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20); err != nil {
			return fmt.Errorf("receive buffer: %w", err)
		}
		return unix.Bind(fd, sockaddr(server))
	})
	if err != nil {
		return 0, err
	}
	defer unix.Close(rx)
	tx, err := udpSocket(p.Client, func(fd int) error { return unix.Connect(fd, sockaddr(server)) })
	if err != nil {
		return 0, err
	}
	defer unix.Close(tx)

	var received atomic.Uint64
	var sendErr, receiveErr error
	var stop atomic.Bool
	var threads sync.WaitGroup
	threads.Go(func() { sendErr = onCPU(0, func() error { return flood(tx, size, &stop) }) })
	threads.Go(func() {
		receiveErr = onCPU(runtime.NumCPU()-1, func() error { return drain(rx, size, &received, &stop) })
	})

	rate, err := observe(ctx, &received, d)
	stop.Store(true)
	threads.Wait()
	if err := errors.Join(err, sendErr, receiveErr); err != nil {
		return 0, err
	}
	if rate == 0 {
		return 0, errors.New("no packet was received")
	}
	return rate, nil
}

// observe returns how fast the counter grows, a second, once warm.
func observe(ctx context.Context, counter *atomic.Uint64, d time.Duration) (float64, error) {
	if err := Sleep(ctx, warmUp); err != nil {
		return 0, err
	}
	from, start := counter.Load(), time.Now()
	if err := Sleep(ctx, d); err != nil {
		return 0, err
	}
	return float64(counter.Load()-from) / time.Since(start).Seconds(), nil
}

// flood sends until stop.
func flood(fd, size int, stop *atomic.Bool) error {
	m := newMessages(size)
	for !stop.Load() {
		// A full queue on the way is what a flood is for.
		if _, err := m.send(fd); err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("send: %w", err)
		}
	}
	return nil
}

// drain counts what arrives until stop.
func drain(fd, size int, received *atomic.Uint64, stop *atomic.Bool) error {
	m := newMessages(size)
	pause := unix.Timespec{Nsec: 100_000}
	for !stop.Load() {
		n, err := m.receive(fd)
		switch {
		case err == nil:
			received.Add(uint64(n))
		case errors.Is(err, unix.EAGAIN):
			_ = unix.Nanosleep(&pause, nil) // an early end does no harm
		case !errors.Is(err, unix.EINTR):
			return fmt.Errorf("receive: %w", err)
		}
	}
	return nil
}
