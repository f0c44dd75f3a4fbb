package offload_test

import (
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"

	"github.com/ovlnet/ovl/datapath/userspace/offload"
)

// slow is RFC 1071, as it is written there.
func slow(b []byte, s uint64) uint16 {
	for len(b) > 1 {
		s += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) > 0 {
		s += uint64(b[0]) << 8
	}
	for s>>16 != 0 {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

func TestSumIsThatOfRFC1071(t *testing.T) {
	b := random(1, 1100)
	for from := range 9 {
		for n := range 1024 {
			if got, want := offload.Fold(offload.Sum(b[from:from+n], 0)), slow(b[from:from+n], 0); got != want {
				t.Fatalf("%d bytes from %d: %#x, want %#x", n, from, got, want)
			}
		}
	}
}

func TestSumCarries(t *testing.T) {
	for n := range 700 {
		b := make([]byte, n)
		for i := range b {
			b[i] = 0xff
		}
		for _, initial := range []uint64{0, 1, 0xffff, 1<<33 - 1, 1<<64 - 1} {
			if got, want := offload.Fold(offload.Sum(b, initial)), offload.Fold(initial); n%2 == 0 && initial != 0 && got != want {
				t.Fatalf("%d bytes of ones to %#x: %#x, want %#x", n, initial, got, want)
			}
			if s := offload.Sum(b, initial); s >= 1<<33 {
				t.Fatalf("%d bytes of ones to %#x: %#x leaves no room", n, initial, s)
			}
		}
	}
}

func TestSumOfPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 0, 600).Draw(t, "bytes")
		at := rapid.IntRange(0, len(b)/2).Draw(t, "at") * 2
		got := offload.Fold(offload.Sum(b[at:], offload.Sum(b[:at], 0)))
		if want := slow(b, 0); got != want {
			t.Fatalf("%#x, want %#x", got, want)
		}
	})
}

func TestFoldNeedsEveryRound(t *testing.T) {
	for _, s := range []uint64{0, 1, 0xffff, 0x10000, 0x1fffe, 0xffffffff, 0x1ffffffff, 1<<64 - 1, 0xffff_ffff_0001_0000, 0xffff0000ffff} {
		var b [8]byte
		binary.NativeEndian.PutUint64(b[:], s)
		if got, want := offload.Fold(s), slow(b[:], 0); got != want {
			t.Errorf("%#x: %#x, want %#x", s, got, want)
		}
	}
}

func TestPseudoHeaders(t *testing.T) {
	for _, p := range shapes() {
		frame := p.build(t)
		start, offset := p.transport()
		n := len(frame) - start
		var s uint64
		switch {
		case p.v6 && p.udp:
			s = offload.Pseudo6(frame[14+4*p.tags:], 17, n)
		case p.v6:
			s = offload.Pseudo6(frame[14+4*p.tags:], 6, n)
		case p.udp:
			s = offload.Pseudo4(frame[14+4*p.tags:], 17, n)
		default:
			s = offload.Pseudo4(frame[14+4*p.tags:], 6, n)
		}
		want := binary.BigEndian.Uint16(p.unfinish(frame)[start+offset:])
		if got := offload.Fold(s); got != want {
			t.Errorf("%v: %#x, want %#x", p, got, want)
		}
	}
}
