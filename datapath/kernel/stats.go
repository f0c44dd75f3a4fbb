package kernel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/ovlnet/ovl/bpf"
	"github.com/ovlnet/ovl/datapath"
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
		Drops: map[datapath.DropReason]datapath.Counter{},
		Peers: map[netip.Addr]datapath.PeerCounter{},
		Drift: d.drift,
	}
	for _, r := range datapath.DropReasons() {
		c, err := readDrop(d.objs.OvlDrops, r)
		if err != nil {
			return datapath.Stats{}, fmt.Errorf("read map ovl_drops: %w", err)
		}
		s.Drops[r] = c
	}
	for vtep, slot := range d.peers.slots {
		p, err := readPeer(d.objs.OvlPeers, slot)
		if err != nil {
			return datapath.Stats{}, fmt.Errorf("read map ovl_peers: %w", err)
		}
		s.Peers[vtep] = datapath.PeerCounter{
			Sent:     datapath.Counter{Packets: p.SentPackets, Bytes: p.SentBytes},
			Received: datapath.Counter{Packets: p.ReceivedPackets, Bytes: p.ReceivedBytes},
		}
	}
	s.Attachments = slices.SortedFunc(slices.Values(d.attached), func(a, b datapath.Attachment) int {
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
	var sum datapath.Counter
	for _, c := range perCPU {
		sum.Packets += c.Packets
		sum.Bytes += c.Bytes
	}
	return sum, nil
}
