package offload_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/ovlnet/ovl/datapath/userspace/offload"
)

var prefix = []byte("\x08\x00\x00\x00\x00\x10\x01\x00")

// cut returns the segments of f without their prefix.
func cut(tb testing.TB, c *offload.Cutter, f offload.Frame) [][]byte {
	tb.Helper()
	if err := c.Cut(prefix, f); err != nil {
		tb.Fatal(err)
	}
	var frames [][]byte
	for i := range c.Len() {
		head, payload := c.Segment(i)
		if !bytes.HasPrefix(head, prefix) {
			tb.Fatalf("segment %d begins with % x", i, head)
		}
		frames = append(frames, append(clone(head[len(prefix):]), payload...))
	}
	return frames
}

func equal(tb testing.TB, got, want [][]byte) {
	tb.Helper()
	if len(got) != len(want) {
		tb.Fatalf("%d frames, want %d", len(got), len(want))
	}
	for i := range got {
		if !bytes.Equal(got[i], want[i]) {
			tb.Fatalf("frame %d of %d:\n% x\nwant\n% x", i, len(got), got[i], want[i])
		}
	}
}

func TestCut(t *testing.T) {
	var c offload.Cutter
	for _, p := range shapes() {
		for _, size := range []int{1, 7, 100, 250, 500, 501, 502, 60000} {
			for _, flags := range []string{"A", "PA", "FPA", "CEA", "CPFA"} {
				p.flags = flags
				t.Run(fmt.Sprint(p.v6, p.udp, p.tags, p.extension, size, flags), func(t *testing.T) {
					f := offload.Frame{Header: p.header(size), Data: p.unfinish(p.build(t))}
					if flags[0] == 'C' && !p.udp {
						f.GSOType |= offload.GSOECN
					}
					equal(t, cut(t, &c, f), p.segments(t, size))
				})
			}
		}
	}
}

func TestCut64KiB(t *testing.T) {
	var c offload.Cutter
	for _, v6 := range []bool{false, true} {
		p := packet{v6: v6, id: 0xfff0, flags: "A", options: true, payload: random(3, 65535-72)}
		f := offload.Frame{Header: p.header(1398), Data: p.unfinish(p.build(t))}
		equal(t, cut(t, &c, f), p.segments(t, 1398))
	}
}

func TestCutPayloadIsTheFrames(t *testing.T) {
	var c offload.Cutter
	p := packet{flags: "A", payload: random(1, 1000)}
	f := offload.Frame{Header: p.header(300), Data: p.build(t)}
	if err := c.Cut(nil, f); err != nil {
		t.Fatal(err)
	}
	if _, payload := c.Segment(1); &payload[0] != &f.Data[54+300] {
		t.Error("payload was copied")
	}
}

func TestCutDoesNotBelieveTheHeader(t *testing.T) {
	var c offload.Cutter
	p := packet{flags: "PA", payload: random(1, 1000)}
	want := p.segments(t, 300)
	for _, h := range []offload.Header{
		{GSOType: offload.GSOTCPv4, GSOSize: 300},
		{GSOType: offload.GSOTCPv4, GSOSize: 300, HdrLen: 65535, Flags: offload.NeedsCsum, CsumStart: 65535, CsumOffset: 65535},
		{GSOType: offload.GSOTCPv4, GSOSize: 300, HdrLen: 3, Flags: offload.NeedsCsum, CsumStart: 14, CsumOffset: 2},
	} {
		data := p.build(t)
		data[16], data[17] = 0xff, 0xff // IPv4 total length
		equal(t, cut(t, &c, offload.Frame{Header: h, Data: data}), want)
	}
}

func TestCutComputesWhatTheHeaderHasElsewhere(t *testing.T) {
	var c offload.Cutter
	for _, v6 := range []bool{false, true} {
		p := packet{v6: v6, extension: true, flags: "A", payload: random(1, 1000)}
		h := p.header(300)
		h.CsumStart--
		equal(t, cut(t, &c, offload.Frame{Header: h, Data: p.build(t)}), p.segments(t, 300))
	}
}

func TestCutWritesNoZeroForUDP(t *testing.T) {
	var c offload.Cutter
	p := zeroing(t, packet{udp: true})
	segment := cut(t, &c, offload.Frame{Header: p.header(300), Data: p.unfinish(p.build(t))})[0]
	if segment[40] != 0xff || segment[41] != 0xff {
		t.Errorf("checksum % x", segment[40:42])
	}
}

// A segment behind a routing header is summed with its last destination, which is
// not the one in the IPv6 header.
func TestCutKeepsTheSendersPseudoHeader(t *testing.T) {
	var c offload.Cutter
	p := packet{v6: true, extension: true, flags: "A", payload: random(1, 1000)}
	want := p.segments(t, 300)
	data := p.unfinish(p.build(t))
	data[14+39]++ // the address on the way there
	for i := range want {
		want[i][14+39]++
	}
	equal(t, cut(t, &c, offload.Frame{Header: p.header(300), Data: data}), want)
}

func TestCutWholeFrame(t *testing.T) {
	var c offload.Cutter
	for _, p := range shapes() {
		want := p.build(t)
		f := offload.Frame{Header: p.header(0), Data: p.unfinish(clone(want))}
		equal(t, cut(t, &c, f), [][]byte{want})
		if !bytes.Equal(f.Data, want) {
			t.Error("not completed in place")
		}
	}
	arp := random(1, 42)
	equal(t, cut(t, &c, offload.Frame{Data: clone(arp)}), [][]byte{arp})
}

func TestCutErrors(t *testing.T) {
	tcp := packet{flags: "A", payload: random(1, 1000)}
	udp := packet{udp: true, payload: random(1, 1000)}
	udp6 := packet{v6: true, udp: true, payload: random(1, 1000)}
	gso := func(p packet, change func(f *offload.Frame)) offload.Frame {
		f := offload.Frame{Header: p.header(300), Data: p.build(t)}
		change(&f)
		return f
	}
	var c offload.Cutter
	for name, f := range map[string]offload.Frame{
		"size 0":         gso(tcp, func(f *offload.Frame) { f.GSOSize = 0 }),
		"other family":   gso(tcp, func(f *offload.Frame) { f.GSOType = offload.GSOTCPv6 }),
		"other protocol": gso(tcp, func(f *offload.Frame) { f.GSOType = offload.GSOUDP }),
		"TCP type":       gso(udp, func(f *offload.Frame) { f.GSOType = offload.GSOTCPv4 }),
		"UDP with ECN":   gso(udp, func(f *offload.Frame) { f.GSOType |= offload.GSOECN }),
		"ECN only":       gso(tcp, func(f *offload.Frame) { f.GSOType = offload.GSOECN }),
		"unknown type":   gso(tcp, func(f *offload.Frame) { f.GSOType = 3 }),
		"fragment":       gso(tcp, func(f *offload.Frame) { f.Data[20] |= 0x20 }),
		"later fragment": gso(tcp, func(f *offload.Frame) { f.Data[21] = 1 }),
		"short IP":       gso(udp, func(f *offload.Frame) { f.Data[14] = 0x44 }),
		"IPv6 version":   gso(udp6, func(f *offload.Frame) { f.Data[14] = 0x45 }),
		"IP version":     gso(tcp, func(f *offload.Frame) { f.Data[14] = 0x65 }),
		"short TCP":      gso(tcp, func(f *offload.Frame) { f.Data[46] = 0x40 }),
		"cut in TCP":     gso(tcp, func(f *offload.Frame) { f.Data = f.Data[:53] }),
		"cut in options": gso(tcp, func(f *offload.Frame) { f.Data = f.Data[:54]; f.Data[46] = 0x60 }),
		"empty":          gso(tcp, func(f *offload.Frame) { f.Data = nil }),
		"checksum":       {Header: offload.Header{Flags: offload.NeedsCsum, CsumStart: 500}, Data: make([]byte, 60)},
		"too many": gso(tcp, func(f *offload.Frame) {
			f.GSOSize = 1
			f.Data = append(f.Data, make([]byte, 60000)...)
		}),
		"too long": gso(tcp, func(f *offload.Frame) {
			f.GSOSize = 65535
			f.Data = append(f.Data, make([]byte, 65000)...)
		}),
	} {
		if err := c.Cut(prefix, gso(tcp, func(*offload.Frame) {})); err != nil {
			t.Fatal(err)
		}
		if err := c.Cut(prefix, f); !errors.Is(err, offload.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
		if c.Len() != 0 {
			t.Errorf("%s: %d segments", name, c.Len())
		}
	}
}

func TestMeasure(t *testing.T) {
	for _, p := range shapes() {
		for _, size := range []int{1, 100, 500, 501, 502} {
			f := offload.Frame{Header: p.header(size), Data: p.build(t)}
			want := p.segments(t, size)
			longest := 0
			for _, s := range want {
				longest = max(longest, len(s)-14)
			}
			packets, n := offload.Measure(f)
			if int(packets) != len(want) || int(n) != len(join(want)) {
				t.Errorf("%v by %d: %d packets of %d bytes, want %d of %d", p, size, packets, n, len(want), len(join(want)))
			}
			if got := offload.SegmentLen(f); got != longest {
				t.Errorf("%v by %d: largest is %d, want %d", p, size, got, longest)
			}
		}
	}
	p := packet{payload: random(1, 100)}
	whole := offload.Frame{Header: p.header(0), Data: p.build(t)}
	if packets, n := offload.Measure(whole); packets != 1 || n != 154 || offload.SegmentLen(whole) != 140 {
		t.Errorf("%d packets of %d bytes", packets, n)
	}
	// A GSO header on what is no packet: one frame, as it will be dropped.
	odd := offload.Frame{Header: p.header(10), Data: make([]byte, 8)}
	if packets, n := offload.Measure(odd); packets != 1 || n != 8 || offload.SegmentLen(odd) != 0 {
		t.Errorf("%d packets of %d bytes", packets, n)
	}
}
