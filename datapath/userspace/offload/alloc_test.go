package offload_test

import (
	"testing"

	"github.com/ovlnet/ovl/datapath/userspace/offload"
)

// What is done for each packet takes no memory, once the Cutter has its own.
func TestNothingAllocates(t *testing.T) {
	for _, p := range []packet{
		{flags: "A", options: true, payload: random(1, 60000)},
		{v6: true, flags: "A", options: true, payload: random(1, 60000)},
		{udp: true, payload: random(1, 60000)},
	} {
		gso := offload.Frame{Header: p.header(1398), Data: p.unfinish(p.build(t))}
		bad := gso
		bad.GSOSize = 0
		whole := offload.Frame{Header: p.header(0), Data: p.unfinish(p.build(t))}
		frames := p.segments(t, 1398)
		var c offload.Cutter
		r := offload.Run{MTU: 1450, UDP: true}
		for name, f := range map[string]func(){
			"cut":      func() { _ = c.Cut(prefix, gso) },
			"refuse":   func() { _ = c.Cut(prefix, bad) },
			"whole":    func() { _ = c.Cut(prefix, whole) },
			"complete": func() { _ = offload.Complete(whole) },
			"measure":  func() { offload.Measure(gso); offload.SegmentLen(gso) },
			"run": func() {
				for _, frame := range frames {
					r.Add(frame)
				}
				r.Frame()
				r.Reset()
			},
		} {
			if n := testing.AllocsPerRun(10, f); n != 0 {
				t.Errorf("%v: %s allocates %v times", p, name, n)
			}
		}
	}
}
