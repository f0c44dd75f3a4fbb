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

// edit changes a frame's bytes and makes its checksums right again.
func edit(p packet, frame []byte, change func(ip, transport []byte)) []byte {
	frame = clone(frame)
	start, offset := p.transport()
	ip, transport := frame[14:start], frame[start:]
	change(ip, transport)
	if !p.v6 {
		ip[10], ip[11] = 0, 0
		binary.BigEndian.PutUint16(ip[10:], ^slow(ip, 0))
	}
	p.unfinish(frame)
	binary.BigEndian.PutUint16(transport[offset:], ^slow(transport, 0))
	return frame
}

func TestRunRefuses(t *testing.T) {
	tcp4 := packet{flags: "A", seq: 1, ack: 1, id: 5, options: true, payload: random(1, 900)}
	tcp6, udp4 := tcp4, tcp4
	tcp6.v6, udp4.udp = true, true
	type change = func(ip, transport []byte)
	byteOf := func(inIP bool, at int, xor byte) change {
		return func(ip, transport []byte) {
			if inIP {
				ip[at] ^= xor
			} else {
				transport[at] ^= xor
			}
		}
	}
	for _, c := range []struct {
		name string
		p    packet
		edit change
	}{
		{"DSCP", tcp4, byteOf(true, 1, 4)},
		{"ECN", tcp4, byteOf(true, 1, 1)},
		{"TTL", tcp4, byteOf(true, 8, 1)},
		{"ID", tcp4, byteOf(true, 4, 1)},
		{"DF", tcp4, byteOf(true, 6, 0x40)},
		{"more fragments", tcp4, byteOf(true, 6, 0x20)},
		{"offset", tcp4, byteOf(true, 7, 1)},
		{"total length", tcp4, byteOf(true, 3, 1)},
		{"source", tcp4, byteOf(true, 15, 1)},
		{"destination", tcp4, byteOf(true, 19, 1)},
		{"source port", tcp4, byteOf(false, 1, 1)},
		{"destination port", tcp4, byteOf(false, 3, 1)},
		{"sequence", tcp4, byteOf(false, 7, 1)},
		{"acknowledgement", tcp4, byteOf(false, 11, 1)},
		{"reserved bits", tcp4, byteOf(false, 12, 1)},
		{"header length", tcp4, byteOf(false, 12, 0x10)},
		{"SYN", tcp4, byteOf(false, 13, 2)},
		{"RST", tcp4, byteOf(false, 13, 4)},
		{"ACK", tcp4, byteOf(false, 13, 0x10)},
		{"URG", tcp4, byteOf(false, 13, 0x20)},
		{"ECE", tcp4, byteOf(false, 13, 0x40)},
		{"CWR", tcp4, byteOf(false, 13, 0x80)},
		{"window", tcp4, byteOf(false, 15, 1)},
		{"urgent pointer", tcp4, byteOf(false, 19, 1)},
		{"timestamps", tcp4, byteOf(false, 28, 1)},
		{"traffic class", tcp6, byteOf(true, 1, 0x10)},
		{"flow label", tcp6, byteOf(true, 3, 1)},
		{"next header", tcp6, byteOf(true, 6, 1)},
		{"hop limit", tcp6, byteOf(true, 7, 1)},
		{"payload length", tcp6, byteOf(true, 5, 1)},
		{"source 6", tcp6, byteOf(true, 8, 1)},
		{"source 6 end", tcp6, byteOf(true, 23, 1)},
		{"destination 6", tcp6, byteOf(true, 24, 1)},
		{"destination 6 end", tcp6, byteOf(true, 39, 1)},
		// Changes that add nothing to sums.
		{"source words", tcp4, func(ip, _ []byte) { ip[13]++; ip[15]-- }},
		{"destination words", tcp4, func(ip, _ []byte) { ip[17]++; ip[19]-- }},
		{"source 6 words", tcp6, func(ip, _ []byte) { ip[9]++; ip[23]-- }},
		{"source 6 first words", tcp6, func(ip, _ []byte) { copy(ip[8:], []byte{0xfc, 0xff, 0, 1}) }},
		{"destination 6 first words", tcp6, func(ip, _ []byte) { copy(ip[24:], []byte{0xfc, 0xff, 0, 1}) }},
		{"destination 6 last words", tcp6, func(ip, _ []byte) { ip[39]--; ip[37]++ }},
		{"source port of UDP", udp4, byteOf(false, 0, 1)},
		{"destination port of UDP", udp4, byteOf(false, 2, 1)},
		{"length of UDP", udp4, byteOf(false, 5, 1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			frames := c.p.segments(t, 300)
			none := func(_, _ []byte) {}
			r := offload.Run{UDP: true}
			if add(&r, [][]byte{frames[0], edit(c.p, frames[1], none), frames[2]}) != 3 {
				t.Fatal("unchanged frames do not merge")
			}
			r.Reset()
			if add(&r, [][]byte{frames[0], edit(c.p, frames[1], c.edit)}) != 1 {
				t.Error("second frame merged")
			}
			r.Reset()
			if add(&r, [][]byte{frames[0], frames[1], edit(c.p, frames[2], c.edit)}) != 2 {
				t.Error("third frame merged")
			}
		})
	}
	for at, name := range map[int]string{0: "destination MAC", 6: "source MAC", 12: "EtherType"} {
		frames := tcp4.segments(t, 300)
		frames[1][at] ^= 1
		var r offload.Run
		if add(&r, frames) != 1 {
			t.Errorf("%s: merged", name)
		}
	}
}

// What ends a run, or never begins one.
func TestRunEnds(t *testing.T) {
	base := packet{flags: "A", payload: random(1, 900)}
	for _, c := range []struct {
		name string
		p    func(p *packet)
		udp  bool
		want int
	}{
		{"data", func(*packet) {}, true, 3},
		{"SYN", func(p *packet) { p.flags = "SA" }, true, 1},
		{"RST", func(p *packet) { p.flags = "RA" }, true, 1},
		{"URG", func(p *packet) { p.flags = "UA" }, true, 1},
		{"tag", func(p *packet) { p.tags = 1 }, true, 1},
		{"two tags", func(p *packet) { p.tags = 2 }, true, 1},
		{"IPv4 options", func(p *packet) { p.extension = true }, true, 1},
		{"extension header", func(p *packet) { p.extension, p.v6 = true, true }, true, 1},
		{"UDP", func(p *packet) { p.udp = true }, true, 3},
		{"UDP not asked for", func(p *packet) { p.udp = true }, false, 1},
	} {
		p := base
		c.p(&p)
		for _, unfinished := range []bool{false, true} {
			r := offload.Run{UDP: c.udp}
			if n := add(&r, train(t, p, 300, unfinished)); n != c.want {
				t.Errorf("%s: took %d, want %d", c.name, n, c.want)
			}
		}
	}
	frames := base.segments(t, 300)
	short, long := base.segments(t, 200), base.segments(t, 400)
	pushed := packet{flags: "PA", payload: base.payload[:300]}
	fin := packet{flags: "FA", payload: base.payload[:300]}
	ack := packet{flags: "A"}
	shorter := packet{flags: "A", id: 1, seq: 300, payload: base.payload[300:500]}
	after := packet{flags: "A", id: 2, seq: 500, payload: base.payload[500:700]}
	midPush := packet{flags: "PA", id: 1, seq: 300, payload: base.payload[300:600]}
	for name, c := range map[string]struct {
		frames [][]byte
		want   int
	}{
		"after PSH":     {[][]byte{pushed.build(t), frames[1]}, 1},
		"after FIN":     {[][]byte{fin.build(t), frames[1]}, 1},
		"after 2nd PSH": {[][]byte{frames[0], midPush.build(t), frames[2]}, 2},
		"longer":        {[][]byte{short[0], edit(base, long[1], func(ip, tcp []byte) { tcp[6], tcp[7] = 0, 200 })}, 1},
		"after shorter": {[][]byte{frames[0], shorter.build(t), after.build(t)}, 2},
		"acks":          {[][]byte{ack.build(t), ack.build(t)}, 1},
		"ack and data":  {[][]byte{ack.build(t), frames[0]}, 1},
		"data and ack":  {[][]byte{frames[0], packet{flags: "A", id: 1, seq: 300}.build(t)}, 1},
		"padding":       {[][]byte{append(clone(frames[0]), 0), frames[1]}, 1},
		"padding counted": {[][]byte{
			append(clone(frames[0]), 0), edit(base, frames[1], func(_, tcp []byte) { tcp[7]++ }),
		}, 1},
		"padded":     {[][]byte{frames[0], append(clone(frames[1]), 0)}, 1},
		"truncated":  {[][]byte{frames[0], frames[1][:50]}, 1},
		"empty":      {[][]byte{frames[0], nil}, 1},
		"same again": {[][]byte{frames[0], frames[0]}, 1},
		"backwards":  {[][]byte{frames[1], frames[0]}, 1},
		"a hole":     {[][]byte{frames[0], frames[2]}, 1},
	} {
		var r offload.Run
		if n := add(&r, c.frames); n != c.want {
			t.Errorf("%s: took %d, want %d", name, n, c.want)
		}
	}
}

func TestRunOfOneID(t *testing.T) {
	one := func(id uint16, seq uint32) packet {
		return packet{id: id, seq: seq, flags: "A", payload: make([]byte, 100)}
	}
	for _, c := range []struct {
		name string
		ids  []uint16
		noDF bool
		want int
	}{
		{"the same, DF", []uint16{7, 7, 7}, false, 3},
		{"the same", []uint16{7, 7, 7}, true, 1},
		{"counting", []uint16{7, 8, 9}, true, 3},
		{"the same, then counting", []uint16{7, 7, 8}, false, 2},
		{"the same, then jumping", []uint16{7, 7, 9}, false, 2},
		{"counting, then the same", []uint16{7, 8, 8}, false, 2},
		{"counting, then the first", []uint16{7, 8, 7}, false, 2},
		{"jumping", []uint16{7, 9}, false, 1},
	} {
		var r offload.Run
		var frames [][]byte
		for i, id := range c.ids {
			p := one(id, uint32(100*i))
			p.noDF = c.noDF
			frames = append(frames, p.build(t))
		}
		if n := add(&r, frames); n != c.want {
			t.Errorf("%s: took %d, want %d", c.name, n, c.want)
		}
	}
}

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
