package offload_test

import (
	"fmt"
	"testing"

	"github.com/ovlnet/ovl/datapath/userspace/offload"
)

// bulk is what a TCP write of 64 KiB comes as, and the segments it goes as.
func bulk(v6 bool) packet {
	return packet{v6: v6, flags: "A", options: true, payload: random(1, 45*1398)}
}

func BenchmarkSum(b *testing.B) {
	for _, n := range []int{20, 64, 1398, 65535} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			data := random(1, n)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				offload.Sum(data, 1)
			}
		})
	}
}

func BenchmarkComplete(b *testing.B) {
	p := packet{flags: "A", options: true, payload: random(1, 1398)}
	f := offload.Frame{Header: p.header(0), Data: p.build(b)}
	b.SetBytes(int64(len(f.Data)))
	b.ReportAllocs()
	for b.Loop() {
		if err := offload.Complete(f); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCut(b *testing.B) {
	for _, p := range []packet{bulk(false), bulk(true), {udp: true, payload: random(1, 45*1398)}} {
		b.Run(fmt.Sprintf("v6=%v/udp=%v", p.v6, p.udp), func(b *testing.B) {
			var c offload.Cutter
			f := offload.Frame{Header: p.header(1398), Data: p.unfinish(p.build(b))}
			b.SetBytes(int64(len(f.Data)))
			b.ReportAllocs()
			for b.Loop() {
				if err := c.Cut(prefix, f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRun merges 45 segments, as they come off the wire and as a neighbour
// without one leaves them; and takes single acknowledgements.
func BenchmarkRun(b *testing.B) {
	merge := func(b *testing.B, frames [][]byte) {
		r := offload.Run{MTU: 1500}
		first := clone(frames[0])
		b.SetBytes(int64(len(join(frames))))
		b.ReportAllocs()
		for b.Loop() {
			copy(frames[0], first[:100]) // as it was: Frame has changed it
			for _, f := range frames {
				if !r.Add(f) {
					b.Fatal("refused")
				}
			}
			r.Frame()
			r.Reset()
		}
	}
	for _, v6 := range []bool{false, true} {
		for _, unfinished := range []bool{false, true} {
			b.Run(fmt.Sprintf("v6=%v/unfinished=%v", v6, unfinished), func(b *testing.B) {
				merge(b, train(b, bulk(v6), 1398, unfinished))
			})
		}
	}
	b.Run("alone", func(b *testing.B) {
		p := packet{flags: "A", options: true, payload: make([]byte, 34)}
		merge(b, [][]byte{p.build(b)})
	})
}

func BenchmarkMeasure(b *testing.B) {
	p := bulk(false)
	f := offload.Frame{Header: p.header(1398), Data: p.build(b)}
	b.ReportAllocs()
	for b.Loop() {
		offload.Measure(f)
	}
}
