package forward

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/balance"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/datapath/userspace/offload"
	"github.com/ovlnet/ovl/encap"
)

// What of services no real device shows. The rules are cases of package
// datapathtest.

// TestVIPCutsLargePackets: what goes to a VIP in one piece is cut as if it had been
// sent to the backend.
func TestVIPCutsLargePackets(t *testing.T) {
	b := newBed(t)
	const payload, mss = 20*1410 - 1, 1410
	b.out.Frames(b.table, b.a, []offload.Frame{largeTCP(hereA, there, payload, mss)})
	want := b.ways.sent
	b.ways.sent = nil
	b.out.Frames(b.table, b.a, []offload.Frame{largeTCP(hereA, vipThere, payload, mss)})
	if len(want) != 20 || !slices.EqualFunc(b.ways.sent, want, bytes.Equal) {
		t.Errorf("sent %d packets, or others than the %d to the backend", len(b.ways.sent), len(want))
	}
	counted := datapath.Counter{Packets: 20}
	for _, p := range want {
		counted.Bytes += uint64(len(p) - encap.HeaderLen)
	}
	if flows := b.flows.Flows(); len(flows) != 1 || flows[0].Sent != counted {
		t.Errorf("flows %+v, want one that has sent %+v", flows, counted)
	}
}

// TestVIPMergesSegments: what comes back in packets that were one is one again, from
// the VIP; so is what has never been cut, whose checksum is not made.
func TestVIPMergesSegments(t *testing.T) {
	b := newBed(t)
	b.out.Frames(b.table, b.a, []offload.Frame{{Data: dt.TCP(hereA, vipThere, "hello")}})
	large := largeTCP(there, hereA, 20*1410, 1410)
	large.Data = withPorts(large.Data, 0, 2222, 1111)
	var cutter offload.Cutter
	if err := cutter.Cut(tunnelled(nil), large); err != nil {
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
	uncut := tunnelled(large.Data)
	frame := uncut[encap.HeaderLen:]
	sum := offload.Fold(offload.Pseudo4(frame[14:], 6, len(frame)-34))
	frame[50], frame[51] = byte(sum>>8), byte(sum)

	for name, c := range map[string]struct {
		data []byte
		size int
	}{"a train": {train, size}, "uncut": {uncut, 0}} {
		b.ways.delivered = nil
		b.in.Packets(b.table, vtep, encap.NotECT, c.data, c.size)
		b.in.Flush()
		if len(b.ways.delivered) != 1 {
			t.Fatalf("%s: %d frames were delivered, want 1", name, len(b.ways.delivered))
		}
		d := b.ways.delivered[0]
		if d.header.GSOType != offload.GSOTCPv4 || len(d.frame) != len(large.Data) {
			t.Errorf("%s: delivered %d bytes with %+v", name, len(d.frame), d.header)
		}
		if from, vip := netip.AddrFrom4([4]byte(d.frame[26:])), encap.MAC(d.frame[6:]); from != vipThere.Addr || vip != datapath.ServiceMAC {
			t.Errorf("%s: it comes from %s at %s", name, from, vip)
		}
		// The device that cuts it makes of it what the VIP would have sent.
		want := largeTCP(vipThere, hereA, 20*1410, 1410)
		want.Data = withPorts(want.Data, 0, 2222, 1111)
		if got, want := pieces(t, offload.Frame{Header: d.header, Data: d.frame}), pieces(t, want); !slices.EqualFunc(got, want, sameSegment) {
			t.Errorf("%s: cut into other packets than the VIP's", name)
		}
	}
}

// sameSegment compares frames of TCP over IPv4 but for their IDs and what depends on
// them.
func sameSegment(a, b []byte) bool {
	return len(a) == len(b) && bytes.Equal(a[:18], b[:18]) && bytes.Equal(a[26:], b[26:])
}

func pieces(t *testing.T, f offload.Frame) (out [][]byte) {
	t.Helper()
	var c offload.Cutter
	if err := c.Cut(nil, f); err != nil {
		t.Fatal(err)
	}
	for i := range c.Len() {
		head, payload := c.Segment(i)
		out = append(out, slices.Concat(head, payload))
	}
	return out
}

// TestVIPUnfinishedChecksum: what a stack leaves to its device, to VIP and back, on
// one host.
func TestVIPUnfinishedChecksum(t *testing.T) {
	b := newBed(t)
	unfinished := func(frame []byte) offload.Frame {
		sum := offload.Fold(offload.Pseudo4(frame[14:], 6, len(frame)-34))
		frame[50], frame[51] = byte(sum>>8), byte(sum)
		f := offload.Frame{Data: frame}
		f.Flags, f.CsumStart, f.CsumOffset = offload.NeedsCsum, 34, 16
		return f
	}
	// Long enough not to be padded.
	request, reply := dt.TCP(hereA, vipB, "hello, hello"), withPorts(dt.TCP(hereB, hereA, "hello, hello"), 0, 2222, 1111)
	b.out.Frames(b.table, b.a, []offload.Frame{unfinished(request)})
	NewOut(b.ways, &b.counting, b.flows).Frames(b.table, b.b, []offload.Frame{unfinished(reply)})
	for i, want := range [][]byte{
		dt.Patch(dt.TCP(hereA, hereB, "hello, hello"), 0, hereB.MAC[:]...),
		withPorts(dt.TCP(vipB, hereA, "hello, hello"), 0, 2222, 1111),
	} {
		if len(b.ways.delivered) != 2 {
			t.Fatalf("%d frames were delivered", len(b.ways.delivered))
		}
		d := b.ways.delivered[i]
		if err := offload.Complete(offload.Frame{Header: d.header, Data: d.frame}); err != nil || !bytes.Equal(d.frame, want) {
			t.Errorf("%v\n got %x\nwant %x", err, d.frame, want)
		}
	}
}

// TestTablesAreKept: a table is made once it is used, and made anew only where
// backends have changed: then at once.
func TestTablesAreKept(t *testing.T) {
	b := newBed(t)
	share := func(vip dt.Party) *shares { return b.table.networks[4096].vips[vip.Addr.As16()].shares }
	if share(vipThere).used.Load() {
		t.Error("a table is made that nobody needs")
	}
	b.out.Frames(b.table, b.a, []offload.Frame{{Data: dt.UDP4(hereA, vipThere, "hello")}})
	used, unused := share(vipThere), share(vipB)
	if !used.used.Load() {
		t.Error("a table is not made that is used")
	}
	b.state.Networks[0].Services[0].Affinity = 1
	b.build(t)
	if share(vipThere) != used || share(vipB) != unused {
		t.Error("tables are made anew that are the same")
	}
	for i := range b.state.Networks[0].Services {
		s := &b.state.Networks[0].Services[i]
		s.Backends = append(slices.Clone(s.Backends), datapath.Backend{ID: "new", MAC: nobody.MAC, Addrs: []netip.Addr{nobody.Addr}, Weight: 1})
	}
	b.build(t)
	if share(vipThere) == used || !share(vipThere).used.Load() || share(vipB) == unused || share(vipB).used.Load() {
		t.Error("what is used is not made at once, or what is not is made")
	}
}

// TestManyServices: of ten thousand services, those that nobody uses take no tables.
func TestManyServices(t *testing.T) {
	b := newBed(t)
	for i := range 10_000 {
		vip := dt.Party{Addr: netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})}
		s := service(vip, there, hereB)
		s.Name, s.TableSize = fmt.Sprint(i), balance.DefaultSize
		b.state.Networks[0].Services = append(b.state.Networks[0].Services, s)
	}
	b.build(t)
	b.build(t)
	for _, v := range b.table.networks[4096].vips {
		if v.shares.used.Load() {
			t.Fatal("a table is made that nobody needs")
		}
	}
}

// TestSomebodyElsesVIP: addresses of the other family that look like a VIP are none.
func TestSomebodyElsesVIP(t *testing.T) {
	b := newBed(t)
	like := netip.AddrFrom16(vipThere.Addr.As16())
	six := dt.Party{MAC: hereA.MAC, Addr: netip.MustParseAddr("fe80::ff:fe00:1")}
	frame := dt.UDP6(six, dt.Party{MAC: datapath.ServiceMAC, Addr: netip.MustParseAddr("fd00::4")}, "hello")
	whole := like.As16()
	b.out.Frames(b.table, b.a, []offload.Frame{{Data: dt.Patch(frame, 14+24, whole[:]...)}})
	dropsOnly(t, b, "IPv6 to what looks like a VIP", datapath.DropUnknownDestination)
}

// TestErrorsAboutOthers: an endpoint tells errors only about what it was sent itself.
func TestErrorsAboutOthers(t *testing.T) {
	b := newBed(t)
	b.out.Frames(b.table, b.a, []offload.Frame{{Data: dt.UDP4(hereA, vipThere, "hello")}})
	b.ways.sent = nil
	about := withPorts(dt.UDP4(vipThere, hereA, "hello"), 0, 2222, 1111)
	for name, frame := range map[string][]byte{
		"B, about what A was sent":           dt.FragmentationNeeded(hereB, vipThere, 1400, about),
		"A, to another VIP than has sent it": dt.FragmentationNeeded(hereA, vipB, 1400, about),
	} {
		from := b.a
		if name[0] == 'B' {
			from = b.b
		}
		b.counting = Counting{}
		b.out.Frames(b.table, from, []offload.Frame{{Data: frame}})
		dropsOnly(t, b, name, datapath.DropServicePort)
	}
	b.out.Frames(b.table, b.a, []offload.Frame{{Data: dt.FragmentationNeeded(hereA, vipThere, 1400, about)}})
	if len(b.ways.sent) != 1 {
		t.Errorf("%d packets were sent to the backend, want the error", len(b.ways.sent))
	}
	// Nor does a backend, whom it was sent to, tell another than has sent it.
	others := dt.FragmentationNeeded(there, hereB, 1400, dt.UDP4(hereA, there, "hello"))
	b.in.Packets(b.table, vtep, encap.NotECT, tunnelled(others), 0)
	b.in.Flush()
	if d := b.ways.delivered; len(d) != 1 || !bytes.Equal(d[0].frame, others) {
		t.Errorf("delivered %+v", d)
	}
}
