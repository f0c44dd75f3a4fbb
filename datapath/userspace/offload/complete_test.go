package offload_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/ovlnet/ovl/datapath/userspace/offload"
)

// shapes are packets of every kind, with payload of an odd length.
func shapes() []packet {
	var all []packet
	for i := range 32 {
		all = append(all, packet{
			v6: i&1 != 0, udp: i&2 != 0, tags: i >> 2 % 3, extension: i&16 != 0,
			id: 100, seq: 0xffffff00, ack: 9, flags: "PA", options: true, payload: random(uint64(i), 501),
		})
	}
	return all
}

func TestHeaderIsVirtio(t *testing.T) {
	b := make([]byte, offload.HeaderLen)
	b[0], b[1] = offload.NeedsCsum, offload.GSOTCPv6
	for i, v := range []uint16{74, 1380, 54, 16} {
		binary.NativeEndian.PutUint16(b[2+2*i:], v)
	}
	var h offload.Header
	h.Decode(b)
	want := offload.Header{
		Flags: offload.NeedsCsum, GSOType: offload.GSOTCPv6, HdrLen: 74, GSOSize: 1380, CsumStart: 54, CsumOffset: 16,
	}
	if h != want {
		t.Errorf("%+v, want %+v", h, want)
	}
	again := make([]byte, offload.HeaderLen)
	h.Encode(again)
	if !bytes.Equal(again, b) {
		t.Errorf("% x, want % x", again, b)
	}
}

func TestCompleteIsWhatGopacketComputes(t *testing.T) {
	for _, p := range shapes() {
		want := p.build(t)
		got := p.unfinish(clone(want))
		if err := offload.Complete(offload.Frame{Header: p.header(0), Data: got}); err != nil {
			t.Errorf("%v: %v", p, err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%v: another frame", p)
		}
	}
}

func TestCompleteLeavesAloneWhatIsNotAsked(t *testing.T) {
	p := packet{flags: "A", payload: []byte("x")}
	frame := p.unfinish(p.build(t))
	want := clone(frame)
	h := p.header(0)
	h.Flags = offload.DataValid
	if err := offload.Complete(offload.Frame{Header: h, Data: frame}); err != nil || !bytes.Equal(frame, want) {
		t.Errorf("%v, changed %v", err, !bytes.Equal(frame, want))
	}
}

// The payload that makes a checksum come out as 0.
func zeroing(t *testing.T, p packet) packet {
	t.Helper()
	p.payload = make([]byte, 2)
	frame := p.build(t)
	start, offset := p.transport()
	copy(p.payload, frame[start+offset:])
	return p
}

func TestCompleteWritesNoZeroForUDP(t *testing.T) {
	for _, udp := range []bool{false, true} {
		p := zeroing(t, packet{udp: udp, flags: "A"})
		frame := p.unfinish(p.build(t))
		if err := offload.Complete(offload.Frame{Header: p.header(0), Data: frame}); err != nil {
			t.Fatal(err)
		}
		start, offset := p.transport()
		want := uint16(0)
		if udp {
			want = 0xffff
		}
		if got := binary.BigEndian.Uint16(frame[start+offset:]); got != want {
			t.Errorf("udp %v: %#x, want %#x", udp, got, want)
		}
	}
}

func TestCompleteRefusesOffsetsOutside(t *testing.T) {
	for _, c := range []struct {
		start, offset uint16
		length        int
		ok            bool
	}{
		{34, 16, 52, true},
		{34, 16, 51, false},
		{34, 65535, 100, false},
		{65535, 65535, 100, false},
		{100, 0, 100, false},
		{13, 2, 100, false},
		{14, 0, 16, true},
		{0, 0, 0, false},
	} {
		h := offload.Header{Flags: offload.NeedsCsum, CsumStart: c.start, CsumOffset: c.offset}
		err := offload.Complete(offload.Frame{Header: h, Data: make([]byte, c.length)})
		if (err == nil) != c.ok || err != nil && !errors.Is(err, offload.ErrMalformed) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
