package udp

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMTUOfLoopback(t *testing.T) {
	onLoopbacks(t, 1, func(t *testing.T, _ *Tunnel, self *Path) {
		if mtu, err := self.MTU(); mtu != 65535 || err != nil {
			t.Errorf("%d, %v", mtu, err)
		}
	})
}

// TestMTUIsKept, for 10 ms and no longer, an error too.
func TestMTUIsKept(t *testing.T) {
	now, asked := time.Hour, 0
	answer, wrong := 1500, error(nil)
	p := NewPath(loopbacks[0], func() (int, error) { asked++; return answer, wrong })
	p.now = func() time.Duration { return now }
	for _, step := range []struct {
		later   time.Duration
		changes int
		err     error
		want    int
		wantErr error
		asked   int
	}{
		{0, 1500, nil, 1500, nil, 1},
		{mtuLifetime - 1, 1300, nil, 1500, nil, 1},
		{1, 1300, nil, 1300, nil, 2},
		{mtuLifetime, 0, unix.ENETUNREACH, 0, unix.ENETUNREACH, 3},
		{mtuLifetime - 1, 1500, nil, 0, unix.ENETUNREACH, 3},
		{1, 1500, nil, 1500, nil, 4},
	} {
		now += step.later
		answer, wrong = step.changes, step.err
		if mtu, err := p.MTU(); mtu != step.want || !errors.Is(err, step.wantErr) || asked != step.asked {
			t.Errorf("%+v: %d, %v, asked %d times", step, mtu, err, asked)
		}
	}
}
