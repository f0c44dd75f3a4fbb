package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/cluster/clustertest"
	"github.com/ovlnet/ovl/control/cluster/member"
	"github.com/ovlnet/ovl/control/cluster/rpc"
	"github.com/ovlnet/ovl/control/store"
)

func TestAChangeReachesEveryone(t *testing.T) {
	inBubble(t, clustertest.Options{Delay: 10 * time.Millisecond}, func(t *testing.T, l *lab) {
		nodes := l.cluster(5)
		l.eventually(2*time.Second, "tables alike", func() bool { return alike(nodes) })
		nodes[3].write("net", "v1")
		if took := l.eventually(time.Second, "row everywhere", allHave(nodes, "net")); took > 200*time.Millisecond {
			t.Errorf("an event took %s", took)
		}
		l.eventually(5*time.Second, "everyone has converged", func() bool {
			for _, n := range nodes {
				if !n.Converged() {
					return false
				}
			}
			return true
		})
		p := nodes[0].Peers()
		if len(p) != 4 || p[0].Name != "host-2" || p[0].Status != member.Alive || p[0].Version != "test" || p[0].Datapath != "kernel" ||
			p[0].VTEP != nodes[1].addr || p[0].LastSync.IsZero() {
			t.Errorf("peers: %+v", p)
		}
	})
}

// A joining host has everything when Join returns, however much that is.
func TestJoinPullsTheWholeState(t *testing.T) {
	inBubble(t, clustertest.Options{Delay: time.Millisecond}, func(t *testing.T, l *lab) {
		a, b := l.start(), l.start()
		big := strings.Repeat("<&>", 3000)
		for i := range 60 {
			if _, err := a.store.Put(store.TableNetwork, fmt.Sprintf("net-%03d", i), big); err != nil {
				t.Fatal(err)
			}
		}
		before := l.hub.Requests()
		b.join(a)
		for i := range 60 {
			if key := fmt.Sprintf("net-%03d", i); !b.has(key) {
				t.Fatalf("%s is missing after Join", key)
			}
		}
		if got := l.hub.Requests() - before; got < 4 {
			t.Errorf("3 MB came in %d requests: larger than the limit of a message", got)
		}
	})
}

func TestSpreadNowWaitsForTheDatapathOfOthers(t *testing.T) {
	inBubble(t, clustertest.Options{Delay: time.Millisecond}, func(t *testing.T, l *lab) {
		hold := make(chan struct{})
		a := l.start()
		b := l.start(func(o *Options) {
			o.Applied = func(ctx context.Context) error {
				select {
				case <-hold:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		})
		c := l.start()
		b.join(a)
		c.join(a)
		l.eventually(5*time.Second, "a sees both alive", func() bool {
			return a.status(b) == member.Alive && a.status(c) == member.Alive
		})

		row, err := a.store.Put(store.TableNetwork, "one", 1)
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if got := a.SpreadNow(t.Context(), []store.Row{row}); got != (Reach{Live: 2, Applied: 1}) {
			t.Errorf("with b's datapath stuck: %+v", got)
		}
		if took := time.Since(begin); took != pushLimit {
			t.Errorf("waited %s, not %s", took, pushLimit)
		}
		if !b.has("one") || !c.has("one") {
			t.Error("row is not merged at the peers")
		}

		close(hold)
		if row, err = a.store.Put(store.TableNetwork, "two", 2); err != nil {
			t.Fatal(err)
		}
		begin = time.Now()
		if got := a.SpreadNow(t.Context(), []store.Row{row}); got != (Reach{Live: 2, Applied: 2}) {
			t.Errorf("with both datapaths: %+v", got)
		}
		if took := time.Since(begin); took > 50*time.Millisecond {
			t.Errorf("took %s", took)
		}
	})
}

// A burst and a row too large for an event come by hint, not by the interval.
func TestHintsAreFollowed(t *testing.T) {
	inBubble(t, clustertest.Options{Delay: 5 * time.Millisecond}, func(t *testing.T, l *lab) {
		slow := func(o *Options) { o.Interval = time.Hour }
		a, b, c := l.start(slow), l.start(slow), l.start(slow)
		b.join(a)
		c.join(a)
		l.eventually(5*time.Second, "tables alike", func() bool { return alike(l.all) })

		a.write("large", strings.Repeat("x", 40_000))
		l.eventually(time.Second, "large row", allHave(l.all, "large"))

		rows, err := a.store.Update(func(tx *store.Tx) error {
			for i := range 500 {
				if err := tx.Put(store.TableNetwork, fmt.Sprintf("burst-%03d", i), i); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		a.Spread(t.Context(), rows)
		l.eventually(time.Second, "burst", func() bool { return alike(l.all) })
		l.eventually(time.Second, "convergence", b.Converged)
	})
}

func TestCallsBetweenHosts(t *testing.T) {
	type ask struct{ N int }
	handler := func(_ context.Context, from string, body []byte) (any, error) {
		if strings.Contains(string(body), "13") {
			return nil, fmt.Errorf("allocate: %w", rpc.Errorf("no_address", "no address is left"))
		}
		return map[string]string{"from": from, "got": string(body)}, nil
	}
	inBubble(t, clustertest.Options{}, func(t *testing.T, l *lab) {
		a, b := l.start(), l.start()
		b.join(a)
		l.eventually(time.Second, "a knows b", func() bool { return a.status(b) == member.Alive })
		b.Handle("allocate", func(ctx context.Context, from string, body json.RawMessage) (any, error) {
			return handler(ctx, from, body)
		})

		var got struct{ From, Got string }
		if err := a.Call(t.Context(), b.id, "allocate", ask{7}, &got); err != nil || got.From != a.id || got.Got != `{"N":7}` {
			t.Errorf("answer %+v, %v", got, err)
		}
		if err := b.Call(t.Context(), b.id, "allocate", ask{7}, &got); err != nil || got.From != b.id {
			t.Errorf("call to itself: %+v, %v", got, err)
		}
		for _, from := range []*node{a, b} {
			err := from.Call(t.Context(), b.id, "allocate", ask{13}, &got)
			if !rpc.IsCode(err, "no_address") || !strings.Contains(err.Error(), "no address is left") {
				t.Errorf("refusal arrives as %v", err)
			}
		}
		if err := b.Call(t.Context(), a.id, "allocate", ask{}, &got); !rpc.IsCode(err, rpc.CodeUnknownMethod) {
			t.Errorf("unknown method: %v", err)
		}
		if err := a.Call(t.Context(), "nobody", "allocate", ask{}, &got); !errors.Is(err, rpc.ErrUnreachable) {
			t.Errorf("unknown node: %v", err)
		}
		b.crash()
		l.eventually(10*time.Second, "failure of b", func() bool { return a.status(b) == member.Failed })
		begin := time.Now()
		if err := a.Call(t.Context(), b.id, "allocate", ask{}, &got); !errors.Is(err, rpc.ErrUnreachable) || time.Since(begin) > 0 {
			t.Errorf("failed node after %s: %v", time.Since(begin), err)
		}
	})
}
