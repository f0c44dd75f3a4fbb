package kernel

import (
	"fmt"
	"net/netip"

	"github.com/ovlnet/ovl/bpf"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// Flags of bpf/types.h.
const (
	fdbTAP           = 1 // OVL_PORT_TAP
	fdbBackend       = 2 // OVL_PORT_BACKEND
	fdbToService     = 4 // OVL_TO_SERVICE
	networkMulticast = 1 // OVL_NETWORK_MULTICAST
)

// tables is the wanted content of the maps: a pure function of the State and
// of what the host has given numbers to.
type tables struct {
	ports    map[uint32]bpf.OvlPort
	devices  map[uint32]string // names of the ports' devices
	fdb      map[bpf.OvlFdbKey]bpf.OvlFdbEntry
	neigh    map[bpf.OvlNeighKey]bpf.OvlNeighEntry
	members  map[bpf.OvlMemberKey]bpf.OvlMemberEntry
	networks map[uint32]bpf.OvlNetworkEntry
	flood    floodTable
}

// numbers are what only the host knows: the family of its underlay, what it
// calls devices and peers, and where it counts for ports.
type numbers struct {
	underlay6 bool
	ifindex   func(device string) (uint32, error)
	peer      func(vtep netip.Addr) (uint16, error)
	slot      func(slotOwner) uint32
	flood     floodTable // what the map holds
}

// build turns s into tables. An object that has no number on this host is left
// out and reported; the others are not affected.
func build(s datapath.State, n numbers) (tables, []error) {
	t := tables{
		ports:    map[uint32]bpf.OvlPort{},
		devices:  map[uint32]string{},
		fdb:      map[bpf.OvlFdbKey]bpf.OvlFdbEntry{},
		neigh:    map[bpf.OvlNeighKey]bpf.OvlNeighEntry{},
		members:  map[bpf.OvlMemberKey]bpf.OvlMemberEntry{},
		networks: map[uint32]bpf.OvlNetworkEntry{},
		flood:    floodTable{},
	}
	var errs []error
	for _, network := range s.Networks {
		t.addNetwork(network)
		for _, r := range network.Remotes {
			if err := t.addRemote(network.VNI, r, n); err != nil {
				errs = append(errs, &datapath.ObjectError{
					Object: fmt.Sprintf("remote %s of VNI %s", r.MAC, network.VNI), Err: err,
				})
			}
		}
		// After the remotes: an endpoint that has moved here is here.
		for _, p := range network.Ports {
			if err := t.addPort(network, p, n); err != nil {
				errs = append(errs, &datapath.ObjectError{Object: "port " + p.Device, Err: err})
			}
		}
		t.addServices(network)
		if network.Multicast {
			if err := t.addFlood(network, n.flood); err != nil {
				errs = append(errs, &datapath.ObjectError{Object: "multicast of VNI " + network.VNI.String(), Err: err})
			}
		}
	}
	return t, errs
}

func (t *tables) addNetwork(n datapath.Network) {
	e := bpf.OvlNetworkEntry{Mtu: uint32(n.MTU), Gateway4: firstIPv4(n.Gateways), Gateway6: firstIPv6(n.Gateways)}
	if n.Multicast {
		e.Flags |= networkMulticast
	}
	t.networks[uint32(n.VNI)] = e
}

func (t *tables) addPort(network datapath.Network, p datapath.Port, n numbers) error {
	index, err := n.ifindex(p.Device)
	if err != nil {
		return err
	}
	addr4, addr6 := firstIPv4(p.Addrs), firstIPv6(p.Addrs)
	slot := n.slot(slotOwner{uint32(network.VNI), index, p.MAC})
	t.devices[index] = p.Device
	t.ports[index] = bpf.OvlPort{
		Vni: uint32(network.VNI), Mac: p.MAC, Mtu: uint16(network.MTU), Addr4: addr4, Addr6: addr6, Slot: slot,
	}
	entry := bpf.OvlFdbEntry{Addr4: addr4, Addr6: addr6, Ifindex: index, Slot: slot}
	if p.Kind == datapath.TAP {
		entry.Flags = fdbTAP
	}
	t.fdb[fdbKey(network.VNI, p.MAC)] = entry
	t.addNeighbours(network.VNI, p.MAC, p.Addrs)
	return nil
}

func (t *tables) addRemote(vni encap.VNI, r datapath.Remote, n numbers) error {
	if r.VTEP.Is6() != n.underlay6 {
		return fmt.Errorf("VTEP %s: not of the family of this host's underlay", r.VTEP)
	}
	peer, err := n.peer(r.VTEP)
	if err != nil {
		return err
	}
	t.fdb[fdbKey(vni, r.MAC)] = bpf.OvlFdbEntry{
		Vtep: r.VTEP.As16(), Addr4: firstIPv4(r.Addrs), Addr6: firstIPv6(r.Addrs), Peer: peer,
	}
	t.members[bpf.OvlMemberKey{Vni: uint32(vni), Vtep: r.VTEP.As16()}] = bpf.OvlMemberEntry{
		Peer: uint32(peer),
	}
	t.addNeighbours(vni, r.MAC, r.Addrs)
	return nil
}

// addServices makes ServiceMAC the neighbour that has the VIPs, and marks their
// backends. What is behind a VIP is in maps of its own (services.go).
func (t *tables) addServices(network datapath.Network) {
	for _, v := range network.Services {
		if len(v.VIPs) == 0 {
			continue
		}
		t.fdb[fdbKey(network.VNI, datapath.ServiceMAC)] = bpf.OvlFdbEntry{Flags: fdbToService}
		t.addNeighbours(network.VNI, datapath.ServiceMAC, v.VIPs)
		for _, b := range v.Backends {
			e, ok := t.fdb[fdbKey(network.VNI, b.MAC)]
			if !ok {
				continue
			}
			e.Flags |= fdbBackend
			t.fdb[fdbKey(network.VNI, b.MAC)] = e
			if p, ok := t.ports[e.Ifindex]; ok {
				p.Flags |= fdbBackend
				t.ports[e.Ifindex] = p
			}
		}
	}
}

func (t *tables) addNeighbours(vni encap.VNI, mac encap.MAC, addrs []netip.Addr) {
	for _, a := range addrs {
		t.neigh[bpf.OvlNeighKey{Vni: uint32(vni), Addr: a.As16()}] = bpf.OvlNeighEntry{Mac: mac}
	}
}

func fdbKey(vni encap.VNI, mac encap.MAC) bpf.OvlFdbKey {
	return bpf.OvlFdbKey{Vni: uint32(vni), Mac: mac}
}

// firstIPv4 and firstIPv6 return zeros if there is none.
func firstIPv4(addrs []netip.Addr) [4]byte {
	for _, a := range addrs {
		if a.Is4() {
			return a.As4()
		}
	}
	return [4]byte{}
}

func firstIPv6(addrs []netip.Addr) [16]byte {
	for _, a := range addrs {
		if a.Is6() {
			return a.As16()
		}
	}
	return [16]byte{}
}
