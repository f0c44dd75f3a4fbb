package zone

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/ovlnet/ovl/control/store"
)

// How long answers may be kept, in seconds.
const (
	// EndpointTTL is for what endpoints and backends are answered with: they may
	// go at any moment.
	EndpointTTL = 1
	// ServiceTTL is for VIPs, which stay while their service does.
	ServiceTTL = 5
	// NegativeTTL is for what is not there.
	NegativeTTL = 1
)

// maxAnswer is how many addresses or servers an answer has at most: more do not fit
// a message.
const maxAnswer = 4096

// Client is an endpoint of this host that asks.
type Client struct {
	view *View
	id   string
	// networks are those that it looks for names in: first the one that it asked.
	networks []*network
}

// Client returns the endpoint of this host that has an address in a network; false
// if none has.
func (v *View) Client(networkID string, addr netip.Addr) (Client, bool) {
	n := v.networks[networkID]
	if n == nil || n.row.ID == "" {
		return Client{}, false
	}
	for id := range n.addrs.rows(addr.Unmap()) {
		e, there := v.tables.Endpoints[id]
		if there && e.Node == v.node && v.refusesEndpoint(n, &e) == "" {
			return Client{view: v, id: id, networks: v.networksOf(n, &e)}, true
		}
	}
	return Client{}, false
}

// networksOf returns n, and the other networks that the namespace of e is on, in
// the order in which it was attached.
func (v *View) networksOf(n *network, e *store.Endpoint) []*network {
	out := []*network{n}
	if e.NetnsInode == 0 {
		return out
	}
	type sibling struct {
		attached time.Time
		id       string
		network  *network
	}
	var siblings []sibling
	for id := range v.here.rows(e.NetnsInode) {
		if id != e.ID {
			o := v.tables.Endpoints[id]
			siblings = append(siblings, sibling{o.Created, id, v.networks[o.Network]})
		}
	}
	slices.SortFunc(siblings, func(a, b sibling) int {
		return cmp.Or(a.attached.Compare(b.attached), cmp.Compare(a.id, b.id))
	})
	for _, s := range siblings {
		if s.network.row.ID != "" && !slices.Contains(out, s.network) {
			out = append(out, s.network)
		}
	}
	return out
}

// Endpoint is the client's ID.
func (c Client) Endpoint() string { return c.id }

// Addrs are all addresses of the client in the network that it asked.
func (c Client) Addrs() []netip.Prefix { return c.view.tables.Endpoints[c.id].Addrs }

// Internal reports whether the network that it asked has no outside.
func (c Client) Internal() bool { return c.networks[0].row.Internal }

// Kind is what there is to say of a name.
type Kind int

// The kinds.
const (
	// Outside is for names that are not the cluster's.
	Outside Kind = iota
	// Nothing: it is the cluster's, but not there, or not for who asks.
	Nothing
	// Addresses: it has Addrs, of which there may be none.
	Addresses
	// Ports: it has Servers, of which there may be none.
	Ports
	// Pointer: it is the reverse name of Target.
	Pointer
	// Apex: it is the name of a network itself.
	Apex
)

// Answer is what a name means.
type Answer struct {
	Kind Kind
	// TTL is in seconds.
	TTL uint32
	// Zone is the network's name if the name ends in it.
	Zone string
	// Addrs are of both families, in random order.
	Addrs []netip.Addr
	// Servers are in random order.
	Servers []Server
	// Target is a name of the form NAME.NETWORK.
	Target string
}

// Server is where a port of a service is.
type Server struct {
	// Target is a name of the form NAME.NETWORK, and Addrs what it has.
	Target string
	Port   uint16
	// Weight is its share in relation to the others'; 0 if there are none.
	Weight uint16
	Addrs  []netip.Addr
}

// Lookup puts into a what a name means to c. The name is in lower case, without the
// dot at its end, and with dots and backslashes inside a label escaped.
func (c Client) Lookup(name string, a *Answer) {
	hidden := false
	for _, n := range c.networks {
		m := c.view.find(n, name)
		if m.form == formNone {
			continue
		}
		if c.view.answer(m, a); a.Kind != Nothing {
			return
		}
		hidden = true
	}
	a.reset()
	if hidden || c.view.ours(name) {
		a.Kind, a.TTL = Nothing, NegativeTTL
		if _, below := c.networks[0].cut(name); below {
			a.Zone = c.networks[0].row.Name
		}
	}
}

func (a *Answer) reset() { *a = Answer{Addrs: a.Addrs[:0], Servers: a.Servers[:0]} }

// answer puts into a what m leads to.
func (v *View) answer(m match, a *Answer) {
	a.reset()
	a.Zone, a.TTL = m.zone, EndpointTTL
	switch m.form {
	case formService:
		a.Kind = Addresses
		if m.service.DNSRR {
			v.backends(m, a)
			break
		}
		a.TTL = ServiceTTL
		if v.refusesService(m.n, m.service) == "" {
			a.Addrs = append(a.Addrs, m.service.VIPs...)
		}
	case formTasks:
		a.Kind = Addresses
		v.backends(m, a)
	case formPort:
		a.Kind = Ports
		v.servers(m, a)
	case formEndpoint:
		v.endpoints(m, a)
	case formAddress:
		v.pointer(m, a)
	case formNetwork:
		a.Kind = Apex
	}
	shuffle(a.Addrs)
	shuffle(a.Servers)
	if a.Kind == Nothing {
		a.TTL = NegativeTTL
	}
}

func shuffle[T any](list []T) {
	if len(list) > 1 {
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
}

// backends adds the addresses of the backends that get new flows.
func (v *View) backends(m match, a *Answer) {
	for id := range m.service.Backends {
		e, there := v.tables.Endpoints[id]
		if !there || v.refusesBackend(m.n, m.service, &e) != "" {
			continue
		}
		if len(a.Addrs) >= maxAnswer {
			return
		}
		for _, p := range e.Addrs {
			a.Addrs = append(a.Addrs, p.Addr())
		}
	}
}

// servers adds where a port of a service is: behind its VIPs, or at each backend
// that would get new flows. A backend's name may be that of others as well.
func (v *View) servers(m match, a *Answer) {
	s := m.service
	if !s.DNSRR {
		a.TTL = ServiceTTL
		if target, ok := m.n.fullName(s.Name); ok && v.refusesService(m.n, s) == "" {
			a.Servers = append(a.Servers, Server{Target: target, Port: m.srv.port, Addrs: s.VIPs})
		}
		return
	}
	for id, row := range s.Backends {
		e, there := v.tables.Endpoints[id]
		if !there || v.refusesBackend(m.n, s, &e) != "" {
			continue
		}
		target, ok := m.n.fullName(e.Name)
		if !ok {
			continue
		}
		if len(a.Servers) >= maxAnswer {
			return
		}
		server := Server{Target: target, Port: m.srv.port, Weight: max(row.Weight, 1)}
		for _, p := range e.Addrs {
			server.Addrs = append(server.Addrs, p.Addr())
		}
		a.Servers = append(a.Servers, server)
	}
}

// endpoints adds the addresses of those of a name whose node has not failed. If
// there are none, nor is the name.
func (v *View) endpoints(m match, a *Answer) {
	a.Kind = Nothing
	for id := range m.n.names.rows(m.name) {
		e, there := v.tables.Endpoints[id]
		if !there || v.failed(&e) != "" || v.refusesEndpoint(m.n, &e) != "" {
			continue
		}
		if len(a.Addrs) >= maxAnswer {
			return
		}
		a.Kind = Addresses
		for _, p := range e.Addrs {
			a.Addrs = append(a.Addrs, p.Addr())
		}
	}
}

// pointer names who has an address.
func (v *View) pointer(m match, a *Answer) {
	a.Kind = Nothing
	for id := range m.n.addrs.rows(m.addr) {
		if e, there := v.tables.Endpoints[id]; there && v.failed(&e) == "" && v.refusesEndpoint(m.n, &e) == "" {
			a.point(m.n, e.Name)
			return
		}
	}
	for id := range m.n.vips.rows(m.addr) {
		if s := v.tables.Services[id]; s != nil && v.refusesService(m.n, s) == "" {
			a.point(m.n, s.Name)
			a.TTL = ServiceTTL
			return
		}
	}
}

func (a *Answer) point(n *network, name string) {
	if target, ok := n.fullName(name); ok {
		a.Kind, a.Target = Pointer, target
	}
}

// fullName returns NAME.NETWORK, if both can be parts of a name in DNS.
func (n *network) fullName(name string) (string, bool) {
	_, ok := domain(name)
	return name + "." + n.row.Name, ok && n.suffix != ""
}
