package kernel

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/ovlnet/ovl/bpf"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// maxTargets bounds how many copies a frame to a group becomes
// (OVL_MAX_TARGETS).
const maxTargets = 512

// floodTable is the content of ovl_flood: for each network that carries
// multicast a list, by index, of where a copy of a frame goes.
//
// Programs walk through a list while it changes. Therefore an entry never
// moves: what stays on the list keeps its index and is met once, what is new
// takes an index that is free or held by what goes, and what goes leaves a
// hole.
type floodTable map[bpf.OvlFloodKey]bpf.OvlFloodEntry

// addFlood lists the ports and VTEPs of a network in its entry, after they have
// been added themselves: what could not be added is not on the list. The first
// maxTargets of them, ports before VTEPs, fit; the error says how many do not.
// have is what the map holds before the first State.
func (t *tables) addFlood(network *datapath.Network, e *bpf.OvlNetworkEntry, have floodTable) error {
	if have == nil {
		have = t.flood.now
	}
	ports, hosts := t.targets(network)
	all := slices.Concat(ports, hosts)
	listed := all[:min(len(all), maxTargets)]
	places := floodTable{}
	e.Targets = uint16(places.place(network.VNI, listed, have))
	e.LeftPorts = uint16(max(0, len(ports)-maxTargets))
	e.LeftHosts = uint16(len(all)-len(listed)) - e.LeftPorts
	t.setFlood(network.VNI, places)
	if len(all) > len(listed) {
		return fmt.Errorf("%d ports of this host and %d other hosts are to get a copy of each frame: only %d of them do",
			len(ports), len(hosts), maxTargets)
	}
	return nil
}

// setFlood puts these places in place of those that the network has by its entry
// so far.
func (t *tables) setFlood(vni encap.VNI, places floodTable) {
	for i := range uint32(t.networks.now[uint32(vni)].Targets) {
		k := bpf.OvlFloodKey{Vni: uint32(vni), Index: i}
		if _, stays := places[k]; !stays {
			t.flood.delete(k)
		}
	}
	for k, e := range places {
		t.flood.put(k, e)
	}
}

// targets returns what the tables have of a network's ports but the gateway, in
// the order of the State, and of the VTEPs of its remotes, by ascending address.
func (t *tables) targets(network *datapath.Network) (ports, hosts []bpf.OvlFloodEntry) {
	for _, p := range network.Ports {
		if p.Gateway {
			continue
		}
		// That of a port which failed leads to no port, if anywhere.
		to := t.fdb.now[fdbKey(network.VNI, p.MAC)]
		if _, ok := t.ports.now[to.Ifindex]; ok {
			ports = append(ports, bpf.OvlFloodEntry{Ifindex: to.Ifindex, Slot: to.Slot})
		}
	}
	vteps := map[netip.Addr]bool{}
	for _, r := range network.Remotes {
		vteps[r.VTEP] = true
	}
	for _, vtep := range slices.SortedFunc(maps.Keys(vteps), netip.Addr.Compare) {
		if m, ok := t.members.now[memberKey(network.VNI, vtep)]; ok {
			hosts = append(hosts, bpf.OvlFloodEntry{Vtep: vtep.As16(), Peer: m.Peer})
		}
	}
	return ports, hosts
}

// place gives each target an index, the one that it has if it has any, and
// returns how many indices there are to look at.
func (f floodTable) place(vni encap.VNI, targets []bpf.OvlFloodEntry, have floodTable) (used int) {
	// A target is the same one wherever it is counted.
	same := func(e bpf.OvlFloodEntry) bpf.OvlFloodEntry { e.Peer, e.Slot = 0, 0; return e }
	index := map[bpf.OvlFloodEntry]uint32{}
	for i := uint32(maxTargets); i > 0; i-- {
		if e, ok := have[bpf.OvlFloodKey{Vni: uint32(vni), Index: i - 1}]; ok {
			index[same(e)] = i - 1
		}
	}
	put := func(i uint32, e bpf.OvlFloodEntry) {
		f[bpf.OvlFloodKey{Vni: uint32(vni), Index: i}] = e
		used = max(used, int(i)+1)
	}
	var fresh []bpf.OvlFloodEntry
	for _, e := range targets {
		if i, ok := index[same(e)]; ok {
			put(i, e)
		} else {
			fresh = append(fresh, e)
		}
	}
	i := uint32(0)
	for _, e := range fresh {
		for ; ; i++ {
			if _, taken := f[bpf.OvlFloodKey{Vni: uint32(vni), Index: i}]; !taken {
				break
			}
		}
		put(i, e)
	}
	return used
}
