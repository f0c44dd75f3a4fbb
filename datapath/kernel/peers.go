package kernel

import (
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/ovlnet/ovl/bpf"
	"github.com/ovlnet/ovl/datapath"
)

// peerTable gives every VTEP a slot in ovl_peers. Slots are handed out in
// order from 1 and stay, so that counters survive whatever else changes; they
// are taken back only when all are in use, and what they have counted goes to
// slot 0. The map itself is what is remembered across restarts.
type peerTable struct {
	pool[uint16] // a place that was given back is zeroed before use
	slots        map[netip.Addr]uint16
	fresh        map[netip.Addr]uint16 // not yet written to the map
}

// readPeers finds the slots that an earlier process has given out.
func readPeers(m *ebpf.Map) (peerTable, error) {
	t := peerTable{
		slots: map[netip.Addr]uint16{},
		fresh: map[netip.Addr]uint16{},
		pool:  pool[uint16]{next: 1, limit: uint16(m.MaxEntries() - 1)},
	}
	err := readPerCPU(m, int(m.MaxEntries()), func(slot uint32, perCPU []bpf.OvlPeer) {
		if slot == 0 || perCPU[0].Vtep == [16]byte{} {
			return
		}
		t.next = uint16(slot) + 1
		vtep := netip.AddrFrom16(perCPU[0].Vtep).Unmap()
		if _, ok := t.slots[vtep]; ok {
			// It was taken back, and its peer returned to another.
			t.free = append(t.free, uint16(slot))
			return
		}
		t.slots[vtep] = uint16(slot)
	})
	if err != nil {
		return t, fmt.Errorf("read map ovl_peers: %w", err)
	}
	return t, nil
}

// index returns the slot of a VTEP, a new one if it has none.
func (t *peerTable) index(vtep netip.Addr) (uint16, error) {
	if slot, ok := t.slots[vtep]; ok {
		return slot, nil
	}
	slot, ok := t.take()
	if !ok {
		return 0, fmt.Errorf("more than %d peers", t.limit)
	}
	t.slots[vtep] = slot
	t.fresh[vtep] = slot
	return slot, nil
}

// reclaim takes slots back from VTEPs that s does not name, once all are in
// use.
func (t *peerTable) reclaim(s datapath.State) {
	if t.next <= t.limit || len(t.free) > 0 {
		return
	}
	used := map[netip.Addr]bool{}
	for _, n := range s.Networks {
		for _, r := range n.Remotes {
			used[r.VTEP] = true
		}
	}
	for vtep, slot := range t.slots {
		if !used[vtep] {
			delete(t.slots, vtep)
			t.free = append(t.free, slot)
		}
	}
}

// write names the new slots in the map, their counters at zero. What a slot has
// counted for another VTEP before goes to slot 0.
func (t *peerTable) write(m *ebpf.Map) error {
	for vtep, slot := range t.fresh {
		if err := retirePeer(m, slot); err != nil {
			return err
		}
		perCPU := make([]bpf.OvlPeer, ebpf.MustPossibleCPU())
		for i := range perCPU {
			perCPU[i].Vtep = vtep.As16()
		}
		if err := m.Put(uint32(slot), perCPU); err != nil {
			return fmt.Errorf("write map ovl_peers: %w", err)
		}
		delete(t.fresh, vtep)
	}
	return nil
}

// retirePeer adds what a slot has counted to slot 0.
func retirePeer(m *ebpf.Map, slot uint16) error {
	var counted, past []bpf.OvlPeer
	if err := m.Lookup(uint32(slot), &counted); err != nil {
		return fmt.Errorf("read map ovl_peers: %w", err)
	}
	if err := m.Lookup(uint32(0), &past); err != nil {
		return fmt.Errorf("read map ovl_peers: %w", err)
	}
	for i, c := range counted {
		past[i].Sent = addCounter(past[i].Sent, c.Sent)
		past[i].Received = addCounter(past[i].Received, c.Received)
	}
	if err := m.Put(uint32(0), past); err != nil {
		return fmt.Errorf("write map ovl_peers: %w", err)
	}
	return nil
}
