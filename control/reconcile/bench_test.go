package reconcile

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/datapath"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
)

var sizes = []int{100, 10_000, 100_000}

// crowd is a network with one endpoint on node 0 and the rest on other nodes,
// a hundred each.
func crowd(endpoints int) *world {
	w := newWorld()
	w.network("blue", 4096, 1450)
	w.node("0", "192.0.2.1")
	w.endpoint("here", "blue", "0", "02:00:00:00:00:01", "10.0.0.2/8")
	for i := range endpoints - 1 {
		w.join(i)
	}
	return w
}

// join adds the endpoint of that index of a datapathtest.Crowd, and its node.
func (w *world) join(i int) {
	r := dt.CrowdMember(i)
	if _, known := w.Nodes[r.VTEP.String()]; !known {
		w.node(r.VTEP.String(), r.VTEP.String())
	}
	id := fmt.Sprintf("%032x", i)
	w.endpoint(id, "blue", r.VTEP.String(), r.MAC.String(), netip.PrefixFrom(r.Addrs[0], 8).String())
}

var benchLocal = Local{Node: "0", VTEP: netip.MustParseAddr("192.0.2.1"), Port: 4789}

// BenchmarkBuild makes a State of decoded tables, as every pass does.
func BenchmarkBuild(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := crowd(n)
			b.ReportAllocs()
			for b.Loop() {
				s, alarms := Build(&w.Tables, benchLocal)
				if len(s.Networks) != 1 || len(s.Networks[0].Remotes) != n-1 || len(alarms) > 0 {
					b.Fatalf("%d networks, alarms %v", len(s.Networks), alarms)
				}
			}
		})
	}
}

// BenchmarkRead decodes a snapshot: all of it at the start, and then after each
// change what is new in it.
func BenchmarkRead(b *testing.B) {
	for _, n := range sizes {
		s := benchStore(b, crowd(n))
		b.Run(fmt.Sprintf("all/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var r Reader
				if t := r.Read(s.Snapshot()); len(t.Endpoints) != n {
					b.Fatalf("%d endpoints", len(t.Endpoints))
				}
			}
		})
		b.Run(fmt.Sprintf("one/%d", n), func(b *testing.B) {
			var r Reader
			e := r.Read(s.Snapshot()).Endpoints["here"]
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				e.Name = fmt.Sprint("changed-", i)
				if _, err := s.Put(store.TableEndpoint, e.ID, e); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				if t := r.Read(s.Snapshot()); t.Endpoints["here"].Name != e.Name {
					b.Fatal("not read")
				}
			}
		})
	}
}

// benchStore holds the rows of w.
func benchStore(b *testing.B, w *world) *store.Store {
	s, err := store.Open(filepath.Join(b.TempDir(), "state.db"), store.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	_, err = s.Update(func(tx *store.Tx) error {
		for id, n := range w.Nodes {
			if err := tx.Put(store.TableNode, id, n); err != nil {
				return err
			}
		}
		for id, n := range w.Networks {
			if err := tx.Put(store.TableNetwork, id, n); err != nil {
				return err
			}
		}
		for id, e := range w.Endpoints {
			if err := tx.Put(store.TableEndpoint, id, e); err != nil {
				return err
			}
		}
		for id, v := range w.Services {
			if err := tx.Put(store.TableService, id, v.Service); err != nil {
				return err
			}
			for e, k := range v.Backends {
				if err := tx.Put(store.TableBackend, store.BackendKey(id, e), k); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// serve adds services of three backends each, which take turns.
func (w *world) serve(services int) {
	w.subnet("blue", "10.0.0.0/8")
	ids := slices.Sorted(maps.Keys(w.Endpoints))
	for i := range services {
		id := fmt.Sprintf("service-%05d", i)
		vip := netip.AddrFrom4([4]byte{10, 255, byte(i >> 8), byte(i)})
		v := w.service(id, "blue", []string{vip.String()})
		for k := range 3 {
			e := ids[(3*i+k)%len(ids)]
			v.Backends[e] = store.Backend{Node: w.Endpoints[e].Node, Weight: 1}
		}
	}
}

// BenchmarkServices is what a change costs, from the store to a State, where
// there are 10 000 services of three backends: one backend is drained, a node
// fails, one endpoint more joins.
func BenchmarkServices(b *testing.B) {
	const services = 10_000
	for _, endpoints := range []int{100, 3 * services} {
		w := crowd(endpoints)
		w.serve(services)
		s := benchStore(b, w)
		var r Reader
		var builder Builder
		bench := func(name string, change func(i int), check func(datapath.State) bool) {
			b.Run(fmt.Sprintf("%s/%d", name, endpoints), func(b *testing.B) {
				b.ReportAllocs()
				before, _ := builder.Build(r.Read(s.Snapshot()), benchLocal)
				for i := 0; b.Loop(); i++ {
					b.StopTimer()
					change(i)
					b.StartTimer()
					t := *r.Read(s.Snapshot())
					t.Failed = w.Failed
					state, alarms := builder.Build(&t, benchLocal)
					if state.Equal(before) || !check(state) || len(alarms) > 0 {
						b.Fatalf("not as wanted, alarms %v", alarms)
					}
					before = state
				}
			})
		}
		backend := func(s datapath.State) datapath.Backend { return s.Networks[0].Services[0].Backends[0] }
		first, e := "service-00000", slices.Sorted(maps.Keys(w.Endpoints))[0]
		put := func(table, key string, value any) {
			if _, err := s.Put(table, key, value); err != nil {
				b.Fatal(err)
			}
		}
		draining := false
		bench("drain", func(int) {
			draining = !draining
			put(store.TableBackend, store.BackendKey(first, e), store.Backend{Weight: 1, Draining: draining})
		}, func(s datapath.State) bool { return backend(s).Draining == draining })
		bench("fail", func(i int) {
			w.Failed = map[string]bool{w.Endpoints[e].Node: i%2 == 0}
			if i%2 == 1 {
				w.Failed = nil
			}
		}, func(s datapath.State) bool {
			return (len(s.Networks[0].Services[0].Backends) == 3) == (w.Failed == nil)
		})
		w.Failed = nil
		n := endpoints
		bench("join", func(int) {
			w.join(n)
			id := fmt.Sprintf("%032x", n)
			node := w.Endpoints[id].Node
			if _, known := s.Snapshot().Get(store.TableNode, node); !known {
				put(store.TableNode, node, w.Nodes[node])
			}
			put(store.TableEndpoint, id, w.Endpoints[id])
			put(store.TableBackend, store.BackendKey(first, id), store.Backend{Weight: 1})
			n++
		}, func(s datapath.State) bool { return len(s.Networks[0].Services[0].Backends) > 3 })
	}
}

// BenchmarkAlarms is a pass over tables that hold many things they should not:
// every endpoint has the MAC of another.
func BenchmarkAlarms(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := crowd(n)
			for id, e := range w.Endpoints {
				if id != "here" {
					e.MAC = w.Endpoints["here"].MAC
					e.Created = e.Created.Add(time.Hour)
					w.Endpoints[id] = e
				}
			}
			r := New(Options{
				Datapath: nothing{},
				Tables:   func() *Tables { t := w.Tables; return &t }, // always something new
				Local:    benchLocal,
				Logger:   slog.New(slog.DiscardHandler),
			})
			b.ReportAllocs()
			for b.Loop() {
				if !r.pass(b.Context()) || len(r.Status().Alarms) != n-1 {
					b.Fatalf("%d alarms, %v", len(r.Status().Alarms), r.Status().Err)
				}
			}
		})
	}
}

// nothing is a datapath that does not even remember.
type nothing struct{ datapath.Datapath }

func (nothing) Apply(context.Context, datapath.State) error { return nil }
