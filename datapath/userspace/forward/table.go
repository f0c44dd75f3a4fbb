package forward

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/userspace/answer"
	"github.com/ovlnet/ovl/encap"
)

// Table is what a State says, made for looking up. It never changes: a new one
// takes its place whole.
type Table struct {
	networks map[encap.VNI]*network
	ports    map[*Port]local
}

// local is a port in its network.
type local struct {
	network *network
	end     *endpoint
}

// network is one overlay segment.
type network struct {
	vni       encap.VNI
	mtu       int
	multicast bool
	gateway4  netip.Addr // of each family the first; invalid if it has none
	gateway6  netip.Addr
	// vxlan is the header of its packets.
	vxlan  [encap.HeaderLen]byte
	ends   map[encap.MAC]*endpoint
	owners map[netip.Addr]*endpoint
	// vips are the services' addresses, IPv4 as ::ffff:a.b.c.d.
	vips map[[16]byte]*vip
	// members are the hosts that have the network, by their VTEP.
	members map[netip.Addr]*Peer
	// ports and hosts get a copy of each frame to a group; so many did not
	// fit on the list.
	ports                []*Port
	hosts                []*Peer
	leftPorts, leftHosts int
}

// endpoint is one end of frames: on this host (port) or another (peer).
type endpoint struct {
	mac   encap.MAC
	addrs []netip.Addr
	port  *Port
	peer  *Peer
	// backend: a service leads to it.
	backend bool
}

// MAC implements answer.Sender.
func (e *endpoint) MAC() encap.MAC { return e.mac }

// Owns implements answer.Sender: whether the State gives it an address.
func (e *endpoint) Owns(a netip.Addr) bool {
	for i := range e.addrs {
		if e.addrs[i] == a {
			return true
		}
	}
	return false
}

// owner6 finds the endpoint that has an IPv6 address.
func (n *network) owner6(a netip.Addr) *endpoint {
	if mac, ok := answer.LinkLocalMAC(a.As16()); ok {
		// It may be made of a MAC that nobody has.
		return n.ends[mac]
	}
	return n.owners[a]
}

// names6 says whether an IPv6 address tells its owner's MAC by itself.
func (*network) names6(a netip.Addr) bool {
	_, ok := answer.LinkLocalMAC(a.As16())
	return ok
}

// maxCopies is the most that a frame to a group becomes, as in the kernel
// datapath (OVL_MAX_TARGETS).
const maxCopies = 512

// Objects are what a State's names stand for on this host.
type Objects struct {
	// Port returns the port of a device, nil if it could not be made.
	Port func(device string) *Port
	// Peer returns the host at a VTEP.
	Peer func(vtep netip.Addr) (*Peer, error)
	// Last is the table that the new one takes the place of, or nil. What has not
	// changed of the services' tables is not made again.
	Last *Table
}

// Build makes a Table. An object that is not there is left out and reported; the
// others are not affected.
func Build(s datapath.State, o Objects) (*Table, error) {
	t := &Table{networks: make(map[encap.VNI]*network, len(s.Networks)), ports: map[*Port]local{}}
	var errs []error
	for i := range s.Networks {
		errs = append(errs, t.add(&s.Networks[i], o)...)
	}
	return t, errors.Join(errs...)
}

func (t *Table) add(s *datapath.Network, o Objects) (errs []error) {
	n := &network{
		vni: s.VNI, mtu: s.MTU, multicast: s.Multicast,
		ends:    make(map[encap.MAC]*endpoint, len(s.Ports)+len(s.Remotes)),
		owners:  make(map[netip.Addr]*endpoint, len(s.Ports)+len(s.Remotes)),
		members: map[netip.Addr]*Peer{},
	}
	encap.Header{VNI: s.VNI}.Put(n.vxlan[:])
	for _, g := range s.Gateways {
		if g.Is4() && !n.gateway4.IsValid() {
			n.gateway4 = g
		}
		if g.Is6() && !n.gateway6.IsValid() {
			n.gateway6 = g
		}
	}
	t.networks[s.VNI] = n
	remotes := make([]endpoint, 0, len(s.Remotes)) // one piece of memory for all
	for _, r := range s.Remotes {
		peer := n.members[r.VTEP]
		if peer == nil {
			var err error
			if peer, err = o.Peer(r.VTEP); err != nil {
				errs = append(errs, &datapath.ObjectError{Object: datapath.RemoteObject(r.MAC, s.VNI), Err: err})
				continue
			}
			n.members[r.VTEP] = peer
			n.hosts = append(n.hosts, peer)
		}
		remotes = append(remotes, endpoint{mac: r.MAC, addrs: r.Addrs, peer: peer})
		n.addEndpoint(&remotes[len(remotes)-1])
	}
	// After the remotes: an endpoint that has moved here is here.
	for _, p := range s.Ports {
		port := o.Port(p.Device)
		if port == nil {
			continue // reported by who could not make it
		}
		e := &endpoint{mac: p.MAC, addrs: p.Addrs, port: port}
		n.addEndpoint(e)
		n.ports = append(n.ports, port)
		t.ports[port] = local{n, e}
	}
	var last *network
	if o.Last != nil {
		last = o.Last.networks[s.VNI]
	}
	for i := range s.Services {
		n.addService(&s.Services[i], last)
	}
	if err := n.limitCopies(); err != nil {
		errs = append(errs, &datapath.ObjectError{Object: "multicast of VNI " + s.VNI.String(), Err: err})
	}
	return errs
}

func (n *network) addEndpoint(e *endpoint) {
	n.ends[e.mac] = e
	for _, a := range e.addrs {
		n.owners[a] = e
	}
}

// limitCopies keeps the lists to what is allowed, ports before hosts.
func (n *network) limitCopies() error {
	slices.SortFunc(n.hosts, func(a, b *Peer) int { return a.VTEP.Compare(b.VTEP) })
	ports, hosts := len(n.ports), len(n.hosts)
	if !n.multicast || ports+hosts <= maxCopies {
		return nil
	}
	n.ports = n.ports[:min(ports, maxCopies)]
	n.hosts = n.hosts[:maxCopies-len(n.ports)]
	n.leftPorts, n.leftHosts = ports-len(n.ports), hosts-len(n.hosts)
	return fmt.Errorf("%d ports of this host and %d other hosts are to get a copy of each frame: only %d of them do",
		ports, hosts, maxCopies)
}
