package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/cluster/clustertest"
	"github.com/ovlnet/ovl/control/cluster/member"
	"github.com/ovlnet/ovl/control/store"
)

// Losing every event costs only delay.
func TestEveryEventLost(t *testing.T) {
	inBubble(t, clustertest.Options{Delay: 5 * time.Millisecond}, func(t *testing.T, l *lab) {
		l.hub.LoseEvents(1)
		nodes := l.cluster(10)
		l.eventually(30*time.Second, "tables alike", func() bool { return alike(nodes) })
		for i, n := range nodes {
			n.write(fmt.Sprintf("net-%d", i), i)
		}
		took := l.eventually(time.Minute, "writes everywhere", func() bool { return alike(nodes) })
		t.Logf("10 hosts without events: %s", took)
		if !allHave(nodes, "net-9")() {
			t.Error("alike, but without the row")
		}
	})
}

// Hundreds of hosts, most events and some requests lost.
func TestHundredsOfHosts(t *testing.T) {
	if testing.Short() {
		t.Skip("starts 200 stores")
	}
	inBubble(t, clustertest.Options{Delay: 5 * time.Millisecond}, func(t *testing.T, l *lab) {
		nodes := l.cluster(200)
		l.eventually(2*time.Minute, "tables alike", func() bool { return alike(nodes) })
		l.hub.LoseEvents(0.9)
		l.hub.LoseRequests(0.05)
		for i := range 20 {
			nodes[i*10].write(fmt.Sprintf("net-%d", i), i)
		}
		took := l.eventually(2*time.Minute, "writes everywhere", func() bool { return alike(nodes) })
		t.Logf("200 hosts, 9 of 10 events lost: %s", took)
	})
}

func TestPartitionAndHeal(t *testing.T) {
	inBubble(t, clustertest.Options{Delay: 5 * time.Millisecond}, func(t *testing.T, l *lab) {
		nodes := l.cluster(6)
		l.eventually(30*time.Second, "tables alike", func() bool { return alike(nodes) })
		left, right := nodes[:3], nodes[3:]

		l.hub.Partition(ids(left), ids(right))
		left[1].write("left", 1)
		right[1].write("right", 1)
		left[2].write("both", "by left")
		right[2].write("both", "by right")
		l.eventually(10*time.Second, "failures are seen", func() bool {
			return left[0].status(right[2]) == member.Failed && right[2].status(left[0]) == member.Failed
		})
		l.eventually(10*time.Second, "sides alike", func() bool { return alike(left) && alike(right) })
		if left[0].has("right") || right[0].has("left") {
			t.Fatal("the partition leaks")
		}
		// A failed peer keeps its rows, and the side that is left has converged.
		if _, ok := left[0].store.Snapshot().Get(store.TableNode, right[0].id); !ok {
			t.Error("row of a failed peer is gone")
		}
		if !left[0].Converged() {
			t.Error("left side waits for hosts that failed")
		}

		l.hub.Partition()
		took := l.eventually(3*time.Second, "healed", func() bool { return alike(nodes) })
		t.Logf("healed in %s", took)
		if !nodes[0].has("right") || nodes[0].status(right[0]) != member.Alive {
			t.Error("healed, but not whole")
		}
	})
}

// A restarted host finds its cluster again without --join, also one whose peers
// were all restarted while it was away.
func TestRestartFindsTheCluster(t *testing.T) {
	inBubble(t, clustertest.Options{Delay: 5 * time.Millisecond}, func(t *testing.T, l *lab) {
		nodes := l.cluster(3)
		l.eventually(30*time.Second, "tables alike", func() bool { return alike(nodes) })

		nodes[1].crash()
		nodes[0].write("missed", 1)
		nodes[1].up()
		took := l.eventually(3*time.Second, "restarted host has caught up", allHave(nodes, "missed"))
		t.Logf("back in %s", took)

		for _, n := range nodes {
			n.crash()
		}
		time.Sleep(time.Hour)
		for _, n := range nodes {
			n.up()
			time.Sleep(time.Minute)
		}
		l.eventually(time.Minute, "all three meet again", func() bool {
			for _, a := range nodes {
				for _, b := range nodes {
					if a != b && a.status(b) != member.Alive {
						return false
					}
				}
			}
			return alike(nodes)
		})
	})
}

// An older copy of a host's state was put back: its peers would take what it
// writes now for what they have seen.
func TestOlderStateStops(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, l *lab) {
		told := make(chan error, 1)
		a := l.start()
		b := l.start(func(o *Options) { o.OnDisowned = func(err error) { told <- err } })
		b.join(a)
		b.crash()
		old, err := os.ReadFile(b.path)
		if err != nil {
			t.Fatal(err)
		}
		b.up()
		b.write("one", 1)
		b.write("two", 2)
		l.eventually(10*time.Second, "a has it", func() bool { return a.has("two") })
		b.crash()
		if err := os.WriteFile(b.path, old, 0o600); err != nil {
			t.Fatal(err)
		}
		b.up()
		select {
		case err := <-told:
			if !errors.Is(err, ErrOutdated) {
				t.Errorf("told %v", err)
			}
		case <-time.After(time.Minute):
			t.Error("goes on")
		}
		if err := b.Join(t.Context(), []string{a.addr.String()}); !errors.Is(err, ErrOutdated) {
			t.Errorf("join: %v", err)
		}
	})
}

// Both sides of a partition were restarted: nobody's gossip knows the others.
func TestHealAfterRestartsOnBothSides(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, l *lab) {
		nodes := l.cluster(4)
		l.eventually(30*time.Second, "tables alike", func() bool { return alike(nodes) })
		l.hub.Partition(ids(nodes[:2]), ids(nodes[2:]))
		for _, n := range nodes {
			n.crash()
			n.up()
		}
		nodes[0].write("left", 1)
		nodes[2].write("right", 1)
		time.Sleep(time.Minute)
		l.hub.Partition()
		l.eventually(time.Minute, "sides find each other", func() bool { return alike(nodes) && nodes[0].has("right") })
	})
}

func TestLeaveTakesAHostOffTheList(t *testing.T) {
	inBubble(t, clustertest.Options{Delay: 5 * time.Millisecond}, func(t *testing.T, l *lab) {
		l.hub.LoseEvents(1) // only Leave's own push can bring the tombstones
		nodes := l.cluster(4)
		l.eventually(time.Minute, "tables alike", func() bool { return alike(nodes) })
		gone, rest := nodes[3], nodes[:3]
		// Everyone has heard from everyone, which the tombstones will need.
		time.Sleep(time.Minute)

		if _, err := gone.store.Delete(store.TableNode, gone.id); err != nil {
			t.Fatal(err)
		}
		if err := gone.Leave(context.Background()); err != nil {
			t.Fatal(err)
		}
		gone.crash()
		l.eventually(100*time.Millisecond, "leaver is off every list", func() bool {
			for _, n := range rest {
				if n.status(gone) != "" || len(n.Peers()) != 2 {
					return false
				}
			}
			return true
		})
		l.eventually(2*time.Minute, "its tombstone is collected", func() bool {
			for _, n := range rest {
				if n.store.Snapshot().Tombstones() > 0 {
					return false
				}
			}
			return true
		})

		// It may come back with --join, under its old ID.
		gone.up()
		if got := gone.Peers(); len(got) != 3 || got[0].Status != member.Failed {
			t.Logf("before the join: %+v", got)
		}
		gone.join(rest[0])
		l.eventually(10*time.Second, "back", func() bool { return rest[2].status(gone) == member.Alive && alike(nodes) })
	})
}

// A failed member holds tombstones back: it must not bring the row back.
func TestFailedMemberHoldsTombstones(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, l *lab) {
		nodes := l.cluster(3)
		nodes[0].write("net", 1)
		l.eventually(time.Minute, "tables alike", func() bool { return alike(nodes) && nodes[2].has("net") })
		nodes[2].crash()
		row, err := nodes[0].store.Delete(store.TableNetwork, "net")
		if err != nil {
			t.Fatal(err)
		}
		nodes[0].Spread(t.Context(), []store.Row{row})
		time.Sleep(24 * time.Hour)
		if n := nodes[1].store.Snapshot().Tombstones(); n != 1 {
			t.Fatalf("%d tombstones while a member that has the row is away", n)
		}
		nodes[2].up()
		l.eventually(time.Minute, "deleted everywhere, tombstone gone", func() bool {
			for _, n := range nodes {
				if n.has("net") || n.store.Snapshot().Tombstones() > 0 {
					return false
				}
			}
			return true
		})
	})
}
