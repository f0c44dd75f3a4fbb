package offload_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/ovlnet/ovl/datapath/userspace/offload"
)

func TestRunLeavesWrongChecksums(t *testing.T) {
	for _, p := range []packet{
		{flags: "A", payload: random(1, 900)},
		{v6: true, flags: "A", payload: random(1, 900)},
		{udp: true, payload: random(1, 900)},
	} {
		start, offset := p.transport()
		damage := map[string]func(f []byte){
			"payload":  func(f []byte) { f[len(f)-1] ^= 1 },
			"checksum": func(f []byte) { f[start+offset] ^= 1 },
			"none":     func(f []byte) { f[start+offset], f[start+offset+1] = 0, 0 },
		}
		if !p.v6 {
			damage["IPv4 header"] = func(f []byte) { f[24] ^= 1 }
		}
		for name, damage := range damage {
			r := offload.Run{UDP: true, MTU: 1450}
			for which := range 3 {
				r.Reset()
				if n := add(&r, p.segments(t, 300)); n != 3 {
					t.Errorf("%v: took %d", p, n)
				}
				frames := p.segments(t, 300)
				damage(frames[which])
				r.Reset()
				want := max(1, which) // merged with none before it, and none after
				if n := add(&r, frames); n != want {
					t.Errorf("%v: %s of %d: took %d", p, name, which, n)
				}
				r.Reset()
				r.Add(clone(frames[which]))
				h, pieces := r.Frame()
				if h != (offload.Header{}) || !bytes.Equal(join(pieces), frames[which]) {
					t.Errorf("%v: %s: mended: %+v", p, name, h)
				}
			}
		}
		// Finished and unfinished do not mix.
		for _, which := range []int{0, 1} {
			frames := p.segments(t, 300)
			p.unfinish(frames[which])
			r := offload.Run{UDP: true}
			if n := add(&r, frames); n != 1 {
				t.Errorf("%v: unfinished and finished: took %d", p, n)
			}
		}
	}
}

func TestRunAlone(t *testing.T) {
	for _, p := range shapes() {
		p.flags = "PA"
		for _, unfinished := range []bool{false, true} {
			r := offload.Run{MTU: 1450, UDP: true}
			frame, want := p.build(t), offload.Header{}
			if unfinished {
				p.unfinish(frame)
				want = p.header(0)
			}
			r.Add(clone(frame))
			h, pieces := r.Frame()
			if h != want || !bytes.Equal(join(pieces), frame) {
				t.Errorf("%v unfinished=%v: %+v, want %+v", p, unfinished, h, want)
			}
		}
	}
	for name, frame := range map[string][]byte{
		"ARP":   random(1, 42),
		"empty": {},
		"short": {1, 2, 3},
	} {
		var r offload.Run
		if !r.Empty() {
			t.Error("not empty")
		}
		r.Add(clone(frame))
		if h, pieces := r.Frame(); r.Empty() || h != (offload.Header{}) || !bytes.Equal(join(pieces), frame) {
			t.Errorf("%s: %+v", name, h)
		}
		r.Reset()
		if h, pieces := r.Frame(); !r.Empty() || h != (offload.Header{}) || len(pieces) != 0 {
			t.Errorf("%s: not empty after Reset", name)
		}
	}
}

// What a peer without a wire below its tunnel hands over in one datagram.
func TestRunTooLong(t *testing.T) {
	for _, p := range shapes() {
		p.payload = random(3, 20001)
		headers := p.headers() - 14
		for _, c := range []struct {
			state string
			mtu   int
			cut   bool
		}{
			{"unfinished", 1450, true},
			{"finished", 1450, true},
			{"wrong", 1450, false},
			{"unfinished", headers + 20001, false},
			{"unfinished", headers + 20000, true},
			{"unfinished", headers, false},
			{"unfinished", 0, false},
			{"finished", 0, false},
		} {
			frame := p.build(t)
			want, data := offload.Header{}, p.unfinish(clone(frame))
			switch c.state {
			case "unfinished":
				p.unfinish(frame)
				want = p.header(0)
			case "wrong":
				frame[len(frame)-1] ^= 1
			}
			if c.cut {
				want = p.header(c.mtu - headers)
			} else {
				data = clone(frame)
			}
			r := offload.Run{MTU: c.mtu}
			r.Add(frame)
			h, pieces := r.Frame()
			if h != want || !bytes.Equal(join(pieces), data) {
				t.Errorf("%v %+v: %+v, want %+v", p, c, h, want)
			}
			if c.cut {
				if n := offload.SegmentLen(offload.Frame{Header: h, Data: join(pieces)}); n > c.mtu {
					t.Errorf("%v: segments of %d", p, n)
				}
			}
		}
	}
}

func TestRunTooLongDoesNotMerge(t *testing.T) {
	p := packet{flags: "A", payload: random(1, 3000)}
	r := offload.Run{MTU: 1000}
	if n := add(&r, p.segments(t, 1500)); n != 1 {
		t.Errorf("took %d", n)
	}
	// Padding is no part of the packet.
	short := packet{flags: "A", payload: random(1, 900)}
	r.Reset()
	r.Add(append(short.unfinish(short.build(t)), make([]byte, 100)...))
	if h, _ := r.Frame(); h != short.header(0) {
		t.Errorf("padding is to be cut: %+v", h)
	}
}

// Frames whose lengths contradict each other are nobody's to finish.
func TestRunOfLengthsThatLie(t *testing.T) {
	p := packet{udp: true, payload: random(1, 100)}
	lie := func(total, udp, length int) []byte {
		frame := p.build(t)
		binary.BigEndian.PutUint16(frame[16:], uint16(total))
		binary.BigEndian.PutUint16(frame[38:], uint16(udp))
		sum := offload.Fold(offload.Pseudo4(frame[14:], 17, length))
		binary.BigEndian.PutUint16(frame[40:], sum)
		return frame
	}
	for name, c := range map[string]struct {
		frame []byte
		none  bool
	}{
		"true":              {lie(128, 108, 108), false},
		"shorter":           {lie(127, 107, 107), false},
		"longer than frame": {lie(129, 109, 109), true},
		"within headers":    {lie(27, 7, 7), true},
		"UDP shorter":       {lie(128, 107, 108), true},
		"UDP longer":        {lie(128, 109, 108), true},
	} {
		var r offload.Run
		r.Add(clone(c.frame))
		h, pieces := r.Frame()
		if (h == offload.Header{}) != c.none || !bytes.Equal(join(pieces), c.frame) {
			t.Errorf("%s: %+v", name, h)
		}
	}
}
