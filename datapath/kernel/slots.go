package kernel

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/ovlnet/ovl/bpf"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// slotOwner is the port that a slot of ovl_traffic counts for.
type slotOwner struct {
	vni     uint32
	ifindex uint32
	mac     encap.MAC
}

// slotTable gives every port a slot in ovl_traffic. The map names the owner of
// each, which is what is remembered across restarts.
//
//	free ── index ──▶ held ── release ──▶ left ── fold ──▶ free
//
// A port that is gone leaves its slot. Another CPU may still be at work on the
// last of its packets, so only the next Apply folds what was counted into the
// sum of its network in ovl_past, and frees the slot. A process that dies right
// between the two leaves that port counted twice.
type slotTable struct {
	held  map[slotOwner]uint32
	left  map[slotOwner]uint32
	fresh map[slotOwner]uint32 // held, and not yet written to the map
	pool[uint32]
}

// readSlots finds the slots that an earlier process has given out: all are
// taken to be held until the next release.
func readSlots(m *ebpf.Map) (slotTable, error) {
	t := slotTable{
		held: map[slotOwner]uint32{}, left: map[slotOwner]uint32{}, fresh: map[slotOwner]uint32{},
		pool: pool[uint32]{next: 1, limit: m.MaxEntries() - 1},
	}
	owners := make([]slotOwner, m.MaxEntries())
	err := readPerCPU(m, len(owners), func(slot uint32, perCPU []bpf.OvlPortTraffic) {
		owners[slot] = slotOwner{perCPU[0].Vni, perCPU[0].Ifindex, perCPU[0].Mac}
		if owners[slot] != (slotOwner{}) {
			t.next = slot + 1
		}
	})
	if err != nil {
		return t, fmt.Errorf("read map ovl_traffic: %w", err)
	}
	for slot := uint32(1); slot < t.next; slot++ {
		if owner := owners[slot]; owner != (slotOwner{}) {
			t.held[owner] = slot
		} else {
			t.free = append(t.free, slot)
		}
	}
	return t, nil
}

// index returns the slot of a port, a new one if it has none. Where there is
// none left it is slot 0, which counts for nobody, until all tables are made anew.
func (t *slotTable) index(owner slotOwner) uint32 {
	if slot, ok := t.held[owner]; ok {
		return slot
	}
	slot, ok := t.take()
	if !ok {
		return 0
	}
	t.held[owner] = slot
	t.fresh[owner] = slot
	return slot
}

// write names the owners of new slots, whose counters are at zero.
func (t *slotTable) write(m *ebpf.Map) error {
	for owner, slot := range t.fresh {
		if err := putSlot(m, slot, owner); err != nil {
			return fmt.Errorf("write map ovl_traffic: %w", err)
		}
		delete(t.fresh, owner)
	}
	return nil
}

// putSlot gives a slot to owner, its counters at zero.
func putSlot(m *ebpf.Map, slot uint32, owner slotOwner) error {
	perCPU := make([]bpf.OvlPortTraffic, ebpf.MustPossibleCPU())
	for i := range perCPU {
		perCPU[i] = bpf.OvlPortTraffic{Vni: owner.vni, Ifindex: owner.ifindex, Mac: owner.mac}
	}
	return m.Put(slot, perCPU)
}

// release lets go of the slots of all but these ports.
func (t *slotTable) release(ports map[uint32]bpf.OvlPort) {
	for owner, slot := range t.held {
		if p, ok := ports[owner.ifindex]; !ok || p.Slot != slot {
			delete(t.held, owner)
			t.left[owner] = slot
		}
	}
}

// fold adds what was counted for ports that are gone to the sums in past, of
// their networks, and what past has of networks that are gone to that of VNI 0.
func (t *slotTable) fold(traffic, past *ebpf.Map, s datapath.State) error {
	sums, err := readAll[uint32, bpf.OvlTraffic](past)
	if err != nil {
		return fmt.Errorf("read map ovl_past: %w", err)
	}
	for owner, slot := range t.left {
		counted, err := readSlot(traffic, slot)
		if err != nil {
			return fmt.Errorf("read map ovl_traffic: %w", err)
		}
		if sum := addTraffic(sums[owner.vni], counted); sum != sums[owner.vni] {
			if err := past.Put(owner.vni, sum); err != nil {
				return fmt.Errorf("write map ovl_past: %w", err)
			}
			sums[owner.vni] = sum
		}
		if err := putSlot(traffic, slot, slotOwner{}); err != nil {
			return fmt.Errorf("write map ovl_traffic: %w", err)
		}
		delete(t.left, owner)
		t.free = append(t.free, slot)
	}
	for _, n := range s.Networks {
		delete(sums, uint32(n.VNI))
	}
	for owner := range t.held { // not gone yet
		delete(sums, owner.vni)
	}
	gone := sums[0]
	delete(sums, 0)
	for vni, sum := range sums {
		gone = addTraffic(gone, sum)
		if err := past.Put(uint32(0), gone); err != nil {
			return fmt.Errorf("write map ovl_past: %w", err)
		}
		if err := past.Delete(vni); err != nil {
			return fmt.Errorf("delete from map ovl_past: %w", err)
		}
	}
	return nil
}

func readSlot(m *ebpf.Map, slot uint32) (bpf.OvlTraffic, error) {
	var perCPU []bpf.OvlPortTraffic
	if err := m.Lookup(slot, &perCPU); err != nil {
		return bpf.OvlTraffic{}, err
	}
	return sumTraffic(perCPU), nil
}

func sumTraffic(perCPU []bpf.OvlPortTraffic) (sum bpf.OvlTraffic) {
	for _, c := range perCPU {
		sum = addTraffic(sum, c.Counted)
	}
	return sum
}

func addTraffic(a, b bpf.OvlTraffic) bpf.OvlTraffic {
	return bpf.OvlTraffic{
		Sent: addCounter(a.Sent, b.Sent), Received: addCounter(a.Received, b.Received),
		Answered: addCounter(a.Answered, b.Answered), Dropped: addCounter(a.Dropped, b.Dropped),
		Copied: addCounter(a.Copied, b.Copied),
	}
}

func addCounter(a, b bpf.OvlCounter) bpf.OvlCounter {
	return bpf.OvlCounter{Packets: a.Packets + b.Packets, Bytes: a.Bytes + b.Bytes}
}
