package e2e

import (
	"fmt"
	"net/netip"
	"testing"
)

// TestServiceLosesBackend: one of six is removed. Nobody notices but its own
// clients, and nobody at all if it was drained before.
func TestServiceLosesBackend(t *testing.T) {
	withServices(t, nil, translated, func(t *testing.T, b *serviceBed) {
		talks := b.conversations(t, 12, "tcp", b.clients...)
		before := b.oracle()
		drained, removed := b.backends[0], b.backends[4]

		// Drained and then removed.
		var wrks []*wrk
		for _, from := range b.clients {
			wrks = append(wrks, b.startWrk(t, from))
		}
		l := b.startLoad(t, b.clients[0])
		l.more(t, 50)
		b.hosts[1].must("service", "drain", "web", drained.info.Name)
		b.awaitServing(t, len(b.backends)-1)
		checkGoOn(t, talks)
		for _, c := range talks {
			if c.backend == drained.info.Name {
				_ = c.Close()
			}
		}
		drained.awaitQuiet(t)
		b.hosts[1].must("service", "update", "web", "--remove-endpoint", drained.info.Name)
		l.more(t, 50)
		for _, w := range wrks {
			if n, faults := w.stop(t); n == 0 || faults != "" {
				t.Errorf("wrk of %s while a drained backend is removed: %d requests were answered, and: %s", w.from.info.Name, n, faults)
			}
		}
		if done, failed := l.stop(); len(failed) > 0 {
			t.Errorf("%d of %d requests fail while a drained backend is removed: %v", len(failed), done, failed)
		}
		var rest []*conversation
		for _, c := range talks {
			if c.backend != drained.info.Name {
				rest = append(rest, c)
			}
		}
		checkGoOn(t, rest)
		after := b.oracle()
		b.checkMoved(t, before, after, len(b.backends))

		// Removed as it is.
		l = b.startLoad(t, b.clients[0])
		l.more(t, 50)
		b.hosts[2].must("service", "update", "web", "--remove-endpoint", removed.info.Name)
		checkGoOn(t, rest, removed)
		l.more(t, 50)
		done, failed := l.stop()
		for _, f := range failed {
			if to := after.of(6, f.client, b.http); to != removed.info.Name {
				t.Errorf("a request of %s fails, which went to %s and not to what was removed: %v", f.client, to, f.err)
			}
		}
		t.Logf("%d of %d requests failed when a backend was removed without being drained", len(failed), done)
		b.checkMoved(t, after, b.oracle(), len(b.backends)-1)
	})
}

// checkMoved wants no more new flows to have moved than those of one of so many,
// and 2 % of all, and clients on every host to be led accordingly.
func (b *serviceBed) checkMoved(t *testing.T, before, after oracle, backends int) {
	t.Helper()
	if moved := after.moved(before); moved > 1/float64(backends)+0.02 {
		t.Errorf("one of %d backends is gone, and %.1f %% of new flows go elsewhere", backends, 100*moved)
	}
	for _, from := range b.clients {
		for port, got := range requests(t, from, portsFrom(20000, 30), b.http) {
			client := netip.AddrPortFrom(addrOf(from, b.vip), port)
			if want := after.of(6, client, b.http); got != want {
				t.Errorf("%s goes to %s, want %s", client, got, want)
			}
		}
	}
}

// TestServiceRollingReplacement: all backends are replaced one after the other,
// with wrk at full speed from every host, and no request fails.
func TestServiceRollingReplacement(t *testing.T) {
	health := []string{"--health", "tcp://:8080", "--health-interval", "200ms", "--health-fall", "50"}
	withServices(t, nil, append(health, translated...), func(t *testing.T, b *serviceBed) {
		var wrks []*wrk
		for _, from := range b.clients {
			wrks = append(wrks, b.startWrk(t, from))
		}
		for i, old := range b.backends {
			h := old.host
			name := fmt.Sprintf("n%d", i+1)
			// A backend from the first moment, which gets nothing until it serves.
			next := startBackend(t, h.attach("shop", name, "--service", "web"))
			b.awaitServing(t, len(b.backends)+1)
			h.must("service", "drain", "web", old.info.Name)
			b.awaitServing(t, len(b.backends))
			old.awaitQuiet(t)
			old.stop()
			if err := detachFrom(old.endpoint); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the new one is asked", func() error {
				if next.count() == 0 {
					return fmt.Errorf("it has no client")
				}
				return nil
			})
			b.backends[i] = next
		}
		for _, w := range wrks {
			n, faults := w.stop(t)
			if n == 0 || faults != "" {
				t.Errorf("wrk of %s: %d requests were answered, and: %s", w.from.info.Name, n, faults)
			}
			t.Logf("wrk of %s: %d requests", w.from.info.Name, n)
		}
		for _, x := range b.backends {
			if x.count() == 0 {
				t.Errorf("%s was not asked", x.info.Name)
			}
		}
	})
}
