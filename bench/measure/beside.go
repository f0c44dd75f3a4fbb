package measure

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// ramp is how long a stream takes from its connection to its full rate.
	ramp = 100 * time.Millisecond
	// margin is how long before the stream's end looking ends, at the latest.
	margin = 200 * time.Millisecond
)

// beside looks while one TCP stream of bitrate, in bit/s, flows from the
// client to the server, and returns what the receiver of it got, in bit/s. The
// stream lasts whole seconds, so look may have more time than the d that is
// asked for.
func beside(ctx context.Context, p Pair, bitrate int, d time.Duration, look func(context.Context, time.Duration) error) (float64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	total := (ramp + d + margin + time.Second - 1).Truncate(time.Second)
	var rate float64
	var streamErr error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		rate, streamErr = iperf{streams: 1, bitrate: bitrate, seconds: int(total.Seconds())}.run(ctx, p)
		if streamErr != nil {
			cancel() // there is nothing to look at
		}
	}()
	err := waitSocket(ctx, p.Server, "tcp", "established", iperfPort)
	if err == nil {
		err = Sleep(ctx, ramp)
	}
	if err == nil {
		err = look(ctx, total-ramp-margin)
	}
	select {
	case <-ended:
		if err == nil && streamErr == nil {
			err = fmt.Errorf("the stream ended before the look at it did: %w", ErrDisturbed)
		}
	default:
	}
	if err != nil {
		cancel()
	}
	<-ended
	if err := errors.Join(err, streamErr); err != nil {
		return 0, err
	}
	return rate, nil
}
