package answer

import (
	"testing"

	"github.com/ovlnet/ovl/datapath"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
)

// calls are what the datapath does with frames of these kinds: each once.
func calls() map[string]func() bool {
	b, s := &Builder{}, sender()
	request := dt.ARPRequest(a4, b4.Addr)
	ask := dt.Solicit(a6, dt.SolicitedNode(b6.Addr), b6.Addr, dt.LinkOption(1, macA))
	nobody := dt.Solicit(nameless, dt.SolicitedNode(b6.Addr), b6.Addr)
	four, six := long4(mtu+1), long6(mtu+1)
	tagged := dt.Tagged(six, 0x8100, 9)
	extended := dt.Extend(dt.ICMP6(a6, b6), dt.Padding(protoHopByHop), dt.Padding(protoDstOpts))
	tcp4, tcp6 := dt.TCP(a4, b4, "hello"), dt.TCP(a6, b6, "hello")
	inspect := func(frame []byte) func() bool {
		return func() bool { _, reason := Inspect6(frame, s); return reason == 0 }
	}
	reply := func(build func() ([]byte, error)) func() bool {
		return func() bool { _, err := build(); return err == nil }
	}
	return map[string]func() bool{
		"ARPReply":         reply(func() ([]byte, error) { return b.ARPReply(request, macB) }),
		"Advertise":        reply(func() ([]byte, error) { return b.Advertise(ask, macB) }),
		"AdvertiseToAll":   reply(func() ([]byte, error) { return b.Advertise(nobody, macB) }),
		"TooBig4":          func() bool { _, ok := b.TooBig4(four, gateway4, mtu); return ok },
		"TooBig6":          func() bool { _, ok := b.TooBig6(six, gateway6, mtu); return ok },
		"TooBig6Tagged":    func() bool { _, ok := b.TooBig6(tagged, gateway6, mtu); return ok },
		"Reset4":           func() bool { _, ok := b.Reset(tcp4, 34); return ok },
		"Reset6":           func() bool { _, ok := b.Reset(tcp6, 54); return ok },
		"Unreachable4":     func() bool { _, ok := b.Unreachable4(four, PortUnreachable); return ok },
		"Unreachable6":     func() bool { _, ok := b.Unreachable6(six, PortUnreachable); return ok },
		"CheckARP":         func() bool { return CheckARP(request[14:], s) == 0 },
		"CheckNeighbour":   func() bool { return CheckNeighbour(ask, s) == 0 },
		"Inspect6":         inspect(ask),
		"Inspect6Extended": inspect(extended),
		"Malformed":        func() bool { return CheckNeighbour(six, s) == datapath.DropInnerMalformed },
	}
}

func TestNoAllocation(t *testing.T) {
	for name, call := range calls() {
		if !call() {
			t.Errorf("%s fails", name)
		}
		if n := testing.AllocsPerRun(100, func() { call() }); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

func BenchmarkAnswer(b *testing.B) {
	for name, call := range calls() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				call()
			}
		})
	}
}
