package tap

import (
	"bytes"
	"testing"
	"unsafe"

	"github.com/ovlnet/ovl/datapath/userspace/offload"
)

func TestBatchHolds(t *testing.T) {
	for _, c := range []struct{ size, want int }{
		{offload.MaxFrame, 3}, {2048, maxFrames}, {14, maxFrames}, {30000, 5},
	} {
		b := NewBatch()
		want := offload.Header{Flags: 1, GSOType: 4, HdrLen: 66, GSOSize: 1400, CsumStart: 34, CsumOffset: 16}
		for b.Room() {
			data := frame(c.size, byte(len(b.Frames())))
			if !b.Append(want, data[:10], data[10:]) {
				t.Fatalf("no room for frame %d, as was said", len(b.Frames()))
			}
			want.GSOSize++
		}
		if n := len(b.Frames()); n != c.want {
			t.Errorf("%d frames of %d bytes, want %d", n, c.size, c.want)
		}
		if b.Append(want, nil) {
			t.Error("one more than there is room for")
		}
		want.GSOSize = 1400
		for i, f := range b.Frames() {
			if f.Header != want || !bytes.Equal(f.Data, frame(c.size, byte(i))) {
				t.Fatalf("frame %d of %d bytes: %+v", i, c.size, f.Header)
			}
			want.GSOSize++
			if at := uintptr(unsafe.Pointer(&f.Data[0])); (at-uintptr(unsafe.Pointer(&b.arena[0])))%align != offload.HeaderLen {
				t.Errorf("frame %d of %d bytes is not aligned", i, c.size)
			}
		}
		b.Reset()
		if len(b.Frames()) != 0 || !b.Room() {
			t.Error("not empty after Reset")
		}
	}
	b := NewBatch()
	if b.Append(offload.Header{}, make([]byte, offload.MaxFrame), []byte{1}) || len(b.Frames()) != 0 {
		t.Error("a frame longer than any is taken")
	}
}

// The layout that the kernel has, struct virtio_net_hdr, in the host's order.
func TestHeaderLayout(t *testing.T) {
	h := offload.Header{Flags: 1, GSOType: 2, HdrLen: 0x0304, GSOSize: 0x0506, CsumStart: 0x0708, CsumOffset: 0x090a}
	want := struct {
		flags, gsoType                         uint8
		hdrLen, gsoSize, csumStart, csumOffset uint16
	}{1, 2, 0x0304, 0x0506, 0x0708, 0x090a}
	var b [offload.HeaderLen]byte
	encode(&b, h)
	if b != *(*[offload.HeaderLen]byte)(unsafe.Pointer(&want)) {
		t.Errorf("% x", b)
	}
	if got := decode(&b); got != h {
		t.Errorf("%+v", got)
	}
}
