package forward

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/userspace/answer"
	"github.com/ovlnet/ovl/encap"
)

// Table is what a State says, made for looking up. It never changes: a new one
// takes its place whole, and shares with it what is the same in both.
type Table struct {
	state    datapath.State
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
	here   []*endpoint // those on this host
	// vips are the services' addresses, IPv4 as ::ffff:a.b.c.d. clash: two
	// services want one.
	vips  map[[16]byte]*vip
	clash bool
	// led counts the backends that have a MAC. It is that of the newest table
	// alone, and nobody's who forwards.
	led map[encap.MAC]int
	// unmarked: endpoints do not know yet that services lead to them.
	unmarked bool
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
	// backend: a service leads to it. Who looks into the table before the newest
	// hears of it a moment early.
	backend atomic.Bool
	// gateway: it is of this host alone.
	gateway bool
}

// MAC implements answer.Sender.
func (e *endpoint) MAC() encap.MAC { return e.mac }

// reaches says whether frames of e may go to another endpoint: to the gateway,
// other hosts do not exist.
func (e *endpoint) reaches(to *endpoint) bool { return !e.gateway || to.port != nil }

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
	// changed is not made again: with Anew, of the services' tables only.
	Last *Table
	Anew bool
}

// Build makes a Table. An object that is not there is left out and reported; the
// others are not affected. After an error the next has to be made Anew.
func Build(s datapath.State, o Objects) (*Table, error) {
	t := &Table{state: s, networks: make(map[encap.VNI]*network, len(s.Networks)), ports: map[*Port]local{}}
	last := o.Last
	if last == nil {
		last = new(Table)
	}
	changes := map[encap.VNI]datapath.NetworkChange{}
	for _, c := range s.Since(last.state) {
		if c.Now != nil {
			changes[c.Now.VNI] = c
		}
	}
	var errs []error
	for i := range s.Networks {
		now := &s.Networks[i]
		errs = append(errs, t.add(now, changes[now.VNI], last.networks[now.VNI], o)...)
	}
	return t, errors.Join(errs...)
}

// add makes a network of what has changed in it since the last, nil if that had
// none.
func (t *Table) add(s *datapath.Network, c datapath.NetworkChange, last *network, o Objects) (errs []error) {
	n := &network{vni: s.VNI, mtu: s.MTU, multicast: s.Multicast}
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
	anew := o.Anew || last == nil || last.clash
	if !anew && c.Ports.Empty() && c.Remotes.Empty() && last.multicast == n.multicast {
		n.ends, n.owners, n.here, n.members = last.ends, last.owners, last.here, last.members
		n.ports, n.hosts, n.leftPorts, n.leftHosts = last.ports, last.hosts, last.leftPorts, last.leftHosts
	} else {
		errs = n.addEndpoints(s, o)
	}
	for _, e := range n.here {
		t.ports[e.port] = local{n, e}
	}
	n.addServices(s, c.Services, last, anew)
	if n.clash && !anew { // who has what depends on those that have not changed
		o.Anew = true
		return t.add(s, c, last, o)
	}
	return errs
}

// addEndpoints adds all that are on this host and on others.
func (n *network) addEndpoints(s *datapath.Network, o Objects) (errs []error) {
	n.ends = make(map[encap.MAC]*endpoint, len(s.Ports)+len(s.Remotes))
	n.owners = make(map[netip.Addr]*endpoint, len(s.Ports)+len(s.Remotes))
	n.members = map[netip.Addr]*Peer{}
	n.unmarked = true
	remotes := make([]endpoint, len(s.Remotes)) // one piece of memory for all
	for i, r := range s.Remotes {
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
		e := &remotes[i]
		e.mac, e.addrs, e.peer = r.MAC, r.Addrs, peer
		n.addEndpoint(e)
	}
	// After the remotes: an endpoint that has moved here is here.
	for _, p := range s.Ports {
		port := o.Port(p.Device)
		if port == nil {
			continue // reported by who could not make it
		}
		e := &endpoint{mac: p.MAC, addrs: p.Addrs, port: port, gateway: p.Gateway}
		n.addEndpoint(e)
		n.here = append(n.here, e)
		if !p.Gateway {
			n.ports = append(n.ports, port)
		}
	}
	if err := n.limitCopies(); err != nil {
		errs = append(errs, &datapath.ObjectError{Object: "multicast of VNI " + s.VNI.String(), Err: err})
	}
	return errs
}

// Peers returns all whose endpoints it knows.
func (t *Table) Peers() map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	for _, n := range t.networks {
		for vtep := range n.members {
			out[vtep] = true
		}
	}
	return out
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
