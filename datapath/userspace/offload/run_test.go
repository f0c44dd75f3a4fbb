package offload_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/ovlnet/ovl/datapath/userspace/offload"
)

// add adds copies of frames and returns how many the run has taken.
func add(r *offload.Run, frames [][]byte) int {
	for i, f := range frames {
		if !r.Add(clone(f)) {
			return i
		}
	}
	return len(frames)
}

// train is a packet that was cut, as its frames arrive.
func train(tb testing.TB, p packet, size int, unfinished bool) [][]byte {
	tb.Helper()
	frames := p.segments(tb, size)
	if unfinished {
		for _, f := range frames {
			p.unfinish(f)
		}
	}
	return frames
}

func TestRunMerges(t *testing.T) {
	for i := range 64 {
		p := packet{
			v6: i&1 != 0, udp: i&2 != 0, options: i&4 != 0, noDF: i&8 != 0,
			id: 0xfffe, seq: 0xfffffff0, flags: "A", payload: random(uint64(i), 1000),
		}
		size := 300
		if i&16 != 0 {
			size = 250 // the last is as long as the others
		}
		unfinished := i&32 != 0
		for _, flags := range []string{"A", "PA", "FA", "FPA", "EA", "CA", "CEPA"} {
			p.flags = flags
			t.Run(fmt.Sprint(p.v6, p.udp, p.options, p.noDF, size, unfinished, flags), func(t *testing.T) {
				r := offload.Run{MTU: 1450, UDP: true}
				if n := add(&r, train(t, p, size, unfinished)); n != 4 {
					t.Fatalf("took %d of 4", n)
				}
				h, pieces := r.Frame()
				want := p.header(size)
				if flags[0] == 'C' && !p.udp {
					want.GSOType |= offload.GSOECN
				}
				if h != want {
					t.Errorf("%+v, want %+v", h, want)
				}
				if got, want := join(pieces), p.unfinish(p.build(t)); !bytes.Equal(got, want) {
					t.Errorf("\n% x, want\n% x", got, want)
				}
			})
		}
	}
}

// What Cutter makes of a merged frame is what was merged.
func TestRunAndCutAreInverse(t *testing.T) {
	var c offload.Cutter
	for _, v6 := range []bool{false, true} {
		var frames [][]byte
		p := packet{v6: v6, flags: "A", options: true}
		for i := range 48 {
			p.seq, p.id, p.payload = uint32(1398*i), uint16(i), random(uint64(i), 1398)
			frames = append(frames, p.build(t))
		}
		var r offload.Run
		if n := add(&r, frames); n != 46 {
			t.Fatalf("took %d: 65535 bytes hold 46", n)
		}
		h, pieces := r.Frame()
		equal(t, cut(t, &c, offload.Frame{Header: h, Data: join(pieces)}), frames[:46])
	}
}

func TestRunTakesNoMoreThan(t *testing.T) {
	for _, c := range []struct{ udp bool }{{false}, {true}} {
		p := packet{udp: c.udp, flags: "A", payload: make([]byte, 2000)}
		want := 128
		if c.udp {
			want = 64
		}
		r := offload.Run{UDP: true}
		if n := add(&r, p.segments(t, 10)); n != want {
			t.Errorf("%d, want %d", n, want)
		}
	}
}

func TestRunIsAPacketAtMost(t *testing.T) {
	// 40 bytes of headers and 5 times 13099 are 65535.
	for size, want := range map[int]int{13099: 5, 13100: 4} {
		var frames [][]byte
		for i := range 5 {
			frames = append(frames, packet{flags: "A", id: uint16(i), seq: uint32(size * i), payload: make([]byte, size)}.build(t))
		}
		var r offload.Run
		if n := add(&r, frames); n != want {
			t.Errorf("took %d of %d bytes, want %d", n, size, want)
		}
	}
}

// 0 and 0xffff are the same to a sum. Which of them it was, none could tell later.
func TestRunTakesOneZeroOnly(t *testing.T) {
	for _, c := range []struct {
		name string
		p    packet
		sum  uint16
		want int
	}{
		{"TCP", packet{flags: "A"}, 0, 2},
		{"TCP all ones", packet{flags: "A"}, 0xffff, 1},
		{"UDP all ones", packet{udp: true}, 0xffff, 2},
		{"UDP none", packet{udp: true}, 0, 1},
	} {
		p := zeroing(t, c.p)
		first, next := p.build(t), p
		start, offset := p.transport()
		binary.BigEndian.PutUint16(first[start+offset:], c.sum)
		next.id, next.seq = 1, 2
		second := next.build(t)
		if p.udp {
			binary.BigEndian.PutUint16(second[start+offset:], 0xffff)
		}
		r := offload.Run{UDP: true}
		if n := add(&r, [][]byte{first, second}); n != c.want {
			t.Errorf("%s: took %d", c.name, n)
		}
	}
	// The ID that makes an IPv4 header's checksum 0.
	p := packet{flags: "A", payload: random(1, 100)}
	p.id = binary.BigEndian.Uint16(p.build(t)[24:])
	next := p
	next.id, next.seq = p.id+1, 100
	for sum, want := range map[uint16]int{0: 2, 0xffff: 1} {
		first := p.build(t)
		if first[24] != 0 || first[25] != 0 {
			t.Fatalf("checksum % x", first[24:26])
		}
		binary.BigEndian.PutUint16(first[24:], sum)
		var r offload.Run
		if n := add(&r, [][]byte{first, next.build(t)}); n != want {
			t.Errorf("IPv4 %#x: took %d", sum, n)
		}
	}
}

func TestRunLetsGo(t *testing.T) {
	p := packet{flags: "A", payload: random(1, 600)}
	var r offload.Run
	add(&r, p.segments(t, 300))
	_, pieces := r.Frame()
	r.Reset()
	if pieces[0] != nil || pieces[1] != nil {
		t.Error("frames are still held")
	}
}
