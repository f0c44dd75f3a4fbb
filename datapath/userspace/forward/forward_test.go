package forward

import (
	"bytes"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/datapath/userspace/offload"
	"github.com/ovlnet/ovl/encap"
)

// What of the rules no real device shows. The rules themselves are cases of
// package datapathtest.

// TestOutCutsLargePackets: what an endpoint sends in one piece goes out in
// packets that fit, and counts as these.
func TestOutCutsLargePackets(t *testing.T) {
	b := newBed(t)
	const segments, mss = 20, 1410
	b.out.Frames(b.table, b.a, []offload.Frame{largeTCP(hereA, there, segments*mss-1, mss)})
	if len(b.ways.sent) != segments {
		t.Fatalf("%d packets were sent, want %d", len(b.ways.sent), segments)
	}
	total := 0
	for i, p := range b.ways.sent {
		total += len(p) - encap.HeaderLen
		if i < segments-1 && len(p) != encap.HeaderLen+14+1450 {
			t.Errorf("packet %d has %d bytes", i, len(p))
		}
	}
	want := datapath.Counter{Packets: segments, Bytes: uint64(total)}
	if got := b.peer.Counters.Load().Sent; got != want {
		t.Errorf("counted %+v sent to the peer, want %+v", got, want)
	}
	if got := b.a.Counters.Load().Sent; got != want {
		t.Errorf("counted %+v sent by the port, want %+v", got, want)
	}
}

// TestInMergesSegments: packets that were one come in as one again.
func TestInMergesSegments(t *testing.T) {
	b := newBed(t)
	sent := largeTCP(there, hereA, 20*1410, 1410)
	var cutter offload.Cutter
	header := tunnelled(nil)
	if err := cutter.Cut(header, sent); err != nil {
		t.Fatal(err)
	}
	var train []byte
	size := 0
	for i := range cutter.Len() {
		head, payload := cutter.Segment(i)
		train = append(append(train, head...), payload...)
		if i == 0 {
			size = len(train)
		}
	}
	b.in.Packets(b.table, vtep, encap.NotECT, train, size)
	b.in.Flush()
	if len(b.ways.delivered) != 1 {
		t.Fatalf("%d frames were delivered, want 1", len(b.ways.delivered))
	}
	d := b.ways.delivered[0]
	if d.to != b.a || d.header.GSOType != offload.GSOTCPv4 || d.header.GSOSize != 1410 || len(d.frame) != len(sent.Data) {
		t.Errorf("delivered %d bytes with %+v", len(d.frame), d.header)
	}
	if got := b.a.Counters.Load().Received.Packets; got != 20 {
		t.Errorf("counted %d packets received, want 20", got)
	}
}

// TestInTakesUncutPackets: a packet that has never left this machine may hold
// more than any underlay carries.
func TestInTakesUncutPackets(t *testing.T) {
	b := newBed(t)
	whole := tunnelled(largeTCP(there, hereA, 20*1410, 1410).Data)
	for _, size := range []int{0, 1410} { // the kernel may tell the segments' size
		b.ways.delivered = nil
		b.in.Packets(b.table, vtep, encap.NotECT, slices.Clone(whole), size)
		b.in.Flush()
		if len(b.ways.delivered) != 1 || b.ways.delivered[0].header.GSOType != offload.GSOTCPv4 {
			t.Errorf("size %d: %d frames were delivered: %+v", size, len(b.ways.delivered), b.counting.Dropped(datapath.DropInnerMalformed))
		}
	}
	if got := b.peer.Counters.Load().Received.Packets; got != 40 {
		t.Errorf("counted %d packets received, want 40", got)
	}
}

// TestInTellsUncutPackets: one that is uncut is so behind a tag, too; what does not
// say its length is not.
func TestInTellsUncutPackets(t *testing.T) {
	b := newBed(t)
	tagged := inVLAN(largeTCP(there, hereA, 20*1410, 1410).Data, 5)
	b.in.Packets(b.table, vtep, encap.NotECT, tunnelled(tagged), 1410)
	b.in.Flush()
	if len(b.ways.delivered) != 1 || len(b.ways.delivered[0].frame) != len(tagged) {
		t.Errorf("%d frames were delivered, want 1 of %d bytes", len(b.ways.delivered), len(tagged))
	}
	short := tunnelled(dt.UDP4(there, hereA, "hello")[:15])
	b.in.Packets(b.table, vtep, encap.NotECT, short, 20)
	if got := b.counting.Dropped(datapath.DropTruncated).Packets; got != 2 {
		t.Errorf("%d packets dropped, want 2", got)
	}
}

// TestFullQueue: what a port does not take is a drop, and the books still add up.
func TestFullQueue(t *testing.T) {
	b := newBed(t)
	b.ways.full = true
	b.out.Frames(b.table, b.a, []offload.Frame{{Data: dt.UDP4(hereA, hereB, "hello")}})
	b.in.Packets(b.table, vtep, encap.NotECT, tunnelled(dt.UDP4(there, hereA, "hello")), 0)
	b.in.Flush()
	if got := b.counting.Dropped(datapath.DropQueue).Packets; got != 2 {
		t.Errorf("%d packets dropped, want 2", got)
	}
	if a, p := b.a.Counters.Load(), b.peer.Counters.Load(); a.Received.Packets != 0 || a.Dropped.Packets != 1 || p.Received.Packets != 0 {
		t.Errorf("counted %+v for the port, %+v for the peer", a, p)
	}
}

// TestUnsent: a packet that could not be sent is one that was dropped.
func TestUnsent(t *testing.T) {
	b := newBed(t)
	frame := dt.UDP4(hereA, there, "hello")
	b.out.Frames(b.table, b.a, []offload.Frame{{Data: frame}})
	b.out.Unsent(b.peer, datapath.DropNoRoute, 1, uint64(len(frame)))
	want := datapath.Counter{Packets: 1, Bytes: uint64(len(frame))}
	if got := b.peer.Counters.Load().Sent; got != (datapath.Counter{}) {
		t.Errorf("counted %+v sent", got)
	}
	if a := b.a.Counters.Load(); a.Dropped != want || b.counting.Dropped(datapath.DropNoRoute) != want {
		t.Errorf("counted %+v", a)
	}
}

// TestNoRoute: without a way to its host, a packet is dropped for that reason.
func TestNoRoute(t *testing.T) {
	b := newBed(t)
	b.peer.Path = &fakePath{err: unix.ENETUNREACH}
	b.out.Frames(b.table, b.a, []offload.Frame{{Data: dt.UDP4(hereA, there, "hello")}})
	if got := b.counting.Dropped(datapath.DropNoRoute).Packets; got != 1 || len(b.ways.sent) != 0 {
		t.Errorf("%d drops, %d sent", got, len(b.ways.sent))
	}
}

// TestGonePort: frames of a port that the table does not have are dropped.
func TestGonePort(t *testing.T) {
	b := newBed(t)
	b.out.Frames(b.table, &Port{Device: "c"}, []offload.Frame{{Data: dt.UDP4(hereA, hereB, "hello")}})
	if got := b.counting.Dropped(datapath.DropUnknownVNI).Packets; got != 1 || len(b.ways.delivered) != 0 {
		t.Errorf("%d drops, %d delivered", got, len(b.ways.delivered))
	}
}

// TestSetECN: the IPv4 checksum follows.
func TestSetECN(t *testing.T) {
	for _, was := range []byte{1, 2} {
		for _, is := range []byte{1, 3} {
			frame := dt.WithTOS(dt.UDP4(there, hereA, "hello"), 14, was)
			want := dt.WithTOS(frame, 14, is)
			setECN(frame, encap.ECN(was), encap.ECN(is))
			if !bytes.Equal(frame, want) {
				t.Errorf("%d to %d: %x, want %x", was, is, frame[14:34], want[14:34])
			}
		}
	}
}
