package zone

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/ovlnet/ovl/control/store"
)

// Explanation is what an endpoint of a network is answered, and why.
type Explanation struct {
	// Answer is what Lookup says to an endpoint that is on no other network.
	Answer Answer
	// Internal: the network has no outside.
	Internal bool
	// Rows are all that the name leads to, serving or not; sorted.
	Rows []Row
}

// Row is a row of the tables that a name leads to.
type Row struct {
	// Table is store.TableService, TableEndpoint or TableBackend, and ID the
	// service's or endpoint's.
	Table, ID, Name string
	// Node is the name of the node that an endpoint is on; its ID, if it has left.
	Node string
	// Addrs are the addresses, or VIPs.
	Addrs []netip.Addr
	// Weight is a backend's.
	Weight uint16
	// WhyNot says why the row is not answered with; "" if it is.
	WhyNot string
}

// NetworksOf returns those in which a name is looked for that an endpoint of this
// host asks for in one of its networks: that one, and the others of its namespace in
// the order in which they were attached. There are none if there is no such network.
func (v *View) NetworksOf(networkID string, e *store.Endpoint) []store.Network {
	n := v.networks[networkID]
	if n == nil || n.row.ID == "" {
		return nil
	}
	var out []store.Network
	for _, o := range v.networksOf(n, e) {
		out = append(out, o.row)
	}
	return out
}

// Explain returns what a name means in a network, in any case and with or without a
// dot at its end; false if there is no such network.
func (v *View) Explain(networkID, name string) (Explanation, bool) {
	n := v.networks[networkID]
	if n == nil || n.row.ID == "" {
		return Explanation{}, false
	}
	s := strings.ToLower(strings.TrimSuffix(name, "."))
	x := Explanation{Internal: n.row.Internal}
	Client{view: v, networks: []*network{n}}.Lookup(s, &x.Answer)
	slices.SortFunc(x.Answer.Addrs, netip.Addr.Compare)
	slices.SortFunc(x.Answer.Servers, func(a, b Server) int { return cmp.Compare(a.Target, b.Target) })
	switch m := v.find(n, s); m.form {
	case formService:
		x.service(v, m)
		x.shadowed(v, m, strings.ToLower(m.service.Name))
	case formTasks:
		x.service(v, m)
		x.shadowed(v, m, tasks+strings.ToLower(m.service.Name))
	case formPort:
		x.service(v, m)
	case formEndpoint:
		for id := range n.names.rows(m.name) {
			x.endpoint(v, n, id, "")
		}
	case formAddress:
		x.address(v, m)
	}
	slices.SortStableFunc(x.Rows, func(a, b Row) int {
		return cmp.Or(-cmp.Compare(a.Table, b.Table), cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return x, true
}

// service adds the rows of a service and of its backends. What is asked for tells
// which of them the answer is made of.
func (x *Explanation) service(v *View, m match) {
	s := m.service
	byBackends := s.DNSRR || m.form == formTasks
	row := Row{Table: store.TableService, ID: s.ID, Name: s.Name, Addrs: s.VIPs, WhyNot: v.refusesService(m.n, s)}
	if byBackends && row.WhyNot == "" {
		row.WhyNot = "its backends are asked for"
		if s.DNSRR {
			row.WhyNot = "it has no VIP"
		}
	}
	x.Rows = append(x.Rows, row)
	for id, backend := range s.Backends {
		e, there := v.tables.Endpoints[id]
		if !there {
			x.Rows = append(x.Rows, Row{Table: store.TableBackend, ID: id, WhyNot: "it does not exist"})
			continue
		}
		row := v.row(store.TableBackend, &e)
		row.Weight, row.WhyNot = max(backend.Weight, 1), v.refusesBackend(m.n, s, &e)
		if row.WhyNot == "" && !byBackends {
			row.WhyNot = "the service's VIP leads to it"
		}
		x.Rows = append(x.Rows, row)
	}
}

// shadowed adds the endpoints of a name that a service has.
func (x *Explanation) shadowed(v *View, m match, name string) {
	for id := range m.n.names.rows(name) {
		x.endpoint(v, m.n, id, "the service "+m.service.Name+" has this name")
	}
}

// address adds who has an address.
func (x *Explanation) address(v *View, m match) {
	for id := range m.n.addrs.rows(m.addr) {
		x.endpoint(v, m.n, id, "")
	}
	for id := range m.n.vips.rows(m.addr) {
		if s := v.tables.Services[id]; s != nil {
			x.Rows = append(x.Rows, Row{Table: store.TableService, ID: s.ID, Name: s.Name, Addrs: s.VIPs, WhyNot: v.refusesService(m.n, s)})
		}
	}
}

func (x *Explanation) endpoint(v *View, n *network, id, whyNot string) {
	e, there := v.tables.Endpoints[id]
	if !there {
		return
	}
	row := v.row(store.TableEndpoint, &e)
	row.WhyNot = cmp.Or(v.failed(&e), v.refusesEndpoint(n, &e), whyNot)
	x.Rows = append(x.Rows, row)
}

func (v *View) row(table string, e *store.Endpoint) Row {
	row := Row{Table: table, ID: e.ID, Name: e.Name, Node: e.Node}
	if n, known := v.tables.Nodes[e.Node]; known {
		row.Node = n.Name
	}
	for _, p := range e.Addrs {
		row.Addrs = append(row.Addrs, p.Addr())
	}
	return row
}
