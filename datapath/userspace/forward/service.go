package forward

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/balance"
	"github.com/ovlnet/ovl/encap"
)

// vip is an address of a service, and what the service is to packets of its
// family.
type vip struct {
	v6 bool
	// ports lead to the backends' ports; nil: all lead to the same.
	ports    map[servicePort]uint16
	affinity time.Duration
	// backends are those that have an address of the family, by their IDs.
	backends map[string]*backend
	// takers of them take new flows. What the shares name are their indexes.
	takers []*backend
	shares *shares
}

type servicePort struct {
	protocol uint8
	port     uint16
}

// backend is one end of flows, as a VIP of one family sees it.
type backend struct {
	id    string
	mac   encap.MAC
	addr  [16]byte // IPv4 as ::ffff:a.b.c.d
	takes bool     // new flows
}

// target is the backends' port that a port of the VIP leads to.
func (v *vip) target(protocol uint8, port uint16) (uint16, bool) {
	if v.ports == nil {
		return port, true
	}
	to, ok := v.ports[servicePort{protocol, port}]
	return to, ok
}

// known is the backend of a flow, if it is still one.
func (v *vip) known(id string, addr [16]byte) *backend {
	if b := v.backends[id]; b != nil && b.addr == addr {
		return b
	}
	return nil
}

// choose is the backend for a new flow; nil: there is none.
func (v *vip) choose(f balance.Flow) *backend {
	if len(v.takers) == 0 {
		return nil
	}
	if v.affinity > 0 {
		f = f.Affine()
	}
	entries := v.shares.get()
	if entries == nil {
		return nil
	}
	return v.takers[entries[balance.Entry(f.Hash(), len(entries))]]
}

// shares is a balance.Table that is made when it is first used: of thousands of
// services, a host's endpoints talk to some. VIPs and tables that have the same
// share it.
type shares struct {
	of      []balance.Backend
	size    int
	once    sync.Once
	used    atomic.Bool
	entries []uint16
}

func (s *shares) get() []uint16 {
	s.once.Do(func() {
		s.entries = balance.Table(s.of, s.size)
		s.used.Store(true)
	})
	return s.entries
}

func (s *shares) equal(o *shares) bool {
	return s.size == o.size && slices.Equal(s.of, o.of)
}

// addServices brings the services to those of the State: from what the last network
// had and what has changed since, or (anew) from nothing.
func (n *network) addServices(s *datapath.Network, c datapath.Change[datapath.Service], last *network, anew bool) {
	if anew {
		n.vips, n.led = map[[16]byte]*vip{}, map[encap.MAC]int{}
		c = datapath.Change[datapath.Service]{Come: s.Services}
	} else if n.vips, n.led = last.vips, last.led; !c.Empty() {
		n.vips = maps.Clone(n.vips)
	}
	for i := range c.Gone {
		n.lead(&c.Gone[i], -1)
		for _, a := range c.Gone[i].VIPs {
			delete(n.vips, a.As16())
		}
	}
	for i := range c.Come {
		n.lead(&c.Come[i], 1)
		n.addService(&c.Come[i], last)
	}
	if n.unmarked {
		for mac := range n.led {
			n.mark(mac)
		}
		return
	}
	for _, services := range [][]datapath.Service{c.Gone, c.Come} {
		for i := range services {
			for k := range services[i].Backends {
				n.mark(services[i].Backends[k].MAC)
			}
		}
	}
}

// lead counts so many more for the MACs of a service's backends.
func (n *network) lead(s *datapath.Service, more int) {
	for _, addr := range s.VIPs {
		for i := range s.Backends {
			if b := &s.Backends[i]; hasFamily(b, addr.Is6()) {
				if n.led[b.MAC] += more; n.led[b.MAC] == 0 {
					delete(n.led, b.MAC)
				}
			}
		}
	}
}

// mark says whether a service leads to an endpoint.
func (n *network) mark(mac encap.MAC) {
	if e := n.ends[mac]; e != nil {
		e.backend.Store(n.led[mac] > 0)
	}
}

// addService adds a service's VIPs. last is the network in the table before, or nil.
func (n *network) addService(s *datapath.Service, last *network) {
	ports := portsOf(s)
	var before *shares
	for _, addr := range s.VIPs {
		v := &vip{v6: addr.Is6(), ports: ports, affinity: s.Affinity, backends: make(map[string]*backend, len(s.Backends))}
		share := &shares{size: s.TableSize}
		for i := range s.Backends {
			b := newBackend(&s.Backends[i], v.v6)
			if b == nil {
				continue
			}
			v.backends[b.id] = b
			if b.takes {
				v.takers = append(v.takers, b)
				share.of = append(share.of, balance.Backend{Name: b.id, Weight: s.Backends[i].Weight})
			}
		}
		v.shares = share.reuse(before, last.sharesAt(addr))
		before = v.shares
		if n.vips[addr.As16()] != nil {
			n.clash = true
		}
		n.vips[addr.As16()] = v
	}
}

// reuse is one of the others that is the same, or s. What is used now is made at
// once: not by the first packet that needs it.
func (s *shares) reuse(sibling, last *shares) *shares {
	switch {
	case last != nil && last.equal(s):
		return last
	case sibling != nil && sibling.equal(s):
		return sibling
	case last != nil && last.used.Load():
		s.get()
	}
	return s
}

func (n *network) sharesAt(vip netip.Addr) *shares {
	if n == nil || n.vips[vip.As16()] == nil {
		return nil
	}
	return n.vips[vip.As16()].shares
}

func portsOf(s *datapath.Service) map[servicePort]uint16 {
	if len(s.Ports) == 0 {
		return nil
	}
	ports := make(map[servicePort]uint16, len(s.Ports))
	for _, p := range s.Ports {
		ports[servicePort{p.Protocol, p.Port}] = p.Target
	}
	return ports
}

func hasFamily(b *datapath.Backend, v6 bool) bool {
	return slices.ContainsFunc(b.Addrs, func(a netip.Addr) bool { return a.Is6() == v6 })
}

// newBackend is nil for one that has no address of the family.
func newBackend(b *datapath.Backend, v6 bool) *backend {
	for _, a := range b.Addrs {
		if a.Is6() == v6 {
			return &backend{id: b.ID, mac: b.MAC, addr: a.As16(), takes: !b.Draining}
		}
	}
	return nil
}

// leads says whether there is a service with that VIP, of whose backends that one is
// at that address.
func (n *network) leads(vip [16]byte, id string, addr [16]byte) bool {
	v := n.vips[vip]
	return v != nil && v.known(id, addr) != nil
}

// Leads says whether a flow goes on: whether the service that has the VIP, now, has
// the flow's backend.
func (t *Table) Leads(f *datapath.Flow) bool {
	n := t.networks[f.VNI]
	return n != nil && n.leads(f.VIP.Addr().As16(), f.BackendID, f.Backend.Addr().As16())
}

// isVIP says whether ARP or neighbour discovery that asks for an address is answered
// with ServiceMAC.
func (n *network) isVIP(a netip.Addr) bool {
	v := n.vips[a.As16()]
	return v != nil && v.v6 == a.Is6()
}
