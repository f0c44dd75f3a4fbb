package kernel

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/ovlnet/ovl/bpf"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// Flags of bpf/types.h.
const (
	fdbTAP           = 1 // OVL_PORT_TAP
	fdbBackend       = 2 // OVL_PORT_BACKEND
	fdbToService     = 4 // OVL_TO_SERVICE
	fdbGateway       = 8 // OVL_PORT_GATEWAY
	networkMulticast = 1 // OVL_NETWORK_MULTICAST
)

// tables is the wanted content of the maps: what a State makes of it, and what the
// host has given numbers to. It goes from one State to the next by what differs
// between them, so that a change costs what has changed.
//
// It is exact as long as every entry is of one object. Where two want one (clash)
// it is right, but has to be made anew for the next State; so it has after an
// error, since objects that failed are left out.
type tables struct {
	state datapath.State // that it was made of

	ports    table[uint32, bpf.OvlPort]
	fdb      table[bpf.OvlFdbKey, bpf.OvlFdbEntry]
	neigh    table[bpf.OvlNeighKey, bpf.OvlNeighEntry]
	members  table[bpf.OvlMemberKey, bpf.OvlMemberEntry]
	networks table[uint32, bpf.OvlNetworkEntry]
	flood    table[bpf.OvlFloodKey, bpf.OvlFloodEntry]
	services serviceTables

	devices map[uint32]string // names of the ports' devices
	indexes map[string]uint32 // and their numbers, by name
	// remotes are those at each VTEP of a network, led the services that lead to
	// a MAC.
	remotes users[bpf.OvlMemberKey]
	led     users[bpf.OvlFdbKey]
}

// numbers are what only the host knows: the family of its underlay, what it
// calls devices, peers, services and endpoints, and where it counts for ports.
type numbers struct {
	underlay6 bool
	ifindex   func(device string) (uint32, error)
	peer      func(vtep netip.Addr) (uint16, error)
	slot      func(slotOwner) uint32
	service   func(serviceName) uint32
	endpoint  func(id string) uint32
	flood     floodTable // what the map holds, before the first State
}

func newTables(s datapath.State) *tables {
	endpoints, services := 0, 0
	for i := range s.Networks {
		n := &s.Networks[i]
		endpoints += len(n.Ports) + len(n.Remotes)
		services += len(n.Services)
	}
	return &tables{
		ports:    newTable[uint32, bpf.OvlPort](0),
		fdb:      newTable[bpf.OvlFdbKey, bpf.OvlFdbEntry](endpoints),
		neigh:    newTable[bpf.OvlNeighKey, bpf.OvlNeighEntry](endpoints + services),
		members:  newTable[bpf.OvlMemberKey, bpf.OvlMemberEntry](0),
		networks: newTable[uint32, bpf.OvlNetworkEntry](0),
		flood:    newTable[bpf.OvlFloodKey, bpf.OvlFloodEntry](0),
		services: newServiceTables(services),
		devices:  map[uint32]string{},
		indexes:  map[string]uint32{},
		remotes:  newUsers[bpf.OvlMemberKey](0),
		led:      newUsers[bpf.OvlFdbKey](0),
	}
}

// update brings t to s. An object that has no number on this host is left out and
// reported; the others are not affected. All that goes makes room before anything
// comes: it may be the same with another name.
func (t *tables) update(s datapath.State, n numbers) (errs []error) {
	changes := s.Since(t.state)
	for i := range changes {
		c := &changes[i]
		if c.Was != nil && c.Now != nil && c.Was.MTU != c.Now.MTU { // ports have it too
			c.Ports = datapath.Change[datapath.Port]{Gone: c.Was.Ports, Come: c.Now.Ports}
		}
		if c.Was != nil {
			t.remove(c, n)
		}
	}
	for i := range changes {
		if changes[i].Now != nil {
			errs = append(errs, t.add(&changes[i], n)...)
		}
	}
	t.state = s
	return errs
}

// clash reports whether objects want the same entries.
func (t *tables) clash() bool {
	return t.ports.clash || t.fdb.clash || t.neigh.clash || t.services.clash()
}

// written says that the maps have all of it, and lets go of the numbers that
// nothing in it has.
func (t *tables) written(numbers *serviceNumbers, shares *shareMaps, now time.Time) {
	t.ports.written()
	t.fdb.written()
	t.neigh.written()
	t.members.written()
	t.networks.written()
	t.flood.written()
	t.services.written(numbers, shares, now)
	clear(t.remotes.idle)
	clear(t.led.idle)
}

func (t *tables) remove(c *datapath.NetworkChange, n numbers) {
	vni := c.Was.VNI
	for i := range c.Services.Gone {
		t.removeService(vni, &c.Services.Gone[i], n)
	}
	for i := range c.Ports.Gone {
		t.removePort(vni, &c.Ports.Gone[i])
	}
	for i := range c.Remotes.Gone {
		t.removeRemote(vni, &c.Remotes.Gone[i])
	}
	if c.Now == nil {
		t.setFlood(vni, nil)
		t.fdb.delete(fdbKey(vni, datapath.ServiceMAC))
		t.networks.delete(uint32(vni))
	}
}

func (t *tables) add(c *datapath.NetworkChange, n numbers) (errs []error) {
	vni := c.Now.VNI
	for i := range c.Remotes.Come {
		r := &c.Remotes.Come[i]
		if err := t.addRemote(vni, r, n); err != nil {
			errs = append(errs, &datapath.ObjectError{Object: datapath.RemoteObject(r.MAC, vni), Err: err})
		}
	}
	// After the remotes: an endpoint that has moved here is here.
	for i := range c.Ports.Come {
		p := &c.Ports.Come[i]
		if err := t.addPort(c.Now, p, n); err != nil {
			errs = append(errs, &datapath.ObjectError{Object: datapath.PortObject(p.Device), Err: err})
		}
	}
	for i := range c.Services.Come {
		v := &c.Services.Come[i]
		if err := t.addService(vni, v, n); err != nil {
			errs = append(errs, &datapath.ObjectError{Object: fmt.Sprintf("service %s of VNI %s", v.Name, vni), Err: err})
		}
	}
	if err := t.addNetwork(c, n); err != nil {
		errs = append(errs, &datapath.ObjectError{Object: "multicast of VNI " + vni.String(), Err: err})
	}
	return errs
}

// addNetwork comes after all that is in it. It leaves the way to VIPs open also
// where there are none (any more): the programs end the flows of a service that is
// gone.
func (t *tables) addNetwork(c *datapath.NetworkChange, n numbers) error {
	e := bpf.OvlNetworkEntry{Mtu: uint32(c.Now.MTU), Gateway4: firstIPv4(c.Now.Gateways), Gateway6: firstIPv6(c.Now.Gateways)}
	var err error
	switch {
	case !c.Now.Multicast:
		t.setFlood(c.Now.VNI, nil)
	case c.Was == nil || !c.Was.Multicast || !c.Ports.Empty() || !c.Remotes.Empty():
		e.Flags |= networkMulticast
		err = t.addFlood(c.Now, &e, n.flood)
	default: // the list is as it was
		was := t.networks.now[uint32(c.Now.VNI)]
		e.Flags, e.Targets, e.LeftPorts, e.LeftHosts = was.Flags, was.Targets, was.LeftPorts, was.LeftHosts
	}
	t.networks.put(uint32(c.Now.VNI), e)
	t.fdb.put(fdbKey(c.Now.VNI, datapath.ServiceMAC), bpf.OvlFdbEntry{Flags: fdbToService})
	return err
}

func (t *tables) addPort(network *datapath.Network, p *datapath.Port, n numbers) error {
	index, err := n.ifindex(p.Device)
	if err != nil {
		return err
	}
	addr4, addr6 := firstIPv4(p.Addrs), firstIPv6(p.Addrs)
	slot := n.slot(slotOwner{uint32(network.VNI), index, p.MAC})
	t.devices[index], t.indexes[p.Device] = p.Device, index
	k := fdbKey(network.VNI, p.MAC)
	flags := t.backendFlag(k)
	port := bpf.OvlPort{
		Vni: uint32(network.VNI), Mac: p.MAC, Mtu: uint16(network.MTU), Addr4: addr4, Addr6: addr6, Slot: slot, Flags: uint32(flags),
	}
	entry := bpf.OvlFdbEntry{Addr4: addr4, Addr6: addr6, Ifindex: index, Slot: slot, Flags: flags}
	if p.Kind == datapath.TAP {
		entry.Flags |= fdbTAP
	}
	if p.Gateway {
		port.Flags |= fdbGateway
		entry.Flags |= fdbGateway
	}
	t.ports.add(index, port)
	t.fdb.add(k, entry)
	t.addNeighbours(network.VNI, p.MAC, p.Addrs)
	return nil
}

func (t *tables) removePort(vni encap.VNI, p *datapath.Port) {
	index := t.indexes[p.Device]
	delete(t.devices, index)
	delete(t.indexes, p.Device)
	t.ports.delete(index)
	t.fdb.delete(fdbKey(vni, p.MAC))
	t.removeNeighbours(vni, p.Addrs)
}

func (t *tables) addRemote(vni encap.VNI, r *datapath.Remote, n numbers) error {
	if r.VTEP.Is6() != n.underlay6 {
		return fmt.Errorf("VTEP %s: not of the family of this host's underlay", r.VTEP)
	}
	peer, err := n.peer(r.VTEP)
	if err != nil {
		return err
	}
	k := fdbKey(vni, r.MAC)
	t.fdb.add(k, bpf.OvlFdbEntry{
		Vtep: r.VTEP.As16(), Addr4: firstIPv4(r.Addrs), Addr6: firstIPv6(r.Addrs), Peer: peer, Flags: t.backendFlag(k),
	})
	if k := memberKey(vni, r.VTEP); t.remotes.add(k) {
		t.members.put(k, bpf.OvlMemberEntry{Peer: uint32(peer)})
	}
	t.addNeighbours(vni, r.MAC, r.Addrs)
	return nil
}

func (t *tables) removeRemote(vni encap.VNI, r *datapath.Remote) {
	t.fdb.delete(fdbKey(vni, r.MAC))
	if k := memberKey(vni, r.VTEP); t.remotes.drop(k) {
		t.members.delete(k)
	}
	t.removeNeighbours(vni, r.Addrs)
}

func (t *tables) addNeighbours(vni encap.VNI, mac encap.MAC, addrs []netip.Addr) {
	for _, a := range addrs {
		t.neigh.add(neighKey(vni, a), bpf.OvlNeighEntry{Mac: mac})
	}
}

func (t *tables) removeNeighbours(vni encap.VNI, addrs []netip.Addr) {
	for _, a := range addrs {
		t.neigh.delete(neighKey(vni, a))
	}
}

func fdbKey(vni encap.VNI, mac encap.MAC) bpf.OvlFdbKey {
	return bpf.OvlFdbKey{Vni: uint32(vni), Mac: mac}
}

func neighKey(vni encap.VNI, a netip.Addr) bpf.OvlNeighKey {
	return bpf.OvlNeighKey{Vni: uint32(vni), Addr: a.As16()}
}

func memberKey(vni encap.VNI, vtep netip.Addr) bpf.OvlMemberKey {
	return bpf.OvlMemberKey{Vni: uint32(vni), Vtep: vtep.As16()}
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
