package store

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Clock is a hybrid logical clock: milliseconds since 1970 in the upper 48
// bits, a counter in the lower 16 that orders what happens within one. A full
// counter carries into the milliseconds. As text, and so in JSON, it is 16
// hexadecimal digits, which sort as the clocks do.
type Clock uint64

const (
	counterBits = 16
	// maxClock (in the year 4199) leaves room above every clock that a peer
	// can send, so that one that counts on from it does not wrap around.
	maxClock Clock = 1<<62 - 1
)

var errClockExhausted = errors.New("logical clock has no values left")

// clockAt returns the first clock of the millisecond that t is in.
func clockAt(t time.Time) Clock {
	ms := t.UnixMilli()
	if ms < 0 {
		return 0
	}
	return min(Clock(ms)<<counterBits, maxClock)
}

// Time returns the clock's wall time, to the millisecond.
func (c Clock) Time() time.Time { return time.UnixMilli(int64(c >> counterBits)) }

// String returns the clock as 16 hexadecimal digits.
func (c Clock) String() string { return fmt.Sprintf("%016x", uint64(c)) }

// MarshalText writes the form that String returns.
func (c Clock) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads the form that String returns, and no other.
func (c *Clock) UnmarshalText(b []byte) error {
	n, err := strconv.ParseUint(string(b), 16, 64)
	if err != nil || Clock(n).String() != string(b) {
		return fmt.Errorf("%q is not a clock of 16 hexadecimal digits", clip(string(b)))
	}
	*c = Clock(n)
	return nil
}

// tick returns the clock of a local write: later than last and than the row
// that it replaces, and not before now.
func tick(last, replaced Clock, now time.Time) (Clock, error) {
	c := max(last+1, replaced+1, clockAt(now))
	if c > maxClock {
		return 0, errClockExhausted
	}
	return c, nil
}
