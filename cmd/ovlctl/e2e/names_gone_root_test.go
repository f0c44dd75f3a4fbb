package e2e

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/config"
)

// goneQueries is how many queries are answered at least while something goes away.
func goneQueries() int {
	if *allNames {
		return 100_000
	}
	return 10_000
}

// TestNamesOfWhatIsGone: from the moment that a host's own list shows that a
// backend is gone, no answer of that host has it.
func TestNamesOfWhatIsGone(t *testing.T) {
	withNames(t, func(t *testing.T, b *nameBed) {
		for i := range 3 {
			b.ends = append(b.ends, b.hosts[i].attach("shop", fmt.Sprintf("b%d", i+1)))
		}
		b.serve(t, "web", nil, b.ends...)
		b.serve(t, "pool", []string{"--endpoint-mode", "dnsrr"}, b.ends...)
		health := []string{"--endpoint-mode", "dnsrr", "--health", "tcp://:8080", "--health-interval", "200ms", "--health-fall", "1"}
		server := startBackend(t, b.ends[4])
		b.serve(t, "healthy", health, server.endpoint)

		// b1 drains: it is in no answer for backends, and still has its name.
		drained := b.ends[3]
		b.checkGone(t, departure{
			what: "drained", e: drained, watchers: b.ends[:3], names: []string{"tasks.web", "pool", "tasks.pool"},
			cause: func() {
				b.hosts[1].must("service", "drain", "web", drained.info.Name)
				b.hosts[1].must("service", "drain", "pool", drained.info.Name)
			},
			shown: func(ctx context.Context, c *api.Client) (bool, error) {
				web, err := draining(ctx, c, "web", drained)
				if err != nil || !web {
					return false, err
				}
				return draining(ctx, c, "pool", drained)
			},
		})
		for _, e := range b.ends[:3] {
			a := newAsker(t, e, e.info.Gateways[0])
			if m, err := a.ask(drained.info.Name, typeA); err != nil || !slices.Equal(values(m), addrsOf(false, drained)) {
				t.Errorf("%s asks for one that drains: %v, %v", e.info.Name, m, err)
			}
		}

		b.checkGone(t, departure{
			what: "unhealthy", e: server.endpoint, watchers: b.ends[:3], names: []string{"tasks.healthy", "healthy"},
			cause: server.stop,
			shown: func(ctx context.Context, c *api.Client) (bool, error) {
				return hasState(ctx, c, "healthy", server.endpoint, api.BackendUnhealthy)
			},
		})

		detached := b.ends[4]
		b.checkGone(t, departure{
			what: "detached", e: detached, watchers: b.ends[:3], names: []string{"tasks.web", "pool", "tasks.pool", detached.info.Name},
			cause: func() { b.hosts[1].must("detach", detached.info.Name) },
			shown: func(ctx context.Context, c *api.Client) (bool, error) {
				all, err := c.EndpointList(ctx, "shop")
				return !slices.ContainsFunc(all, func(x api.Endpoint) bool { return x.ID == detached.info.ID }), err
			},
		})

		// The host of c3 and b3 loses its power.
		dead := b.ends[5]
		b.checkGone(t, departure{
			what: "on a host that died", e: dead, watchers: b.ends[:2], names: []string{"tasks.web", "pool", "tasks.pool", dead.info.Name},
			cause: func() { b.die(t, b.hosts[2]) },
			shown: func(ctx context.Context, c *api.Client) (bool, error) {
				all, err := c.EndpointList(ctx, "shop")
				return slices.ContainsFunc(all, func(x api.Endpoint) bool {
					return x.ID == dead.info.ID && x.NodeState != api.PeerAlive
				}), err
			},
		})

		b.revive(t, b.hosts[2], b.upArgs(2)...)
		awaitName(t, dead.info.Name, 1, b.ends[:3]...)
		awaitName(t, "tasks.web", len(b.ends)-2, b.ends[:3]...)
	})
}

// departure is how something goes away.
type departure struct {
	what string
	// e goes, and watchers are asked for it all the while, one on each host, by
	// names of which it is one.
	e        *endpoint
	watchers []*endpoint
	names    []string
	cause    func()
	// shown reports whether a host says that it is gone.
	shown func(context.Context, *api.Client) (bool, error)
}

// checkGone asks everywhere for what goes away, and lists it at the same time.
func (b *nameBed) checkGone(t *testing.T, d departure) {
	t.Helper()
	var wg sync.WaitGroup
	var began sync.WaitGroup
	for _, w := range d.watchers {
		began.Add(1)
		wg.Go(func() { b.watch(t, w, d, began.Done) })
	}
	began.Wait()
	d.cause()
	wg.Wait()
}

// watchWorkers is how many ask at the same time on one host.
const watchWorkers = 4

// watch asks on one host until what it is about has gone, and long after.
func (b *nameBed) watch(t *testing.T, w *endpoint, d departure, began func()) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	c := config.Default()
	c.Instance = w.host.instance
	client := api.NewClient(c)

	var mu sync.Mutex
	var shown time.Time // when its host had said that it is gone
	var before, after, again int
	begun := sync.OnceFunc(began)
	defer begun()
	enough := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return ctx.Err() != nil || !shown.IsZero() && after >= goneQueries()/2 && before+after >= goneQueries()
	}
	var wg sync.WaitGroup
	for i := range watchWorkers {
		a := newAsker(t, w, w.info.Gateways[0])
		wg.Go(func() {
			defer a.close()
			for n := i; !enough(); n++ {
				name, qtype := d.names[n%len(d.names)], []uint16{typeA, typeAAAA}[n/len(d.names)%2]
				mu.Lock()
				late := !shown.IsZero()
				mu.Unlock()
				m, err := a.ask(name, qtype)
				if err != nil {
					t.Error(err)
					cancel()
					return
				}
				named := slices.ContainsFunc(values(m), func(v string) bool {
					return slices.Contains(addrsOf(qtype == typeAAAA, d.e), v)
				})
				mu.Lock()
				switch {
				case late && named:
					t.Errorf("%s has %s, which is %s, %v after its host showed that: %v", w.info.Name, d.e.info.Name, d.what, time.Since(shown), m)
					cancel()
				case late:
					after++
				case named:
					before++
				}
				if before >= goneQueries()/10 {
					begun()
				}
				mu.Unlock()
			}
			mu.Lock()
			again += a.again
			mu.Unlock()
		})
	}
	for ctx.Err() == nil {
		is, err := d.shown(ctx, client)
		if err != nil {
			t.Errorf("%s: %v", w.host.name, err)
			cancel()
		}
		if is {
			mu.Lock()
			shown = time.Now()
			mu.Unlock()
			break
		}
	}
	wg.Wait()
	if shown.IsZero() || before == 0 || after < goneQueries()/2 {
		t.Errorf("%s does not show that %s is %s; %d answers had it, %d had not", w.host.name, d.e.info.Name, d.what, before, after)
	}
	t.Logf("%s: %s is %s: %d answers had it before, %d had it no more, %d were asked for twice", w.host.name, d.e.info.Name, d.what, before, after, again)
}

// draining reports whether a host shows that a backend drains.
func draining(ctx context.Context, c *api.Client, service string, e *endpoint) (bool, error) {
	return hasState(ctx, c, service, e, api.BackendDraining)
}

// hasState reports whether a host shows a backend in a state.
func hasState(ctx context.Context, c *api.Client, service string, e *endpoint, want api.BackendState) (bool, error) {
	s, err := c.ServiceInspect(ctx, api.ServiceRef{Service: service, Network: "shop"})
	return slices.ContainsFunc(s.Backends, func(x api.ServiceBackend) bool {
		return x.EndpointID == e.info.ID && x.State == want
	}), err
}
