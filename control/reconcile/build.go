package reconcile

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// Local is what Build has to know of the host that it builds for.
type Local struct {
	// Node is the host's own node ID.
	Node string
	// VTEP is its own underlay address, and Port the UDP port of VXLAN, which
	// has to be the same on every host.
	VTEP netip.Addr
	Port uint16
	// MaxMTU is the largest inner IP packet that its underlay takes, in
	// bytes; 0 is no limit.
	MaxMTU int
}

// Build returns what t makes of the host l, sorted, and what in t had to be
// left out. It depends on nothing but its arguments: every host that holds
// the same tables picks the same winners.
//
// A network is in it when the host has an endpoint of it. Endpoints of a node
// that has no row are not: that node left. A node that failed keeps its row,
// so its endpoints stay; services do without them.
func Build(t *Tables, l Local) (datapath.State, []Alarm) {
	var b Builder
	return b.Build(t, l)
}

// Builder builds the States of one host, one after the other. It remembers the
// last, so that one costs what is new in it. It is not safe for concurrent use.
type Builder struct {
	tables *Tables
	local  Local
	base   *builder
	// services are those of each network that is present, by its ID.
	services map[string]*balanced
}

// Build is the function Build.
func (b *Builder) Build(t *Tables, l Local) (datapath.State, []Alarm) {
	if b.base == nil || t.base == 0 || t.base != b.tables.base || l != b.local || !b.changeEndpoints(t) {
		b.buildAll(t, l)
	}
	b.tables, b.local = t, l
	return b.state(t)
}

func (b *Builder) buildAll(t *Tables, l Local) {
	before := b.base
	b.base = &builder{tables: t, local: l, byID: make(map[string]*building), byEndpoint: make(map[string]*store.Endpoint)}
	b.base.networks()
	b.base.peers()
	b.base.endpoints()
	b.base.sort()
	if before == nil || !b.keepsPlaces(before) {
		b.services = nil
	}
	b.buildServices(t, b.base.moved(before))
}

// changeEndpoints brings what was built to t, which has the nodes and networks that
// it was built of. It is false where who has what has to be settled anew.
func (b *Builder) changeEndpoints(t *Tables) bool {
	ids, ok := t.endpointsSince(b.tables)
	if !ok {
		return false
	}
	if len(ids) > 0 {
		c, ok := b.base.changes(t, ids)
		if !ok {
			return false
		}
		if !b.base.change(c) {
			*b = Builder{} // some of it is done
			return false
		}
		if !b.keepsPlacesAfter(c) {
			b.services = nil
		}
		b.base.tables = t
	}
	b.buildServices(t, ids)
	return true
}

// state puts together what was built.
func (b *Builder) state(t *Tables) (datapath.State, []Alarm) {
	s := datapath.State{Peers: b.base.narrow}
	alarms := slices.Concat(t.Alarms, b.base.alarms)
	for _, n := range b.base.present {
		network := n.network
		if of := b.services[n.row.ID]; of != nil {
			network.Services = of.services()
			alarms = append(alarms, of.alarms...)
		}
		s.Networks = append(s.Networks, network)
	}
	return s, alarms
}

// builder makes all of a State but the services.
type builder struct {
	tables *Tables
	local  Local
	alarms []Alarm
	// byID are the networks that this host has an endpoint of, present those
	// that got a port, by VNI.
	byID    map[string]*building
	present []*building
	// byEndpoint are the endpoints that networks carry; some were refused.
	byEndpoint map[string]*store.Endpoint
	refused    bool
	// vteps are those of the other nodes, by node ID.
	vteps map[string]netip.Addr
	// narrow are peers whose underlay takes less than this host's, and unequal
	// all that have another MTU, for people.
	narrow  []datapath.Peer
	unequal []string
}

// building is a network in the making, and who has what in it.
type building struct {
	row     store.Network
	network datapath.Network
	here    int // endpoints that it has on this host
	macs    map[encap.MAC]*store.Endpoint
	addrs   map[netip.Addr]*store.Endpoint
}

func (b *builder) alarm(object, format string, args ...any) {
	b.alarms = append(b.alarms, Alarm{Object: object, Text: fmt.Sprintf(format, args...)})
}

// networks finds those that have an endpoint here, and keeps of those with
// one VNI the oldest.
func (b *builder) networks() {
	var here []string // few of many
	for id, e := range b.tables.Endpoints {
		if e.Node == b.local.Node {
			here = append(here, id)
		}
	}
	slices.Sort(here)
	present := make(map[string]bool)
	for _, id := range here {
		e := b.tables.Endpoints[id]
		present[e.Network] = true
		if _, ok := b.tables.Networks[e.Network]; !ok {
			b.alarm("endpoint "+e.Name, "is cut off: its network %s was removed; detach it", e.Network)
		}
	}
	owner := make(map[encap.VNI]store.Network, len(b.tables.Networks))
	named := make(map[string]store.Network, len(b.tables.Networks))
	for _, n := range b.tables.NetworksByAge() {
		if o, taken := named[n.Name]; taken {
			b.alarm("network "+n.Name, "the older network %s has this name: this one is %s", o.ID, n.ID)
		} else {
			named[n.Name] = n
		}
		if o, taken := owner[n.VNI]; taken {
			b.alarm("network "+n.Name, "is not carried: VNI %v belongs to the older network %s; it waits for another VNI", n.VNI, o.Name)
			continue
		}
		owner[n.VNI] = n
		if err := n.VNI.Validate(); err != nil {
			b.alarm("network "+n.Name, "is not carried: %v", err)
			continue
		}
		if !present[n.ID] {
			continue
		}
		mtu := n.MTU
		if b.local.MaxMTU > 0 && mtu > b.local.MaxMTU {
			b.alarm("network "+n.Name, "its MTU %d is more than this host's underlay takes: %d is used here", mtu, b.local.MaxMTU)
			mtu = b.local.MaxMTU
		}
		b.byID[n.ID] = &building{
			row:     n,
			network: datapath.Network{VNI: n.VNI, MTU: mtu, Multicast: n.Multicast, Gateways: gateways(n)},
			macs:    make(map[encap.MAC]*store.Endpoint),
			addrs:   make(map[netip.Addr]*store.Endpoint),
		}
	}
}

// gateways returns those of a network's subnets.
func gateways(n store.Network) []netip.Addr {
	var out []netip.Addr
	for _, s := range n.Subnets {
		if s.Gateway.IsValid() {
			out = append(out, s.Gateway)
		}
	}
	return out
}

// peers finds the VTEPs of the other nodes. Of two nodes with one VTEP the
// one that started last has it: the other is what was on that host before, or
// a clone of it.
func (b *builder) peers() {
	b.vteps = make(map[string]netip.Addr, len(b.tables.Nodes))
	owner := make(map[netip.Addr]store.Node, len(b.tables.Nodes))
	latest := slices.SortedFunc(maps.Values(b.tables.Nodes), func(x, y store.Node) int {
		return older(y.Started, y.ID, x.Started, x.ID)
	})
	named := make(map[string]store.Node, len(b.tables.Nodes))
	for _, n := range latest {
		if o, taken := named[n.Name]; taken {
			b.alarm("node "+n.Name, "two nodes have this name, %s and %s: start one of them with another --name", o.ID, n.ID)
		}
		named[n.Name] = n
		switch o, taken := owner[n.VTEP]; {
		case n.ID == b.local.Node:
			continue
		case !n.VTEP.IsValid():
			b.alarm("node "+n.Name, "its endpoints cannot be reached: it has no VTEP")
		case n.VTEP != n.VTEP.Unmap().WithZone(""):
			b.alarm("node "+n.Name, "its endpoints are left out: its VTEP %v is not an address as hosts have it", n.VTEP)
		case n.VTEP.Is4() != b.local.VTEP.Is4():
			b.alarm("node "+n.Name, "its endpoints are left out: its VTEP %v is not of the family of this host's, %v: a cluster has one", n.VTEP, b.local.VTEP)
		case n.VXLANPort != b.local.Port:
			b.alarm("node "+n.Name, "its endpoints are left out: it has VXLAN on port %d, this host on %d", n.VXLANPort, b.local.Port)
		case n.VTEP == b.local.VTEP:
			b.alarm("node "+n.Name, "its endpoints are left out: its VTEP %v is this host's own", n.VTEP)
		case taken:
			b.alarm("node "+n.Name, "its endpoints are left out: node %s started later with the same VTEP %v", o.Name, n.VTEP)
		default:
			owner[n.VTEP] = n
			b.vteps[n.ID] = n.VTEP
			b.underlayMTU(n)
		}
	}
	b.alarmUnequal()
}

// underlayMTU compares a peer's underlay with the host's own. No packet is longer
// than IP can say, whatever the device takes.
func (b *builder) underlayMTU(n store.Node) {
	own, mtu := b.local.MaxMTU+encap.Overhead(b.local.VTEP), min(n.MTU, 1<<16-1)
	if b.local.MaxMTU == 0 || mtu <= 0 || mtu == own {
		return
	}
	b.unequal = append(b.unequal, fmt.Sprintf("%d on node %s", mtu, n.Name))
	if mtu < own {
		b.narrow = append(b.narrow, datapath.Peer{VTEP: n.VTEP, MTU: mtu})
	}
}

// alarmUnequal names the first few of the nodes whose underlay has another MTU.
func (b *builder) alarmUnequal() {
	const few = 5
	slices.Sort(b.unequal)
	named := strings.Join(b.unequal[:min(few, len(b.unequal))], ", ")
	switch more := len(b.unequal) - few; {
	case len(b.unequal) == 0:
		return
	case more > 0:
		named += fmt.Sprintf(" and %d more", more)
	}
	b.alarm("underlay", "its MTU is %d here but %s: packets for each host are held to what both take", b.local.MaxMTU+encap.Overhead(b.local.VTEP), named)
}

// endpoints puts each into its network, oldest first, so that of two with one
// MAC or address the oldest has it.
func (b *builder) endpoints() {
	var present []*store.Endpoint // there may be many, and one is large
	for _, e := range b.tables.Endpoints {
		if b.carries(&e) {
			present = append(present, &e)
		}
	}
	slices.SortFunc(present, func(x, y *store.Endpoint) int { return older(x.Created, x.ID, y.Created, y.ID) })
	for _, e := range present {
		n := b.byID[e.Network]
		if !b.claim(n, e) {
			b.refused = true
			continue
		}
		if port, remote, here := b.made(e); here {
			n.here++
			n.network.Ports = append(n.network.Ports, port)
		} else {
			n.network.Remotes = append(n.network.Remotes, remote)
		}
	}
}

// carries reports whether an endpoint is of a network that is here, and on a host
// that can be reached.
func (b *builder) carries(e *store.Endpoint) bool {
	_, remote := b.vteps[e.Node]
	return b.byID[e.Network] != nil && (remote || e.Node == b.local.Node)
}

// made is what a State has of an endpoint: a port if it is here, else a remote.
func (b *builder) made(e *store.Endpoint) (port datapath.Port, remote datapath.Remote, here bool) {
	addrs := make([]netip.Addr, 0, len(e.Addrs))
	for _, a := range e.Addrs {
		addrs = append(addrs, a.Addr())
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	if vtep, remote := b.vteps[e.Node]; remote {
		return port, datapath.Remote{MAC: e.MAC, Addrs: addrs, VTEP: vtep}, false
	}
	return datapath.Port{Device: e.Device, Kind: e.Kind, MAC: e.MAC, Addrs: addrs}, remote, true
}

// claim gives e its MAC and addresses in n; false if an older endpoint has
// one of them.
func (b *builder) claim(n *building, e *store.Endpoint) bool {
	refuse := func(format string, args ...any) bool {
		b.alarm("endpoint "+e.Name+" of network "+n.row.Name, format, args...)
		return false
	}
	if err := CheckEndpoint(e); err != nil {
		return refuse("is left out: %v", err)
	}
	if o, taken := n.macs[e.MAC]; taken {
		return refuse("is left out: MAC %v belongs to the older endpoint %s", e.MAC, o.Name)
	}
	for _, a := range e.Addrs {
		if o, taken := n.addrs[a.Addr()]; taken {
			return refuse("is left out: address %v belongs to the older endpoint %s", a.Addr(), o.Name)
		}
	}
	n.macs[e.MAC] = e
	for _, a := range e.Addrs {
		n.addrs[a.Addr()] = e
	}
	b.byEndpoint[e.ID] = e
	return true
}

// sort collects the networks that got a port, in the order of a State.
func (b *builder) sort() {
	var s datapath.State
	byVNI := make(map[encap.VNI]*building)
	for _, n := range b.byID {
		if len(n.network.Ports) > 0 {
			s.Networks = append(s.Networks, n.network)
			byVNI[n.network.VNI] = n
		}
	}
	s.Peers = b.narrow
	s.Sort()
	for _, network := range s.Networks {
		n := byVNI[network.VNI]
		n.network = network
		b.present = append(b.present, n)
	}
}
