package measure

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

const (
	// flood is how many packets a call hands to the kernel: more of them
	// make no difference.
	flood = 64
	// floodPoll is how often a receiver that is flooded looks.
	floodPoll = 100 * time.Microsecond
)

// Packets sends UDP packets of size bytes of payload as fast as one CPU can.
// Values: "rate", how many a second a program on the other side received, in
// thousands.
func Packets(size int) Func {
	return func(ctx context.Context, p Pair, d time.Duration) (Values, error) {
		var rate float64
		s := stream{size: size, batch: flood, poll: floodPoll}
		err := s.run(ctx, p, func(ctx context.Context, got *arrived) (err error) {
			rate, err = growth(ctx, &got.messages, d)
			return err
		})
		if err != nil {
			return nil, err
		}
		return Values{"rate": rate / 1e3}, nil
	}
}

// maxDatagram is what IPv4's and UDP's headers leave of 65 535 bytes.
const maxDatagram = 65_535 - 20 - 8

// SegmentedPackets sends UDP packets of size bytes of payload, as many as fit
// into 64 KiB at a time, which the kernel or the NIC cuts: the way of QUIC.
// Values: "rate", the payload that a program on the other side received, in
// Gbit/s.
func SegmentedPackets(size int) Func {
	return func(ctx context.Context, p Pair, d time.Duration) (Values, error) {
		var rate float64
		s := segmented(size)
		err := s.run(ctx, p, func(ctx context.Context, got *arrived) (err error) {
			rate, err = growth(ctx, &got.bytes, d)
			return err
		})
		if err != nil {
			return nil, err
		}
		return Values{"rate": rate * 8 / 1e9}, nil
	}
}

// segmented is the stream of SegmentedPackets. The batch is small: its
// messages are large, and should stay in the CPU's cache.
func segmented(size int) stream {
	return stream{size: maxDatagram / size * size, batch: 4, segment: size, poll: floodPoll}
}

// growth returns how fast the counter grows, a second.
func growth(ctx context.Context, counter *atomic.Uint64, d time.Duration) (float64, error) {
	from, start := counter.Load(), time.Now()
	if err := Sleep(ctx, d); err != nil {
		return 0, err
	}
	n := counter.Load() - from
	if n == 0 {
		return 0, errors.New("no packet was received")
	}
	return float64(n) / time.Since(start).Seconds(), nil
}
