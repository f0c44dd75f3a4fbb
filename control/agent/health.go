package agent

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"time"

	"github.com/ovlnet/ovl/control/health"
	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/datapath"
)

// checkBackends keeps the checks of this host's backends at what services ask
// for, and their rows at what is found:
//
//	services, endpoints ─▶ health.Checker ─▶ results ─▶ rows of this node
//
// until ctx ends.
func (a *Agent) checkBackends(ctx context.Context) {
	results := newResults()
	checker := health.New(health.Options{Report: results.report, Logger: a.log})
	var running sync.WaitGroup
	running.Add(1)
	go func() {
		defer running.Done()
		checker.Run(ctx)
	}()
	defer running.Wait()
	changes, unsubscribe := a.store.Subscribe()
	defer unsubscribe()
	var asked map[string]question
	var again <-chan time.Time
	for {
		if wanted := questions(a.tables(), a.self.ID); !maps.Equal(wanted, asked) {
			asked = wanted
			checker.Set(a.checks(wanted))
		}
		again = nil
		if err := a.writeHealth(ctx, results.of(asked)); err != nil {
			a.log.Error("health of backends not written", "err", err)
			again = time.After(upkeepInterval)
		}
		select {
		case <-ctx.Done():
			return
		case <-changes:
		case <-results.news:
		case <-again:
		}
	}
}

// question is what is to be found out of a backend of this host.
type question struct {
	check  store.HealthCheck
	target netip.Addr
	// netns, pid and inode are the endpoint's namespace.
	netns string
	pid   int
	inode uint64
}

// questions are those that services ask of a node's endpoints, by
// store.BackendKey. An endpoint without a namespace cannot be asked.
func questions(t *reconcile.Tables, node string) map[string]question {
	out := make(map[string]question)
	for id, v := range t.Services {
		if v.Health == nil {
			continue
		}
		for endpoint := range v.Backends {
			e, there := t.Endpoints[endpoint]
			if there && e.Node == node && e.Network == v.Network && e.Kind == datapath.Veth && len(e.Addrs) > 0 {
				out[store.BackendKey(id, endpoint)] = question{*v.Health, e.Addrs[0].Addr(), e.Netns, e.PID, e.NetnsInode}
			}
		}
	}
	return out
}

func (a *Agent) checks(wanted map[string]question) []health.Check {
	out := make([]health.Check, 0, len(wanted))
	for key, q := range wanted {
		out = append(out, health.Check{
			Key:       key,
			Namespace: backendNamespace{a.host, q},
			Kind:      health.Kind(q.check.Type),
			Target:    netip.AddrPortFrom(q.target, q.check.Port),
			Path:      q.check.Path,
			Interval:  q.check.Interval,
			Timeout:   q.check.Timeout,
			Rise:      q.check.Rise,
			Fall:      q.check.Fall,
		})
	}
	return out
}

// backendNamespace is the namespace of an endpoint, opened each time: one that is
// held open would outlive its container.
type backendNamespace struct {
	host Host
	q    question
}

// Do implements health.Namespace.
func (n backendNamespace) Do(fn func() error) error {
	ns, err := n.host.OpenNamespace(n.q.netns, n.q.pid)
	if err != nil {
		return err
	}
	defer ns.Close() //nolint:errcheck // only looked into
	if ns.Inode() != n.q.inode {
		return fmt.Errorf("the namespace of the endpoint is gone: its name leads to another")
	}
	return ns.Do(fn)
}

// results are what was found last.
type results struct {
	// news has a value after a report.
	news chan struct{}

	mu      sync.Mutex
	healthy map[string]bool
}

func newResults() *results {
	return &results{news: make(chan struct{}, 1), healthy: make(map[string]bool)}
}

func (r *results) report(c health.Change) {
	r.mu.Lock()
	r.healthy[c.Key] = c.Healthy
	r.mu.Unlock()
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// of returns the results of what is asked, and forgets all others.
func (r *results) of(asked map[string]question) map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.healthy, func(key string, _ bool) bool {
		_, wanted := asked[key]
		return !wanted
	})
	return maps.Clone(r.healthy)
}

// writeHealth writes the results that differ from the rows, and spreads them.
func (a *Agent) writeHealth(ctx context.Context, healthy map[string]bool) error {
	different := func(t *reconcile.Tables, key string) bool {
		service, endpoint, _ := store.SplitBackendKey(key)
		v := t.Services[service]
		if v == nil {
			return false
		}
		_, backend := v.Backends[endpoint]
		_, there := t.Endpoints[endpoint]
		row, written := v.Checked[endpoint]
		return backend && there && (!written || row != store.Health{Node: a.self.ID, Healthy: healthy[key]})
	}
	maps.DeleteFunc(healthy, func(key string, _ bool) bool { return !different(a.tables(), key) })
	if len(healthy) == 0 {
		return nil
	}
	rows, err := a.store.Update(func(tx *store.Tx) error {
		t := a.tables()
		for key, is := range healthy {
			if !different(t, key) {
				continue // gone meanwhile
			}
			if err := tx.Put(store.TableHealth, key, store.Health{Node: a.self.ID, Healthy: is}); err != nil {
				return err
			}
			service, endpoint, _ := store.SplitBackendKey(key)
			a.log.Info("health of a backend", "service", t.Services[service].Name, "endpoint", t.Endpoints[endpoint].Name, "healthy", is)
		}
		return nil
	})
	if err != nil {
		return err
	}
	a.cluster.Spread(ctx, rows)
	return nil
}
