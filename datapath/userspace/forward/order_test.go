package forward

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/gopacket/layers"

	"github.com/ovlnet/ovl/datapath"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/datapath/userspace/offload"
	"github.com/ovlnet/ovl/encap"
)

// nobody is no endpoint.
var nobody = dt.Party{MAC: encap.MAC{2, 0, 0, 0, 0, 9}, Addr: netip.MustParseAddr("10.0.0.9")}

// as is one who sends from its MAC with another's address.
func as(p dt.Party, addr string) dt.Party {
	return dt.Party{MAC: p.MAC, Addr: netip.MustParseAddr(addr)}
}

func inVLAN(frame []byte, ids ...uint16) []byte {
	for _, id := range ids {
		frame = dt.Tagged(frame, layers.EthernetTypeDot1Q, id)
	}
	return frame
}

// TestOutOrder has frames with more than one thing wrong: the reason is the first
// that the kernel datapath's program looks at.
func TestOutOrder(t *testing.T) {
	const version, dst6 = 14, 14 + 24
	udp, forged, lost := dt.UDP4(hereA, there, "hello"), dt.UDP4(as(hereA, "10.0.0.3"), nobody, "hello"), dt.UDP4(nobody, there, "hello")
	like4 := there.Addr.As16() // ::ffff:10.0.0.4
	six := dt.Patch(dt.UDP6(as(hereA, "fe80::ff:fe00:1"), as(nobody, "fd00::4"), "hello"), dst6, like4[:]...)
	for _, c := range []struct {
		name  string
		frame []byte
		gone  bool // the port is no more
		want  datapath.DropReason
	}{
		{"no frame, no port", udp[:13], true, datapath.DropTruncated},
		{"no port, VLAN 0 twice", inVLAN(udp, 0, 0), true, datapath.DropUnknownVNI},
		{"VLAN 0 twice, header cut short", inVLAN(udp[:33], 0, 0), false, datapath.DropInnerMalformed},
		{"header cut short behind a tag, nobody's MAC", inVLAN(lost[:33], 5), false, datapath.DropTruncated},
		{"nobody's MAC, header cut short", lost[:33], false, datapath.DropSourceMAC},
		{"nobody's MAC, malformed header", dt.Patch(lost, version, 0x44), false, datapath.DropSourceMAC},
		{"nobody's MAC, ARP cut short", dt.ARPRequest(nobody, there.Addr)[:41], false, datapath.DropSourceMAC},
		{"header cut short, B's address", forged[:33], false, datapath.DropTruncated},
		{"malformed header, B's address", dt.Patch(forged, version, 0x44), false, datapath.DropInnerMalformed},
		{"malformed ARP, B's address", dt.Patch(dt.ARPRequest(as(hereA, "10.0.0.3"), nobody.Addr), 14, 9), false, datapath.DropInnerMalformed},
		{"B's address, for nobody", forged, false, datapath.DropSourceIP},
		{"IPv6 for what stands for an IPv4 address", six, false, datapath.DropUnknownDestination},
		{"for nobody", dt.UDP4(hereA, nobody, "hello"), false, datapath.DropUnknownDestination},
	} {
		b := newBed(t)
		from := b.a
		if c.gone {
			from = &Port{Device: "c"}
		}
		b.out.Frames(b.table, from, []offload.Frame{{Data: slices.Clone(c.frame)}})
		dropsOnly(t, b, c.name, c.want)
	}
}

// TestInOrder has tunnel packets with more than one thing wrong: who sent it is
// asked before what it is.
func TestInOrder(t *testing.T) {
	const version = 14
	udp, lost := dt.UDP4(there, hereA, "hello"), dt.UDP4(nobody, hereA, "hello")
	forged := dt.UDP4(as(there, "10.0.0.2"), nobody, "hello")
	stranger := netip.MustParseAddr("192.0.2.9")
	for _, c := range []struct {
		name   string
		packet []byte
		from   netip.Addr
		want   datapath.DropReason
	}{
		{"no frame, wrong flags", append(make([]byte, encap.HeaderLen), udp[:13]...), vtep, datapath.DropTruncated},
		{"wrong flags, no VNI", append(make([]byte, encap.HeaderLen), udp...), vtep, datapath.DropVXLANFlags},
		{"no VNI, no VTEP", dt.Patch(tunnelled(udp), 4, 9), stranger, datapath.DropUnknownVNI},
		{"no VTEP, nobody's MAC", tunnelled(lost), stranger, datapath.DropUnknownVTEP},
		{"nobody's MAC, VLAN 0 twice", tunnelled(inVLAN(lost, 0, 0)), vtep, datapath.DropInnerSource},
		{"nobody's MAC, header cut short", tunnelled(lost[:33]), vtep, datapath.DropInnerSource},
		{"VLAN 0 twice, header cut short", tunnelled(inVLAN(udp[:33], 0, 0)), vtep, datapath.DropInnerMalformed},
		{"header cut short behind a tag", tunnelled(inVLAN(udp[:33], 5)), vtep, datapath.DropTruncated},
		{"header cut short, A's address", tunnelled(forged[:33]), vtep, datapath.DropTruncated},
		{"malformed header, A's address", tunnelled(dt.Patch(forged, version, 0x44)), vtep, datapath.DropInnerMalformed},
		{"A's address, for nobody", tunnelled(forged), vtep, datapath.DropInnerSource},
		{"for nobody, with a mark", tunnelled(dt.UDP4(there, nobody, "hello")), vtep, datapath.DropNotLocal},
		{"with a mark", tunnelled(udp), vtep, datapath.DropECN},
	} {
		b := newBed(t)
		b.in.Packets(b.table, c.from, encap.CE, slices.Clone(c.packet), 0)
		b.in.Flush()
		dropsOnly(t, b, c.name, c.want)
	}
}

// TestInTags: a mark is nothing to a frame behind a tag, and a priority tag is not
// counted.
func TestInTags(t *testing.T) {
	udp := dt.UDP4(there, hereA, "hello")
	b := newBed(t)
	b.in.Packets(b.table, vtep, encap.CE, tunnelled(inVLAN(udp, 5)), 0)
	b.in.Flush()
	if len(b.ways.delivered) != 1 || !slices.Equal(b.ways.delivered[0].frame, inVLAN(udp, 5)) {
		t.Errorf("delivered %+v", b.ways.delivered)
	}
	b.in.Packets(b.table, vtep, encap.CE, tunnelled(inVLAN(udp, 0)), 0)
	if got, want := b.counting.Dropped(datapath.DropECN), (datapath.Counter{Packets: 1, Bytes: uint64(len(udp))}); got != want {
		t.Errorf("counted %+v dropped, want %+v", got, want)
	}
}

// dropsOnly wants one drop for that reason, and nothing else to have happened.
func dropsOnly(t *testing.T, b *bed, name string, want datapath.DropReason) {
	t.Helper()
	for _, r := range datapath.DropReasons() {
		if n := b.counting.Dropped(r).Packets; (r == want) != (n == 1) {
			t.Errorf("%s: %d dropped as %v, want %v", name, n, r, want)
		}
	}
	if len(b.ways.sent)+len(b.ways.delivered) != 0 {
		t.Errorf("%s: sent %d, delivered %d", name, len(b.ways.sent), len(b.ways.delivered))
	}
}
