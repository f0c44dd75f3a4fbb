package kernel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/ovlnet/ovl/bpf"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// Stats implements datapath.Datapath. Counters are summed over the CPUs while
// packets go on, so two of them need not be of the same instant.
func (d *Datapath) Stats(ctx context.Context) (datapath.Stats, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return datapath.Stats{}, errClosed
	}
	if err := ctx.Err(); err != nil {
		return datapath.Stats{}, err
	}
	s := datapath.Stats{
		Drops:    map[datapath.DropReason]datapath.Counter{},
		Peers:    map[netip.Addr]datapath.PeerCounter{},
		Ports:    map[string]datapath.PortCounter{},
		Networks: map[encap.VNI]datapath.PortCounter{},
		Drift:    d.drift,
	}
	for _, r := range datapath.DropReasons() {
		c, err := readDrop(d.objs.OvlDrops, r)
		if err != nil {
			return datapath.Stats{}, fmt.Errorf("read map ovl_drops: %w", err)
		}
		s.Drops[r] = c
	}
	if err := d.peers.stats(d.objs.OvlPeers, &s); err != nil {
		return datapath.Stats{}, fmt.Errorf("read map ovl_peers: %w", err)
	}
	if err := d.slots.stats(d.objs.OvlTraffic, d.tables.devices, &s); err != nil {
		return datapath.Stats{}, fmt.Errorf("read map ovl_traffic: %w", err)
	}
	if err := pastStats(d.objs.OvlPast, &s); err != nil {
		return datapath.Stats{}, fmt.Errorf("read map ovl_past: %w", err)
	}
	s.Attachments = slices.SortedFunc(maps.Values(d.attached), func(a, b datapath.Attachment) int {
		return cmp.Or(cmp.Compare(a.Program, b.Program), cmp.Compare(a.Device, b.Device))
	})
	return s, nil
}

// readDrop sums a reason over all CPUs; one that has no entry yet is zero.
func readDrop(m *ebpf.Map, r datapath.DropReason) (datapath.Counter, error) {
	var perCPU []bpf.OvlCounter
	err := m.Lookup(uint32(r), &perCPU)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return datapath.Counter{}, err
	}
	var sum bpf.OvlCounter
	for _, c := range perCPU {
		sum = addCounter(sum, c)
	}
	return counter(sum), nil
}

// stats puts the counters of all peers into s.
func (t *peerTable) stats(m *ebpf.Map, s *datapath.Stats) error {
	vteps := make([]netip.Addr, t.next)
	for vtep, slot := range t.slots {
		vteps[slot] = vtep
	}
	return readPerCPU(m, len(vteps), func(slot uint32, perCPU []bpf.OvlPeer) {
		if vteps[slot].IsValid() {
			s.Peers[vteps[slot]] = sumPeer(perCPU)
		} else {
			s.Past.Peers = s.Past.Peers.Add(sumPeer(perCPU))
		}
	})
}

// stats puts the counters of all ports into s, and their sums by network;
// devices names those that there are.
func (t *slotTable) stats(m *ebpf.Map, devices map[uint32]string, s *datapath.Stats) error {
	return readPerCPU(m, int(t.next), func(slot uint32, perCPU []bpf.OvlPortTraffic) {
		owner := slotOwner{perCPU[0].Vni, perCPU[0].Ifindex, perCPU[0].Mac}
		counted := portCounter(sumTraffic(perCPU))
		if owner.vni == 0 {
			s.Past.Ports = s.Past.Ports.Add(counted)
			return
		}
		vni := encap.VNI(owner.vni)
		s.Networks[vni] = s.Networks[vni].Add(counted)
		if device, ok := devices[owner.ifindex]; ok && t.held[owner] == slot {
			s.Ports[device] = counted
		}
	})
}

// pastStats adds what was counted for ports that are gone.
func pastStats(m *ebpf.Map, s *datapath.Stats) error {
	sums, err := readAll[uint32, bpf.OvlTraffic](m)
	for vni, sum := range sums {
		if vni == 0 {
			s.Past.Ports = s.Past.Ports.Add(portCounter(sum))
			continue
		}
		s.Networks[encap.VNI(vni)] = s.Networks[encap.VNI(vni)].Add(portCounter(sum))
	}
	return err
}

func counter(c bpf.OvlCounter) datapath.Counter {
	return datapath.Counter{Packets: c.Packets, Bytes: c.Bytes}
}

func portCounter(t bpf.OvlTraffic) datapath.PortCounter {
	return datapath.PortCounter{
		Sent: counter(t.Sent), Received: counter(t.Received), Answered: counter(t.Answered),
		Dropped: counter(t.Dropped), Copied: counter(t.Copied),
	}
}

// unknownMTU is that of a path whose MTU the kernel does not say, before Linux
// 5.12.
const unknownMTU = 1<<32 - 1

// sumPeer sums a slot of ovl_peers over all CPUs.
func sumPeer(perCPU []bpf.OvlPeer) datapath.PeerCounter {
	var sent, received bpf.OvlCounter
	var latest bpf.OvlPeer // the CPU that has asked for a route last
	for _, c := range perCPU {
		sent, received = addCounter(sent, c.Sent), addCounter(received, c.Received)
		if c.Expires >= latest.Expires && c.Mtu != 0 {
			latest = c
		}
	}
	p := datapath.PeerCounter{Sent: counter(sent), Received: counter(received)}
	if latest.Mtu != unknownMTU {
		p.PathMTU = int(latest.Mtu)
	}
	return p
}
