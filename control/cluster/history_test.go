package cluster

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/ovlnet/ovl/control/cluster/clustertest"
	"github.com/ovlnet/ovl/control/store"
)

// step is one thing that happens in a random history.
type step struct {
	kind string
	host int
	key  string
	n    int
}

func (s step) String() string { return fmt.Sprintf("%s %d %s %d", s.kind, s.host, s.key, s.n) }

func drawSteps(t *rapid.T, hosts int) []step {
	kinds := []string{"write", "write", "write", "now", "delete", "burst", "crash", "up", "split", "heal", "events", "requests", "wait"}
	one := rapid.Custom(func(t *rapid.T) step {
		return step{
			kind: rapid.SampledFrom(kinds).Draw(t, "kind"),
			host: rapid.IntRange(0, hosts-1).Draw(t, "host"),
			key:  rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key"),
			n:    rapid.IntRange(0, 1<<hosts-1).Draw(t, "n"),
		}
	})
	return rapid.SliceOfN(one, 1, 30).Draw(t, "steps")
}

// failure carries a Fatalf out of a bubble: rapid has to hear of it outside.
type failure string

type reporter struct{ *testing.T }

func (r reporter) Fatalf(format string, args ...any) { panic(failure(fmt.Sprintf(format, args...))) }

// Whatever happens to the hosts and the network, once all is well again
// everyone has the same tables, and in them the last write of every key.
func TestRandomHistoriesConverge(t *testing.T) {
	const hosts = 4
	dir := memoryDir(t)
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		steps := drawSteps(rt, hosts)
		runs++
		var failed string
		synctest.Test(t, func(t *testing.T) {
			l := &lab{
				t: reporter{t}, dir: fmt.Sprintf("%s/%d", dir, runs),
				hub: clustertest.NewHub(clustertest.Options{Seed: 1, Delay: 3 * time.Millisecond}),
			}
			defer func() {
				if f, ok := recover().(failure); ok {
					failed = string(f)
				}
				l.close()
			}()
			playHistory(l, hosts, steps)
		})
		if failed != "" {
			rt.Fatalf("%s", failed)
		}
	})
}

func playHistory(l *lab, hosts int, steps []step) {
	nodes := l.cluster(hosts)
	last := make(map[string]store.Row)
	wrote := func(rows ...store.Row) {
		for _, row := range rows {
			if old, ok := last[row.Key]; !ok || row.Wins(old) {
				last[row.Key] = row
			}
		}
	}
	for _, s := range steps {
		n := nodes[s.host]
		if n.Cluster == nil && s.kind != "up" && s.kind != "wait" {
			continue
		}
		switch s.kind {
		case "write", "now", "delete":
			row, err := n.store.Put(store.TableNetwork, s.key, s.n)
			if s.kind == "delete" && err == nil {
				row, err = n.store.Delete(store.TableNetwork, s.key)
			}
			if err != nil {
				l.t.Fatalf("%s: %v", s, err)
			}
			wrote(row)
			if s.kind == "now" {
				n.SpreadNow(context.Background(), []store.Row{row})
			} else {
				n.Spread(context.Background(), []store.Row{row})
			}
		case "burst":
			rows, err := n.store.Update(func(tx *store.Tx) error {
				for i := range 40 {
					if err := tx.Put(store.TableNetwork, fmt.Sprintf("%s-%d", s.key, i), s.n); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				l.t.Fatalf("%s: %v", s, err)
			}
			wrote(rows...)
			n.Spread(context.Background(), rows)
		case "crash":
			n.crash()
		case "up":
			if n.Cluster == nil {
				n.up()
			}
		case "split":
			var side []string
			for i, m := range nodes {
				if s.n>>i&1 == 1 {
					side = append(side, m.id)
				}
			}
			l.hub.Partition(side)
		case "heal":
			l.hub.Partition()
		case "events":
			l.hub.LoseEvents(float64(s.n%4) / 3)
		case "requests":
			l.hub.LoseRequests(float64(s.n%4) / 4)
		case "wait":
			time.Sleep(time.Duration(s.n) * 500 * time.Millisecond)
		}
	}

	l.hub.Partition()
	l.hub.LoseRequests(0)
	l.hub.LoseEvents(1)
	for _, n := range nodes {
		if n.Cluster == nil {
			n.up()
		}
	}
	l.eventually(2*time.Minute, "tables alike", func() bool { return alike(nodes) })
	for _, n := range nodes {
		for key, row := range last {
			got, ok := n.store.Snapshot().Get(store.TableNetwork, key)
			if ok == row.Deleted || ok && got.Stamp != row.Stamp {
				l.t.Fatalf("%s has %+v under %s, last written was %+v", n.opt.Name, got, key, row)
			}
		}
	}
	l.eventually(time.Minute, "everyone says converged", func() bool {
		for _, n := range nodes {
			if !n.Converged() {
				return false
			}
		}
		return true
	})
	l.eventually(5*time.Minute, "tombstones collected", func() bool {
		for _, n := range nodes {
			if n.store.Snapshot().Tombstones() > 0 {
				return false
			}
		}
		return true
	})
}
