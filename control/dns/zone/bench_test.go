package zone

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/encap"
)

// crowd is 10 networks with 10 000 endpoints and 1000 services of three backends
// each.
func crowd() *world {
	w := newWorld()
	for i := range 10 {
		id := fmt.Sprintf("net-%d", i)
		w.network(id, fmt.Sprintf("10.%d.0.0/16", i))
		for k := range 10_000 {
			e := store.Endpoint{
				ID: fmt.Sprintf("%032x", 10_000*i+k), Name: fmt.Sprintf("endpoint-%d", k), Network: id, Node: fmt.Sprint(1 + k%3),
				MAC:     encap.MAC{2, byte(i), 0, 0, byte(k >> 8), byte(k)},
				Addrs:   []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), byte(k >> 8), byte(k)}), 16)},
				Aliases: []string{fmt.Sprintf("alias-%d", k), "worker"}, NetnsInode: uint64(10_000*i + k + 1), Created: w.now(),
			}
			w.Endpoints[e.ID] = e
		}
		for k := range 1000 {
			s := w.service(fmt.Sprintf("service-%d", k), id, []string{fmt.Sprintf("10.%d.200.%d", i, k%250)})
			s.VIPs[0] = netip.AddrFrom4([4]byte{10, byte(i), byte(100 + k>>8), byte(k)})
			for b := range 3 {
				s.Backends[fmt.Sprintf("%032x", 10_000*i+3*k+b)] = store.Backend{Weight: 1}
			}
		}
	}
	return w
}

func crowdStore(b *testing.B, w *world) *store.Store {
	s := openStore(b)
	_, err := s.Update(func(tx *store.Tx) error {
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

// BenchmarkRead arranges 100 000 endpoints and 10 000 services: all of them at the
// start, and then after each change what is new. The tables are decoded before.
func BenchmarkRead(b *testing.B) {
	w := crowd()
	s := crowdStore(b, w)
	var tables reconcile.Reader
	t := tables.Read(s.Snapshot())
	b.Run("all", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			(&Reader{Local: testLocal}).Read(t)
		}
	})
	r := Reader{Local: testLocal}
	r.Read(t)
	one := func(name string, change func(i int) error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				if err := change(i); err != nil {
					b.Fatal(err)
				}
				t := tables.Read(s.Snapshot())
				before := r.last
				b.StartTimer()
				if r.Read(t) == before {
					b.Fatal("not read")
				}
			}
		})
	}
	e := t.Endpoints[fmt.Sprintf("%032x", 4711)]
	one("endpoint", func(i int) error {
		e.Name = fmt.Sprint("changed-", i)
		_, err := s.Put(store.TableEndpoint, e.ID, e)
		return err
	})
	service := *t.Services["service-7@net-3"].Service
	one("service", func(i int) error {
		service.Name = fmt.Sprint("changed-", i)
		_, err := s.Put(store.TableService, service.ID, service)
		return err
	})
	one("backend", func(i int) error {
		_, err := s.Put(store.TableBackend, store.BackendKey(service.ID, e.ID), store.Backend{Weight: uint16(i + 1)})
		return err
	})
}

// BenchmarkLookup is a look-up among as many, with finding out who asks.
func BenchmarkLookup(b *testing.B) {
	w := crowd()
	v := w.view()
	for _, c := range []struct{ name, ask string }{
		{"endpoint", "endpoint-77"}, {"service", "service-77.net-3"}, {"tasks", "tasks.service-77"}, {"reverse", "9.0.3.10.in-addr.arpa"},
		{"outside", "www.example.com"}, {"worker", "worker"},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			var a Answer
			for b.Loop() {
				who, ok := v.Client("net-3", netip.AddrFrom4([4]byte{10, 3, 0, 3}))
				if !ok {
					b.Fatal("no client")
				}
				who.Lookup(c.ask, &a)
			}
		})
	}
}
