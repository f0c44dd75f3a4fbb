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
	return map[string]func(){
		"forward":        func() { b.out.Frames(b.table, b.a, local) },
		"encapsulate":    func() { b.out.Frames(b.table, b.a, small) },
		"segment/64KiB":  func() { b.out.Frames(b.table, b.a, large) },
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
