package zone

import (
	"cmp"
	"maps"

	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/control/store"
)

// Reader makes Views of the Tables of one host. It remembers the last, so that one
// costs what is new in it. It is not safe for concurrent use.
type Reader struct {
	// Local is the host, as reconcile.Build is given it. It does not change.
	Local reconcile.Local

	last *View
}

// Read returns the View of t, which is not older than what was read before: the
// same View while t is the same.
func (r *Reader) Read(t *reconcile.Tables) *View {
	if r.last != nil && r.last.tables == t {
		return r.last
	}
	var rows []store.RowName
	known := false
	if r.last != nil {
		rows, known = t.ChangedSince(r.last.tables.Version)
	}
	if known {
		r.last = r.last.next(t, rows, r.Local)
	} else {
		r.last = arrange(t, r.Local)
	}
	return r.last
}

// draft is a View in the making.
type draft struct {
	View
	// own are the networks that no other View has, and which may be changed.
	own map[string]*network
}

// arrange makes a View of all of t.
func arrange(t *reconcile.Tables, l reconcile.Local) *View {
	d := draft{
		View: View{
			tables: t, node: l.Node, reached: reconcile.Reached(t, l),
			networks: make(map[string]*network), here: newIndex(cmp.Compare[uint64]),
		},
		own: make(map[string]*network),
	}
	for id := range t.Networks {
		d.setNetwork(id)
	}
	for _, e := range t.Endpoints {
		d.addEndpoint(&e)
	}
	for _, s := range t.Services {
		d.addService(s.Service)
	}
	d.named = namedNetworks(t)
	return &d.View
}

// next makes a View of t, which differs from v's tables in these rows at most. Rows
// about backends are not arranged, nor is which nodes have failed.
func (v *View) next(t *reconcile.Tables, rows []store.RowName, l reconcile.Local) *View {
	d := draft{View: *v, own: make(map[string]*network)}
	d.tables = t
	changed := make(map[store.RowName]bool, len(rows))
	tables := make(map[string]bool)
	for _, row := range rows {
		changed[row], tables[row.Table] = true, true
	}
	if tables[store.TableNode] {
		d.reached = reconcile.Reached(t, l)
	}
	if tables[store.TableNetwork] {
		d.named = namedNetworks(t)
	}
	if tables[store.TableNetwork] || tables[store.TableEndpoint] || tables[store.TableService] {
		d.networks, d.here = maps.Clone(v.networks), v.here.clone()
		for row := range changed {
			d.replace(v.tables, row)
		}
	}
	for id, n := range d.own {
		if n.empty() {
			delete(d.networks, id)
		}
	}
	return &d.View
}

// replace puts what the tables have of a row in the place of what others had.
func (d *draft) replace(before *reconcile.Tables, row store.RowName) {
	switch row.Table {
	case store.TableNetwork:
		d.setNetwork(row.Key)
	case store.TableEndpoint:
		if e, was := before.Endpoints[row.Key]; was {
			d.removeEndpoint(&e)
		}
		if e, is := d.tables.Endpoints[row.Key]; is {
			d.addEndpoint(&e)
		}
	case store.TableService:
		if s, was := before.Services[row.Key]; was {
			d.removeService(s.Service)
		}
		if s, is := d.tables.Services[row.Key]; is {
			d.addService(s.Service)
		}
	}
}

// network returns one that may be changed.
func (d *draft) network(id string) *network {
	if n := d.own[id]; n != nil {
		return n
	}
	n := d.networks[id]
	if n == nil {
		n = newNetwork()
	} else {
		n = n.clone()
	}
	d.own[id], d.networks[id] = n, n
	return n
}

func (d *draft) setNetwork(id string) {
	n := d.network(id)
	n.row, n.suffix = d.tables.Networks[id], ""
	if name, ok := domain(n.row.Name); ok {
		n.suffix = "." + name
	}
}

func (d *draft) addEndpoint(e *store.Endpoint) {
	n := d.network(e.Network)
	for _, s := range namesOf(e) {
		n.names.add(s, e.ID)
	}
	for _, a := range e.Addrs {
		n.addrs.add(a.Addr(), e.ID)
	}
	n.macs.add(e.MAC, e.ID)
	if e.Node == d.node && e.NetnsInode != 0 {
		d.here.add(e.NetnsInode, e.ID)
	}
}

func (d *draft) removeEndpoint(e *store.Endpoint) {
	n := d.network(e.Network)
	for _, s := range namesOf(e) {
		n.names.remove(s, e.ID)
	}
	for _, a := range e.Addrs {
		n.addrs.remove(a.Addr(), e.ID)
	}
	n.macs.remove(e.MAC, e.ID)
	d.here.remove(e.NetnsInode, e.ID)
}

// namesOf returns what an endpoint is asked by.
func namesOf(e *store.Endpoint) []string {
	out := make([]string, 0, 1+len(e.Aliases))
	if s, ok := domain(e.Name); ok {
		out = append(out, s)
	}
	for _, alias := range e.Aliases {
		if s, ok := domain(alias); ok {
			out = append(out, s)
		}
	}
	return out
}

func (d *draft) addService(s *store.Service) {
	n := d.network(s.Network)
	if name, ok := domain(s.Name); ok {
		n.services.add(name, s.ID)
	}
	if s.DNSRR {
		return
	}
	for _, a := range s.VIPs {
		n.vips.add(a, s.ID)
	}
}

func (d *draft) removeService(s *store.Service) {
	n := d.network(s.Network)
	if name, ok := domain(s.Name); ok {
		n.services.remove(name, s.ID)
	}
	for _, a := range s.VIPs {
		n.vips.remove(a, s.ID)
	}
}

// namedNetworks returns the IDs of networks by name in lower case. The oldest of a
// name has it.
func namedNetworks(t *reconcile.Tables) map[string]string {
	out := make(map[string]string, len(t.Networks))
	for _, n := range t.NetworksByAge() {
		if name, ok := domain(n.Name); ok && out[name] == "" {
			out[name] = n.ID
		}
	}
	return out
}
