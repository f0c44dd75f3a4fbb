package forward

import (
	"slices"
	"testing"

	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/datapath/userspace/offload"
	"github.com/ovlnet/ovl/encap"
)

// works are what is done to a packet, each once. None may allocate.
func works(t testing.TB) map[string]func() {
	b := newBed(t)
	b.ways.keep = false
	small := []offload.Frame{{Data: dt.UDP4(hereA, there, "hello")}}
	local := []offload.Frame{{Data: dt.UDP4(hereA, hereB, "hello")}}
	large := []offload.Frame{largeTCP(hereA, there, 45*1410, 1410)}
	arp := []offload.Frame{{Data: dt.ARPRequest(hereA, there.Addr)}}
	request := slices.Clone(arp[0].Data)

	single := tunnelled(dt.UDP4(there, hereA, "hello"))
	var cutter offload.Cutter
	if err := cutter.Cut(tunnelled(nil), largeTCP(there, hereA, 45*1410, 1410)); err != nil {
		t.Fatal(err)
	}
	var train []byte
	size := 0
	for i := range cutter.Len() {
		head, payload := cutter.Segment(i)
		train = append(append(train, head...), payload...)
		if i == 0 {
			size = len(train)
		}
	}
	arrived := make([]byte, len(train))

	// Through VIPs: each frame is translated in place, and so begins anew.
	toVIP, toB, toSelf := dt.TCP(hereA, vipThere, "hello"), dt.TCP(hereA, vipB, "hello"), dt.TCP(hereA, vipA, "hello")
	vipFrame := []offload.Frame{{Data: slices.Clone(toVIP)}}
	send := func(frame []byte) {
		copy(vipFrame[0].Data, frame)
		b.out.Frames(b.table, b.a, vipFrame)
	}
	largeVIP := []offload.Frame{largeTCP(hereA, vipThere, 45*1410, 1410)}
	wholeVIP := slices.Clone(largeVIP[0].Data)
	send(toVIP)
	reply := withPorts(tunnelled(dt.TCP(there, hereA, "hello")), encap.HeaderLen, 2222, 1111)
	replied := make([]byte, len(reply))
	ping, refused := dt.ICMP4Echo(hereA, vipB, false), dt.TCP(hereA, vipEmpty, "hello")
	pinged := []offload.Frame{{Data: slices.Clone(ping)}}
	return map[string]func(){
		"forward":        func() { b.out.Frames(b.table, b.a, local) },
		"encapsulate":    func() { b.out.Frames(b.table, b.a, small) },
		"segment/64KiB":  func() { b.out.Frames(b.table, b.a, large) },
		"vip/out":        func() { send(toVIP) },
		"vip/local":      func() { send(toB) },
		"vip/self":       func() { send(toSelf) },
		"vip/refuse":     func() { send(refused) },
		"vip/echo":       func() { copy(pinged[0].Data, ping); b.out.Frames(b.table, b.a, pinged) },
		"vip/out/64KiB":  func() { copy(largeVIP[0].Data, wholeVIP); b.out.Frames(b.table, b.a, largeVIP) },
		"vip/in":         func() { copy(replied, reply); b.in.Packets(b.table, vtep, encap.NotECT, replied, 0); b.in.Flush() },
		"answer":         func() { copy(arp[0].Data, request); b.out.Frames(b.table, b.a, arp) },
		"decapsulate":    func() { b.in.Packets(b.table, vtep, encap.NotECT, single, 0); b.in.Flush() },
		"coalesce/64KiB": func() { copy(arrived, train); b.in.Packets(b.table, vtep, encap.NotECT, arrived, size); b.in.Flush() },
	}
}

// BenchmarkPacket is what one packet, or one of 64 KiB, costs without devices.
func BenchmarkPacket(b *testing.B) {
	for name, work := range works(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				work()
			}
		})
	}
}

// TestNoAllocation: a packet leaves nothing to the garbage collector.
func TestNoAllocation(t *testing.T) {
	for name, work := range works(t) {
		if n := testing.AllocsPerRun(100, work); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
