package offload_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/ovlnet/ovl/datapath/userspace/offload"
)

func FuzzHeader(f *testing.F) {
	f.Add(make([]byte, offload.HeaderLen))
	f.Add([]byte{1, 1, 54, 0, 0x76, 5, 34, 0, 16, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < offload.HeaderLen {
			return
		}
		var h offload.Header
		h.Decode(b)
		again := make([]byte, offload.HeaderLen)
		h.Encode(again)
		if !bytes.Equal(again, b[:offload.HeaderLen]) {
			t.Errorf("% x, was % x", again, b[:offload.HeaderLen])
		}
	})
}

// seeds are frames with the header that a device puts before them.
func seeds(f *testing.F) {
	for _, p := range shapes() {
		for _, size := range []int{0, 100} {
			h := p.header(size)
			b := make([]byte, offload.HeaderLen)
			h.Encode(b)
			f.Add(append(b, p.unfinish(p.build(f))...))
		}
	}
}

// split is the other way round.
func split(b []byte) (f offload.Frame, ok bool) {
	if len(b) < offload.HeaderLen {
		return f, false
	}
	f.Decode(b)
	f.Data = clone(b[offload.HeaderLen:])
	return f, true
}

func FuzzComplete(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		f, ok := split(b)
		if !ok {
			return
		}
		before := clone(f.Data)
		err := offload.Complete(f)
		if err != nil && !errors.Is(err, offload.ErrMalformed) {
			t.Fatal(err)
		}
		start, at := int(f.CsumStart), int(f.CsumStart)+int(f.CsumOffset)
		if err != nil || f.Flags&offload.NeedsCsum == 0 {
			if !bytes.Equal(f.Data, before) {
				t.Fatal("changed")
			}
			return
		}
		want := ^slow(before[start:], 0)
		if want == 0 && f.CsumOffset == 6 {
			want = 0xffff
		}
		if got := binary.BigEndian.Uint16(f.Data[at:]); got != want {
			t.Fatalf("%#x, want %#x", got, want)
		}
		copy(f.Data[at:], before[at:at+2])
		if !bytes.Equal(f.Data, before) {
			t.Fatal("changed more than the checksum")
		}
	})
}

// FuzzCut holds segments against what Measure says of them, and against the frame.
func FuzzCut(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		f, ok := split(b)
		if !ok {
			return
		}
		packets, total := offload.Measure(f)
		longest := offload.SegmentLen(f)
		var c offload.Cutter
		if err := c.Cut(prefix, f); err != nil {
			if !errors.Is(err, offload.ErrMalformed) || c.Len() != 0 {
				t.Fatal(err, c.Len())
			}
			return
		}
		var payloads []byte
		var n, largest int
		for i := range c.Len() {
			head, payload := c.Segment(i)
			if !bytes.HasPrefix(head, prefix) {
				t.Fatalf("segment begins with % x", head)
			}
			frame := append(clone(head[len(prefix):]), payload...)
			n += len(frame)
			largest = max(largest, len(frame)-14)
			payloads = append(payloads, payload...)
			if f.GSOType != offload.GSONone {
				alone(t, f, frame)
			}
		}
		if !bytes.HasSuffix(f.Data, payloads) {
			t.Fatal("payload of segments is not that of the frame")
		}
		if int(packets) != c.Len() || int(total) != n || longest != largest {
			t.Fatalf("%d segments of %d bytes, largest %d; Measure said %d of %d, largest %d",
				c.Len(), n, largest, packets, total, longest)
		}
	})
}

// alone checks that a segment is one that needs nothing done: a run finds its IP and
// transport lengths right, and its checksum finished.
func alone(t *testing.T, f offload.Frame, segment []byte) {
	t.Helper()
	r := offload.Run{UDP: true}
	r.Add(segment)
	h, _ := r.Frame()
	if h.GSOSize != 0 {
		t.Fatalf("a segment is to be cut: %+v", h)
	}
	if h == (offload.Header{}) {
		return
	}
	// One in 65536 is the same finished and unfinished.
	again := clone(segment)
	if err := offload.Complete(offload.Frame{Header: h, Data: again}); err != nil || !bytes.Equal(again, segment) {
		if f.Flags&offload.NeedsCsum != 0 && segment[14] != 0x45 {
			return // the sender's own pseudo-header, which need not be ours
		}
		t.Fatalf("checksum of a segment is unfinished: %v", err)
	}
}

// FuzzRun takes frames, each behind its length in two bytes.
func FuzzRun(f *testing.F) {
	frames := func(list ...[]byte) (b []byte) {
		for _, frame := range list {
			b = binary.BigEndian.AppendUint16(b, uint16(len(frame)))
			b = append(b, frame...)
		}
		return b
	}
	for _, p := range shapes() {
		p.flags, p.payload = "A", p.payload[:90]
		whole := p.segments(f, 30)
		f.Add(frames(whole...), uint16(1450))
		f.Add(frames(whole...), uint16(70))
		for _, frame := range whole {
			p.unfinish(frame)
		}
		f.Add(frames(whole...), uint16(1450))
		f.Add(frames(whole...), uint16(90))
	}
	f.Fuzz(func(t *testing.T, b []byte, mtu uint16) {
		var list [][]byte
		for len(b) >= 2 {
			n := min(int(binary.BigEndian.Uint16(b)), len(b)-2)
			list = append(list, b[2:2+n])
			b = b[2+n:]
		}
		if len(list) > 0 {
			same(t, &offload.Run{UDP: true, MTU: int(mtu)}, list)
		}
	})
}
