package agent

import (
	"cmp"
	"context"
	"time"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/datapath"
)

// newBackend is what is said of an endpoint that joins a service. One without a
// namespace is never checked (checkBackends).
func newBackend(v *reconcile.Service, e store.Endpoint) store.Backend {
	return store.Backend{Node: e.Node, Weight: 1, AwaitsHealth: v.Health != nil && e.Kind == datapath.Veth}
}

// ServiceUpdate changes a service and which endpoints are its backends, in one
// change.
func (a *Agent) ServiceUpdate(ctx context.Context, r api.ServiceUpdate) (api.Service, error) {
	if err := r.Validate(); err != nil {
		return api.Service{}, err
	}
	return a.changeService(ctx, r.ServiceRef, func(tx *store.Tx, t *reconcile.Tables, v *reconcile.Service) error {
		row, err := updatedRow(v, r)
		if err != nil {
			return err
		}
		if row != nil {
			if err := tx.Put(store.TableService, v.ID, row); err != nil {
				return err
			}
		}
		return updateBackends(tx, t, v, r)
	})
}

// updatedRow returns what an update makes of a service's row; nil if it has
// nothing to say of that.
func updatedRow(v *reconcile.Service, r api.ServiceUpdate) (*store.Service, error) {
	if r.Ports == nil && r.Affinity == nil && r.Health == nil && !r.NoHealth && r.Labels == nil {
		return nil, nil
	}
	row := *v.Service
	switch {
	case row.DNSRR && r.Ports != nil && len(*r.Ports) > 0:
		return nil, api.Errorf(api.CodeInvalid, "service %s cannot have ports in mode %s", row.Name, api.ServiceDNSRR)
	case row.DNSRR && r.Affinity != nil && *r.Affinity != 0:
		return nil, api.Errorf(api.CodeInvalid, "service %s cannot have affinity in mode %s", row.Name, api.ServiceDNSRR)
	}
	if r.Ports != nil {
		row.Ports = storePorts(api.SortPorts(*r.Ports))
	}
	if r.Affinity != nil {
		row.Affinity = time.Duration(*r.Affinity)
	}
	if r.Labels != nil {
		row.Labels = *r.Labels
	}
	switch {
	case r.NoHealth:
		row.Health = nil
	case r.Health != nil:
		h := r.Health.WithDefaults()
		row.Health = storeHealth(&h)
	}
	return &row, nil
}

func updateBackends(tx *store.Tx, t *reconcile.Tables, v *reconcile.Service, r api.ServiceUpdate) error {
	named := make(map[string]bool)
	once := func(e store.Endpoint) error {
		if named[e.ID] {
			return api.Errorf(api.CodeInvalid, "endpoint %s is given twice", e.Name)
		}
		named[e.ID] = true
		return nil
	}
	for _, m := range r.Add {
		e, err := findEndpoint(t, v.Network, m.Endpoint)
		if err != nil {
			return err
		}
		if err := once(e); err != nil {
			return err
		}
		row, there := v.Backends[e.ID]
		if !there {
			row = newBackend(v, e)
		}
		row.Weight = cmp.Or(m.Weight, row.Weight, 1)
		if there && row == v.Backends[e.ID] {
			continue
		}
		if err := tx.Put(store.TableBackend, store.BackendKey(v.ID, e.ID), row); err != nil {
			return err
		}
	}
	for _, ref := range r.Remove {
		e, err := findBackend(t, v, ref)
		if err != nil {
			return err
		}
		if err := once(e); err != nil {
			return err
		}
		if err := tx.Delete(store.TableBackend, store.BackendKey(v.ID, e.ID)); err != nil {
			return err
		}
	}
	return nil
}

// findBackend returns the endpoint that ref names, if it is a backend of v.
func findBackend(t *reconcile.Tables, v *reconcile.Service, ref string) (store.Endpoint, error) {
	e, err := findEndpoint(t, v.Network, ref)
	if err != nil {
		return e, err
	}
	if _, there := v.Backends[e.ID]; !there {
		return e, api.Errorf(api.CodeNotFound, "endpoint %s is no backend of service %s", e.Name, v.Name)
	}
	return e, nil
}

// ServiceDrain begins or ends that a backend gets no new flows.
func (a *Agent) ServiceDrain(ctx context.Context, r api.ServiceDrain) (api.Service, error) {
	if err := r.Validate(); err != nil {
		return api.Service{}, err
	}
	return a.changeService(ctx, r.ServiceRef, func(tx *store.Tx, t *reconcile.Tables, v *reconcile.Service) error {
		e, err := findBackend(t, v, r.Endpoint)
		if err != nil {
			return err
		}
		row := v.Backends[e.ID]
		if row.Draining == !r.Undo {
			return nil
		}
		row.Draining = !r.Undo
		return tx.Put(store.TableBackend, store.BackendKey(v.ID, e.ID), row)
	})
}

// changeService makes a change of a service that exists, and returns what it is
// then, when the live hosts know it.
func (a *Agent) changeService(
	ctx context.Context, r api.ServiceRef, change func(*store.Tx, *reconcile.Tables, *reconcile.Service) error,
) (api.Service, error) {
	done, err := a.gate.enter()
	if err != nil {
		return api.Service{}, err
	}
	defer done()
	var id string
	rows, err := a.store.Update(func(tx *store.Tx) error {
		if id, err = a.findServiceRef(r); err != nil {
			return err
		}
		t := a.tables()
		return change(tx, t, t.Services[id])
	})
	if err != nil {
		return api.Service{}, err
	}
	a.settle(ctx, rows)
	out, err := a.serviceNow(id)
	if err == nil && len(rows) > 0 {
		a.log.Info("service changed", "service", out.Name, "network", out.Network)
	}
	return out, err
}

// deleteBackends deletes all that is said of endpoints of this node as backends.
func deleteBackends(tx *store.Tx, t *reconcile.Tables, endpoints []store.Endpoint) error {
	if len(endpoints) == 0 {
		return nil
	}
	remove := func(table, service, endpoint string) error {
		key := store.BackendKey(service, endpoint)
		if _, there := tx.Get(table, key); !there {
			return nil
		}
		return tx.Delete(table, key)
	}
	for _, all := range []map[string]*reconcile.Service{t.Services, t.Strays} {
		for id, v := range all {
			for _, e := range endpoints {
				if _, there := v.Backends[e.ID]; there {
					if err := remove(store.TableBackend, id, e.ID); err != nil {
						return err
					}
				}
				if h, there := v.Checked[e.ID]; there && h.Node == e.Node {
					if err := remove(store.TableHealth, id, e.ID); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}
