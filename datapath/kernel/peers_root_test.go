package kernel

import (
	"maps"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/ovlnet/ovl/bpf"
	"github.com/ovlnet/ovl/datapath"
)

// newPeersMap is an ovl_peers with room for that many peers.
func newPeersMap(t *testing.T, peers uint32) *ebpf.Map {
	t.Helper()
	needRoot(t)
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	spec, err := bpf.LoadOvl()
	if err != nil {
		t.Fatal(err)
	}
	s := spec.Maps[bpf.OvlMapOvlPeers].Copy()
	s.MaxEntries, s.Pinning = peers+1, ebpf.PinNone // slot 0 is nobody's
	m, err := ebpf.NewMap(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

func mustRead(t *testing.T, m *ebpf.Map) peerTable {
	t.Helper()
	p, err := readPeers(m)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// applyPeers gives a slot to every VTEP, as Apply does for a state that has them.
func applyPeers(t *testing.T, p *peerTable, m *ebpf.Map, vteps ...netip.Addr) map[netip.Addr]uint16 {
	t.Helper()
	s := datapath.State{Networks: []datapath.Network{{}}}
	for _, v := range vteps {
		s.Networks[0].Remotes = append(s.Networks[0].Remotes, datapath.Remote{VTEP: v})
	}
	p.reclaim(s)
	out := map[netip.Addr]uint16{}
	for _, v := range vteps {
		slot, err := p.index(v)
		if err != nil {
			t.Fatalf("slot of %s: %v", v, err)
		}
		out[v] = slot
	}
	if err := p.write(m); err != nil {
		t.Fatal(err)
	}
	return out
}

// received counts a packet in a slot, as the programs do.
func received(t *testing.T, m *ebpf.Map, slot uint16) {
	t.Helper()
	var perCPU []bpf.OvlPeer
	if err := m.Lookup(uint32(slot), &perCPU); err != nil {
		t.Fatal(err)
	}
	for i := range perCPU {
		perCPU[i].Received.Packets++
	}
	if err := m.Put(uint32(slot), perCPU); err != nil {
		t.Fatal(err)
	}
}

func peerStats(t *testing.T, p *peerTable, m *ebpf.Map) datapath.Stats {
	t.Helper()
	s := datapath.Stats{Peers: map[netip.Addr]datapath.PeerCounter{}}
	if err := p.stats(m, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func vtep(n byte) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, n}) }

func TestPeerSlotsStay(t *testing.T) {
	m := newPeersMap(t, 4)
	p := mustRead(t, m)
	first := applyPeers(t, &p, m, vtep(1), vtep(2), vtep(3))
	want := map[netip.Addr]uint16{vtep(1): 1, vtep(2): 2, vtep(3): 3}
	if !maps.Equal(first, want) {
		t.Fatalf("slots %v, want %v", first, want)
	}
	received(t, m, 2)

	applyPeers(t, &p, m, vtep(3)) // the others leave, but there is room
	p = mustRead(t, m)            // the process ends
	if again := applyPeers(t, &p, m, vtep(3), vtep(2), vtep(1)); !maps.Equal(again, want) {
		t.Errorf("slots after a restart %v, want %v", again, want)
	}
	if got := peerStats(t, &p, m).Peers[vtep(2)].Received.Packets; got != uint64(ebpf.MustPossibleCPU()) {
		t.Errorf("a peer that came back received %d packets, want one from every CPU", got)
	}
}

func TestPeerSlotsReclaimed(t *testing.T) {
	m := newPeersMap(t, 3)
	p := mustRead(t, m)
	applyPeers(t, &p, m, vtep(1), vtep(2), vtep(3))
	for slot := range uint16(3) {
		received(t, m, slot+1)
	}

	slots := applyPeers(t, &p, m, vtep(2), vtep(4)) // 1 and 3 have left
	if slots[vtep(2)] != 2 || slots[vtep(4)] != 1 && slots[vtep(4)] != 3 {
		t.Errorf("slots %v, want the old one of the peer that stays, and one of those that left", slots)
	}
	each := datapath.Counter{Packets: uint64(ebpf.MustPossibleCPU())}
	got := peerStats(t, &p, m)
	if n := got.Peers[vtep(4)]; n != (datapath.PeerCounter{}) {
		t.Errorf("counters of a new peer in an old slot: %+v", n)
	}
	if n := got.Peers[vtep(2)]; n.Received != each {
		t.Errorf("counters of the peer that stays: %+v", n)
	}
	if n := got.Past.Peers.Received; n != each.Add(each) {
		t.Errorf("counters of the peers that left: %+v, want what peers 1 and 3 had", n)
	}
	if len(got.Peers) != 2 {
		t.Errorf("peers %v, want two", got.Peers)
	}
	if _, err := p.index(vtep(5)); err != nil {
		t.Errorf("the second slot that was taken back: %v", err)
	}
	if slot, err := p.index(vtep(6)); err == nil {
		t.Errorf("a fourth peer of three got slot %d", slot)
	}
}

// TestPeerWithTwoSlots: a slot that was taken back still names its peer, which
// may have returned to another slot. A restart must not lose either.
func TestPeerWithTwoSlots(t *testing.T) {
	m := newPeersMap(t, 3)
	p := mustRead(t, m)
	applyPeers(t, &p, m, vtep(1), vtep(2), vtep(3))
	p.slots, p.fresh = map[netip.Addr]uint16{}, map[netip.Addr]uint16{vtep(3): 2}
	if err := p.write(m); err != nil {
		t.Fatal(err)
	}
	p = mustRead(t, m)
	want := map[netip.Addr]uint16{vtep(1): 1, vtep(3): 2, vtep(4): 3}
	if slots := applyPeers(t, &p, m, vtep(1), vtep(3), vtep(4)); !maps.Equal(slots, want) {
		t.Errorf("slots %v, want %v", slots, want)
	}
}
