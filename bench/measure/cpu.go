package measure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// What a path costs is taken from the machine as a whole: the time that its
// CPUs did not idle while traffic flowed, less what they do not idle anyway.
// That is both hosts together, for the hosts are namespaces, and it is all of
// it: a packet is worked on by whoever runs at the time, so that neither the
// time of processes (/proc/PID/schedstat, cgroups) shows it, nor, on kernels
// without CONFIG_IRQ_TIME_ACCOUNTING, that of interrupts: those columns of
// /proc/stat are samples of the timer's tick. Its idle time is not: it is
// taken when a CPU begins and ceases to idle, and an interrupt ends it too.
//
// The cost is taken at a rate that contenders can bear, not at the highest:
// there, senders and receivers that wait for the path would be counted, and
// larger or smaller bursts than others'. Nor is it taken at a low one: what the
// machine does anyway, some 0.08 CPUs with all contenders set up, varies by 0.02
// from one half of a second to the next. A TCP stream whose path cannot bear the
// rate is measured at what it can; packets that are lost would be counted.
const (
	costBitrate  = 6_000_000_000
	costInterval = 2 * time.Millisecond
	costBatch    = 64 // packets each interval: 32 000 a second
)

// ErrDisturbed says that the machine did other things while it was measured.
var ErrDisturbed = errors.New("the machine is busy with something else")

// TCPCost sends one TCP stream of 6 Gbit/s, or less where that is too much. Values: "cpu", the CPU seconds
// that a gigabyte takes.
func TCPCost(ctx context.Context, p Pair, d time.Duration) (Values, error) {
	idle, err := watchCPU(ctx, d/2)
	if err != nil {
		return nil, err
	}
	var busy float64
	rate, err := beside(ctx, p, costBitrate, d, func(ctx context.Context, d time.Duration) error {
		busy, err = watchCPU(ctx, d)
		return err
	})
	if err != nil {
		return nil, err
	}
	return cost(busy-idle, rate/8/1e9)
}

// PacketCost sends 32 000 UDP packets a second, of size bytes of payload.
// Values: "cpu", the CPU seconds that a million packets that arrive take.
//
// The receiver looks as often as the sender sends, so it costs the same for
// every contender.
func PacketCost(size int) Func {
	return func(ctx context.Context, p Pair, d time.Duration) (Values, error) {
		idle, err := watchCPU(ctx, d/2)
		if err != nil {
			return nil, err
		}
		var busy, rate float64
		s := stream{size: size, batch: costBatch, interval: costInterval, poll: costInterval}
		err = s.run(ctx, p, func(ctx context.Context, got *arrived) error {
			from, start := got.messages.Load(), time.Now()
			busy, err = watchCPU(ctx, d)
			rate = float64(got.messages.Load()-from) / time.Since(start).Seconds()
			return err
		})
		if err != nil {
			return nil, err
		}
		return cost(busy-idle, rate/1e6)
	}
}

// cost divides CPUs by what went through in a second.
func cost(cpus, rate float64) (Values, error) {
	if rate <= 0 {
		return nil, errors.New("nothing was received")
	}
	if cpus <= 0 {
		return nil, fmt.Errorf("CPU time: it idles less without traffic than with it: %w", ErrDisturbed)
	}
	return Values{"cpu": cpus / rate}, nil
}

// watchCPU returns how many CPUs were busy on average in the next d.
func watchCPU(ctx context.Context, d time.Duration) (float64, error) {
	before, start, err := readCPU()
	if err != nil {
		return 0, err
	}
	if err := Sleep(ctx, d); err != nil {
		return 0, err
	}
	after, end, err := readCPU()
	if err != nil {
		return 0, err
	}
	return float64(after.cpus) - (after.unused-before.unused).Seconds()/end.Sub(start).Seconds(), nil
}

// cpuTimes is what /proc/stat says.
type cpuTimes struct {
	cpus int
	// unused is the time that all CPUs together idled, or that another
	// machine took from them.
	unused time.Duration
}

func readCPU() (cpuTimes, time.Time, error) {
	stat, err := os.ReadFile("/proc/stat")
	now := time.Now()
	if err != nil {
		return cpuTimes{}, now, fmt.Errorf("CPU time: %w", err)
	}
	t, err := parseCPU(stat)
	return t, now, err
}

// tick is the unit of /proc/stat, USER_HZ.
const tick = 10 * time.Millisecond

// The columns of a "cpu" line of /proc/stat that are no work, proc_stat(5).
const (
	columnIdle   = 4
	columnIOWait = 5
	columnSteal  = 8
)

// parseCPU reads /proc/stat: the line of all CPUs, which is rounded once, and
// how many there are.
func parseCPU(stat []byte) (cpuTimes, error) {
	var t cpuTimes
	for line := range bytes.Lines(stat) {
		f := bytes.Fields(line)
		switch {
		case len(f) == 0 || !bytes.HasPrefix(f[0], []byte("cpu")):
		case len(f[0]) > len("cpu"):
			t.cpus++
		case len(f) <= columnSteal:
			return cpuTimes{}, fmt.Errorf("CPU time: /proc/stat has %q", line)
		default:
			for _, column := range []int{columnIdle, columnIOWait, columnSteal} {
				n, err := strconv.ParseInt(string(f[column]), 10, 64)
				if err != nil {
					return cpuTimes{}, fmt.Errorf("CPU time: /proc/stat: %w", err)
				}
				t.unused += time.Duration(n) * tick
			}
		}
	}
	if t.cpus == 0 {
		return cpuTimes{}, errors.New("CPU time: /proc/stat has no CPU")
	}
	return t, nil
}
