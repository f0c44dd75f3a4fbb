package agent

import (
	"cmp"
	"context"
	"time"

	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/control/store"
)

// reviewServices deletes rows of services that lead nowhere, which changes of
// two nodes at once leave behind: a backend without its service or endpoint,
// health that nobody asks for, a service without its network. The rest of such
// a pair may be on its way, so they have a grace, and stay while anything is known
// to be missing. Of what anybody may write, each row is for one node to delete.
func (a *Agent) reviewServices(ctx context.Context) error {
	now, t := time.Now(), a.tables()
	if t == a.reviewed && len(a.loose) == 0 {
		return nil // nothing was loose, and nothing has changed
	}
	a.reviewed = t
	found := a.looseRows(t)
	if a.loose == nil || !a.cluster.Converged() {
		a.loose = make(map[store.RowName]time.Time)
	}
	var old []store.RowName
	for name := range a.loose {
		if !found[name] {
			delete(a.loose, name)
		}
	}
	for name := range found {
		since, seen := a.loose[name]
		switch {
		case !seen:
			a.loose[name] = now
		case now.Sub(since) > cmp.Or(a.hooks.leaseGrace, leaseGrace):
			old = append(old, name)
		}
	}
	if len(old) == 0 {
		return nil
	}
	rows, err := a.store.Update(func(tx *store.Tx) error {
		still := a.looseRows(a.tables())
		for _, name := range old {
			if !still[name] {
				continue
			}
			if err := tx.Delete(name.Table, name.Key); err != nil {
				return err
			}
			a.log.Info("row deleted that leads nowhere", "table", name.Table, "key", name.Key)
		}
		return nil
	})
	if err != nil {
		return err
	}
	a.cluster.Spread(ctx, rows)
	return nil
}

// looseRows are the rows that lead nowhere and are for this node to delete:
// those of its own endpoints, and, where a node has left, of nobody, if it has
// the lowest ID of those that are alive.
func (a *Agent) looseRows(t *reconcile.Tables) map[store.RowName]bool {
	out := make(map[store.RowName]bool)
	lowest := true
	for id := range t.Nodes {
		lowest = lowest && (id >= a.self.ID || t.Failed[id])
	}
	mine := func(node string) bool {
		_, member := t.Nodes[node]
		return node == a.self.ID || !member && lowest
	}
	review := func(id string, v *reconcile.Service) {
		there := func(endpoint string) bool {
			e, ok := t.Endpoints[endpoint]
			return ok && v.Service != nil && e.Network == v.Network
		}
		for endpoint, b := range v.Backends {
			if mine(b.Node) && !there(endpoint) {
				out[store.RowName{Table: store.TableBackend, Key: store.BackendKey(id, endpoint)}] = true
			}
		}
		for endpoint, h := range v.Checked {
			_, backend := v.Backends[endpoint]
			if h.Node == a.self.ID && (!there(endpoint) || !backend || v.Health == nil) {
				out[store.RowName{Table: store.TableHealth, Key: store.BackendKey(id, endpoint)}] = true
			}
		}
	}
	for id, v := range t.Services {
		if _, network := t.Networks[v.Network]; !network && lowest {
			out[store.RowName{Table: store.TableService, Key: id}] = true
		}
		review(id, v)
	}
	for id, v := range t.Strays {
		review(id, v)
	}
	return out
}
