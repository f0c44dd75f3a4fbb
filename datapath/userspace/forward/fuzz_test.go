package forward

import (
	"net/netip"
	"testing"

	"github.com/ovlnet/ovl/datapath"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/datapath/userspace/offload"
	"github.com/ovlnet/ovl/encap"
)

// stats are the counters of a bed, as a datapath would report them.
func (b *bed) stats() datapath.Stats {
	s := datapath.Stats{
		Drops: map[datapath.DropReason]datapath.Counter{},
		Peers: map[netip.Addr]datapath.PeerCounter{vtep: b.peer.Counters.Load()},
		Networks: map[encap.VNI]datapath.PortCounter{
			4096: b.a.Counters.Load().Add(b.b.Counters.Load()),
		},
		Past: datapath.Past{Ports: b.counting.Lost.Load()},
	}
	for _, r := range datapath.DropReasons() {
		s.Drops[r] = b.counting.Dropped(r)
	}
	return s
}

// FuzzOut: whatever an endpoint sends, nobody falls over, no more leaves than came
// but an answer, and the books add up.
func FuzzOut(f *testing.F) {
	add := func(frame []byte, h offload.Header) {
		b := make([]byte, offload.HeaderLen)
		h.Encode(b)
		f.Add(b, frame)
	}
	large := largeTCP(hereA, there, 5000, 1410)
	add(large.Data, large.Header)
	add(dt.UDP4(hereA, there, "hello"), offload.Header{})
	add(dt.ARPRequest(hereA, there.Addr), offload.Header{})
	add(dt.Tagged(dt.UDP4(hereA, there, "hello"), 0x8100, 5), offload.Header{})
	add(dt.ICMP4(hereA, there, 8, 2000), offload.Header{})
	for _, vip := range []dt.Party{vipThere, vipB, vipA, vipEmpty} {
		large := largeTCP(hereA, vip, 5000, 1410)
		add(large.Data, large.Header)
		add(dt.UDP4(hereA, vip, "hello"), offload.Header{})
		add(dt.ICMP4Echo(hereA, vip, false), offload.Header{})
		add(dt.FragmentationNeeded(hereA, vip, 1400, dt.UDP4(vip, hereA, "hello")), offload.Header{})
	}
	f.Fuzz(func(t *testing.T, header, frame []byte) {
		if len(header) < offload.HeaderLen || len(frame) < ethLen {
			t.Skip("no device hands this over")
		}
		b := newBed(t)
		b.out.Frames(b.table, b.a, []offload.Frame{{Data: dt.UDP4(hereA, vipB, "hello")}}) // a flow that may be meant
		fr := offload.Frame{Data: frame}
		fr.Decode(header)
		b.out.Frames(b.table, b.a, []offload.Frame{fr})
		if err := dt.CheckBalance(b.stats()); err != nil {
			t.Error(err)
		}
		for _, d := range b.ways.delivered {
			if len(d.frame) < ethLen {
				t.Errorf("delivered %d bytes", len(d.frame))
			}
		}
	})
}

// FuzzIn: whatever comes out of the tunnel, nobody falls over, what is delivered
// is the addressee's, and the books add up.
func FuzzIn(f *testing.F) {
	f.Add(tunnelled(dt.UDP4(there, hereA, "hello")), 0, uint8(0))
	f.Add(tunnelled(dt.ARPRequest(there, hereA.Addr)), 0, uint8(3))
	f.Add(tunnelled(dt.Tagged(dt.UDP4(there, hereA, "hello"), 0x8100, 5)), 0, uint8(1))
	f.Add(tunnelled(largeTCP(there, hereA, 5000, 1410).Data), 1410, uint8(2))
	one := tunnelled(dt.TCP(there, hereA, "hello"))
	f.Add(append(append([]byte{}, one...), one...), len(one), uint8(0))
	f.Add(tunnelled(dt.UDP4(there, hereA, "hello")[:15]), 20, uint8(0))
	f.Add(tunnelled(withPorts(dt.UDP4(there, hereA, "hello"), 0, 2222, 1111)), 0, uint8(0))
	f.Add(tunnelled(dt.FragmentationNeeded(there, hereA, 1400, dt.UDP4(hereA, there, "hello"))), 0, uint8(0))
	f.Fuzz(func(t *testing.T, data []byte, size int, ecn uint8) {
		b := newBed(t)
		b.out.Frames(b.table, b.a, []offload.Frame{{Data: dt.UDP4(hereA, vipThere, "hello")}}) // a flow that may be meant
		b.in.Packets(b.table, vtep, encap.ECN(ecn&3), data, size)
		b.in.Flush()
		if err := dt.CheckBalance(b.stats()); err != nil {
			t.Error(err)
		}
		for _, d := range b.ways.delivered {
			if d.frame[0]&1 == 0 && encap.MAC(d.frame) != map[*Port]encap.MAC{b.a: hereA.MAC, b.b: hereB.MAC}[d.to] {
				t.Errorf("%s got a frame for %s", d.to.Device, encap.MAC(d.frame))
			}
		}
	})
}
