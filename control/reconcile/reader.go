package reconcile

import (
	"cmp"
	"iter"
	"maps"
	"slices"

	"github.com/ovlnet/ovl/control/store"
)

// Reader decodes snapshots of one store. It remembers what it decoded, so that a
// snapshot costs only the rows that are new in it, and a table without any is
// shared with the Tables before. It is not safe for concurrent use.
type Reader struct {
	nodes     decoder[store.Node]
	networks  decoder[store.Network]
	endpoints decoder[store.Endpoint]
	services  decoder[store.Service]
	backends  decoder[store.Backend]
	health    decoder[store.Health]
	last      *Tables
}

// Read decodes s, which is not older than what was read before.
func (r *Reader) Read(s *store.Snapshot) *Tables {
	t := &Tables{Version: s.Version(), snapshot: s}
	names, ok := []store.RowName(nil), false
	if r.last != nil {
		names, ok = s.ChangedSince(r.last.Version)
	}
	if ok {
		r.readChanges(t, s, names)
	} else {
		r.readAll(t, s)
	}
	for _, alarms := range []map[string]Alarm{
		r.nodes.alarms, r.networks.alarms, r.endpoints.alarms, r.services.alarms, r.backends.alarms, r.health.alarms,
	} {
		t.Alarms = slices.AppendSeq(t.Alarms, maps.Values(alarms))
	}
	slices.SortFunc(t.Alarms, func(a, b Alarm) int { return cmp.Or(cmp.Compare(a.Object, b.Object), cmp.Compare(a.Text, b.Text)) })
	r.last = t
	return t
}

func (r *Reader) readAll(t *Tables, s *store.Snapshot) {
	t.Nodes = r.nodes.all(s.All(store.TableNode))
	t.Networks = r.networks.all(s.All(store.TableNetwork))
	t.Endpoints = r.endpoints.all(s.All(store.TableEndpoint))
	t.base = t.Version
	r.services.all(s.All(store.TableService))
	r.backends.all(s.All(store.TableBackend))
	r.health.all(s.All(store.TableHealth))
	t.Services, t.Strays = make(map[string]*Service), make(map[string]*Service)
	for id := range r.services.known {
		r.readService(t, s, id)
	}
	for _, keys := range []iter.Seq[string]{maps.Keys(r.backends.known), maps.Keys(r.health.known)} {
		for key := range keys {
			id, _, ok := store.SplitBackendKey(key)
			if ok && t.Services[id] == nil && t.Strays[id] == nil {
				r.readService(t, s, id)
			}
		}
	}
}

// readChanges makes t of the tables before it and the rows with these names.
func (r *Reader) readChanges(t *Tables, s *store.Snapshot, names []store.RowName) {
	keys := make(map[string][]string) // by table
	services := make(map[string]bool)
	for _, n := range names {
		keys[n.Table] = append(keys[n.Table], n.Key)
		switch n.Table {
		case store.TableService:
			services[n.Key] = true
		case store.TableBackend, store.TableHealth:
			if id, _, ok := store.SplitBackendKey(n.Key); ok {
				services[id] = true
			}
		}
	}
	last := r.last
	t.Nodes = r.nodes.some(s, store.TableNode, keys[store.TableNode], last.Nodes)
	t.Networks = r.networks.some(s, store.TableNetwork, keys[store.TableNetwork], last.Networks)
	t.Endpoints = r.endpoints.some(s, store.TableEndpoint, keys[store.TableEndpoint], last.Endpoints)
	if t.base = last.base; len(keys[store.TableNode])+len(keys[store.TableNetwork]) > 0 {
		t.base = t.Version
	}
	t.Services, t.Strays = last.Services, last.Strays
	if len(services) == 0 {
		return
	}
	r.services.forget(s, store.TableService, keys[store.TableService])
	r.backends.forget(s, store.TableBackend, keys[store.TableBackend])
	r.health.forget(s, store.TableHealth, keys[store.TableHealth])
	t.Services, t.Strays = maps.Clone(last.Services), maps.Clone(last.Strays)
	for id := range services {
		delete(t.Services, id)
		delete(t.Strays, id)
		r.readService(t, s, id)
	}
}

// readService puts a service into t, if there is anything of it.
func (r *Reader) readService(t *Tables, s *store.Snapshot, id string) {
	v := &Service{
		Backends: ofService(&r.backends, s, store.TableBackend, id),
		Checked:  ofService(&r.health, s, store.TableHealth, id),
	}
	if row, ok := s.Get(store.TableService, id); ok {
		v.Service = r.services.decode(row)
	}
	switch {
	case v.Service != nil:
		t.Services[id] = v
	case len(v.Backends)+len(v.Checked) > 0:
		t.Strays[id] = v
	}
}

// ofService returns the rows of a service in a table of backends, by endpoint.
func ofService[T any](d *decoder[T], s *store.Snapshot, table, service string) map[string]T {
	out := make(map[string]T)
	for row := range s.Beginning(table, store.BackendKey(service, "")) {
		if _, endpoint, ok := store.SplitBackendKey(row.Key); ok {
			if v := d.decode(row); v != nil {
				out[endpoint] = *v
			}
		}
	}
	return out
}
