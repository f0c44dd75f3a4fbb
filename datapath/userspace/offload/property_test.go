package offload_test

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/ovlnet/ovl/datapath/userspace/offload"
)

// TestStreams sends what connections say through cutter, run, and cutter again: on
// the wire there are the same frames both times.
func TestStreams(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var frames [][]byte
		seq, id := rapid.Uint32().Draw(rt, "seq"), rapid.Uint16().Draw(rt, "id")
		p := packet{v6: rapid.Bool().Draw(rt, "v6"), udp: rapid.Bool().Draw(rt, "udp"), options: rapid.Bool().Draw(rt, "options")}
		var c offload.Cutter
		for range rapid.IntRange(1, 6).Draw(rt, "writes") {
			p.seq, p.id = seq, id
			p.flags = rapid.SampledFrom([]string{"A", "PA", "FA", "CA", "EA", "SA", "UPA"}).Draw(rt, "flags")
			p.port = rapid.SampledFrom([]uint16{0, 0, 0, 1}).Draw(rt, "port")
			p.payload = rapid.SliceOfN(rapid.Byte(), 0, 600).Draw(rt, "payload")
			size := rapid.IntRange(20, 300).Draw(rt, "size")
			cutFrames := cut(t, &c, offload.Frame{Header: p.header(size), Data: p.unfinish(p.build(t))})
			if rapid.Bool().Draw(rt, "unfinished") {
				for _, f := range cutFrames {
					p.unfinish(f)
				}
			} else if rapid.IntRange(0, 5).Draw(rt, "damage") == 0 {
				f := cutFrames[len(cutFrames)/2]
				f[rapid.IntRange(0, len(f)-1).Draw(rt, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
			}
			frames = append(frames, cutFrames...)
			seq += uint32(len(p.payload))
			id += uint16(len(cutFrames))
		}
		same(t, &offload.Run{UDP: true, MTU: 1450}, frames)
	})
}

// same holds what comes out of runs, cut again, against what goes in. (With DF an
// ID means nothing, and those that are all the same come out counted.)
func same(tb testing.TB, r *offload.Run, frames [][]byte) {
	tb.Helper()
	var c offload.Cutter
	var in [][]byte
	flush := func() {
		h, pieces := r.Frame()
		if again, _ := r.Frame(); again != h {
			tb.Fatalf("another header the second time: %+v, %+v", again, h)
		}
		data := join(pieces)
		if h == (offload.Header{}) {
			equal(tb, [][]byte{data}, in)
			return
		}
		if h.GSOSize == 0 && !bytes.Equal(data, in[0]) {
			tb.Fatalf("changed a frame that stayed alone: % x, was % x", data, in[0])
		}
		out := cut(tb, &c, offload.Frame{Header: h, Data: data})
		if h.GSOSize != 0 && len(in) == 1 {
			return // one that came longer than it may leave
		}
		for i, f := range in {
			finish(tb, f)
			if i > 0 && f[12] == 8 && f[13] == 0 && f[20]&0x40 != 0 {
				in[i], out[i] = noID(f), noID(out[i])
			}
		}
		equal(tb, out, in)
	}
	for _, f := range frames {
		if !r.Add(clone(f)) {
			flush()
			r.Reset()
			in = nil
			if !r.Add(clone(f)) {
				tb.Fatal("an empty run refuses a frame")
			}
		}
		in = append(in, clone(f))
	}
	flush()
	r.Reset()
}

// finish makes the checksum that a frame leaves open, if it does.
func finish(tb testing.TB, frame []byte) {
	tb.Helper()
	var r offload.Run
	r.Add(frame)
	h, _ := r.Frame()
	if err := offload.Complete(offload.Frame{Header: h, Data: frame}); err != nil {
		tb.Fatal(err)
	}
}

func noID(frame []byte) []byte {
	frame = clone(frame)
	copy(frame[18:], []byte{0, 0})
	copy(frame[24:], []byte{0, 0})
	return frame
}
