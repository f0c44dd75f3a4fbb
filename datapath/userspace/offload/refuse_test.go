package offload_test

import (
	"encoding/binary"
	"testing"

	"github.com/ovlnet/ovl/datapath/userspace/offload"
)

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
