package reconcile

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/datapath"
)

// randomRows changes rows of a store: a few networks, nodes, services, and endpoints
// that mostly, but not always, want what nobody else does.
type randomRows struct {
	t      *testing.T
	random *rand.Rand
	store  *store.Store
	world  *world
	failed map[string]bool
}

func (r *randomRows) put(tx *store.Tx, table, key string, value any) {
	if err := tx.Put(table, key, value); err != nil {
		r.t.Fatal(err)
	}
}

// remove may find nothing.
func (r *randomRows) remove(tx *store.Tx, table, key string) {
	if _, there := r.store.Snapshot().Get(table, key); there {
		if err := tx.Delete(table, key); err != nil {
			r.t.Fatal(err)
		}
	}
}

// step makes some changes at once.
func (r *randomRows) step() {
	_, err := r.store.Update(func(tx *store.Tx) error {
		done := map[string]bool{} // one change of a row in a transaction
		for range 1 + r.random.IntN(3) {
			r.change(tx, func(key string) bool { was := done[key]; done[key] = true; return !was })
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *randomRows) change(tx *store.Tx, first func(string) bool) {
	network := []string{"blue", "red"}[r.random.IntN(2)]
	node := fmt.Sprint(1 + r.random.IntN(4))
	number := r.random.IntN(12)
	endpoint, service := fmt.Sprint("e", number), fmt.Sprint("v", number/3)
	switch n := r.random.IntN(40); {
	case n < 22:
		if !first(endpoint) {
			return
		}
		mac, addr := number, number
		if r.random.IntN(15) == 0 {
			mac = r.random.IntN(12)
		}
		if r.random.IntN(15) == 0 {
			addr = r.random.IntN(12)
		}
		r.world.endpoint(endpoint, network, node, fmt.Sprintf("02:00:00:00:00:%02x", mac), fmt.Sprintf("10.0.0.%d/24", 10+addr))
		e := r.world.Endpoints[endpoint]
		if r.random.IntN(20) == 0 {
			e.MAC = datapath.ServiceMAC
		}
		r.put(tx, store.TableEndpoint, endpoint, e)
	case n < 28:
		if first(endpoint) {
			r.remove(tx, store.TableEndpoint, endpoint)
		}
	case n < 30:
		if r.failed = map[string]bool{}; r.random.IntN(2) == 0 {
			r.failed[node] = true
		}
	case n < 33:
		vip := fmt.Sprintf("10.0.0.%d", 100+number/3)
		if r.random.IntN(5) == 0 {
			vip = fmt.Sprintf("10.0.0.%d", 10+number)
		}
		if first(service) {
			r.put(tx, store.TableService, service, r.world.service(service, network, []string{vip}).Service)
		}
	case n < 36:
		if key := store.BackendKey(service, endpoint); first(key) {
			r.put(tx, store.TableBackend, key, store.Backend{Weight: uint16(number), Draining: number%2 == 0})
		}
	case n < 37:
		if first(service) {
			r.remove(tx, store.TableService, service)
		}
	case n < 38:
		if first(node) && node != "1" {
			r.put(tx, store.TableNode, node, r.world.Nodes[node])
		}
	case n < 39:
		if first(node) && node != "1" {
			r.remove(tx, store.TableNode, node)
		}
	case n < 40:
		if first(network) {
			row := r.world.Networks[network]
			row.MTU = 1400 + r.random.IntN(2)
			r.put(tx, store.TableNetwork, network, row)
		}
	}
}

// TestBuilderChanges: whatever endpoints come, go and quarrel, a Builder says what a
// new one does, alarms too, and does not touch what it handed out; and it does
// not decide all anew for an endpoint that wants what nobody has.
func TestBuilderChanges(t *testing.T) {
	kept, anew := 0, 0
	for seed := range uint64(4) {
		s, err := store.Open(filepath.Join(t.TempDir(), "state.db"), store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		w := newWorld()
		for i := range 4 {
			w.node(fmt.Sprint(1+i), fmt.Sprintf("192.0.2.%d", 1+i))
		}
		w.network("blue", 4096, 1450)
		w.network("red", 4097, 1450)
		w.subnet("blue", "10.0.0.0/24")
		w.subnet("red", "10.0.0.0/24")
		r := &randomRows{t: t, random: rand.New(rand.NewPCG(seed, 0)), store: s, world: w}
		_, err = s.Update(func(tx *store.Tx) error {
			for id, n := range w.Nodes {
				r.put(tx, store.TableNode, id, n)
			}
			for id, n := range w.Networks {
				r.put(tx, store.TableNetwork, id, n)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}

		var reader Reader
		var builder Builder
		var before datapath.State
		var rendered string
		for i := range 200 {
			r.step()
			base := builder.base
			read := *reader.Read(s.Snapshot())
			read.Failed = r.failed
			if i%7 == 0 {
				continue // what comes too fast is built with the next
			}
			state, alarms := builder.Build(&read, serviceLocal)
			if builder.base == base {
				kept++
			} else {
				anew++
			}
			fresh := *new(Reader).Read(s.Snapshot())
			fresh.Failed = r.failed
			want, wantAlarms := Build(&fresh, serviceLocal)
			if got, want := render(state, alarms), render(want, wantAlarms); got != want {
				t.Fatalf("seed %d, step %d:\n%s\nwant\n%s", seed, i, got, want)
			}
			if !state.Equal(want) {
				t.Fatalf("seed %d, step %d: states differ in what is not rendered", seed, i)
			}
			if got := render(before, nil); got != rendered {
				t.Fatalf("seed %d, step %d: the State before has become\n%s\nit was\n%s", seed, i, got, rendered)
			}
			before, rendered = state, render(state, nil)
		}
	}
	if kept < 100 || anew < 100 {
		t.Errorf("%d changes built on what was there, %d anew: want many of both", kept, anew)
	}
}

// TestMerge: a list that has lost and got some is sorted, and another's memory is
// left alone.
func TestMerge(t *testing.T) {
	list := []string{"b", "d", "f", "h"}
	for _, c := range []struct{ gone, come, want string }{
		{"", "", "bdfh"},
		{"b", "", "dfh"},
		{"h", "", "bdf"},
		{"", "ia", "abdfhi"},
		{"d", "d", "bdfh"},
		{"df", "gec", "bcegh"},
		{"bdfh", "", ""},
		{"bdfh", "x", "x"},
	} {
		var come []string
		if c.come != "" {
			come = strings.Split(c.come, "")
		}
		got := merge(list, func(s *string) bool { return strings.Contains(c.gone, *s) }, come, strings.Compare)
		if strings.Join(got, "") != c.want {
			t.Errorf("without %q, with %q: %q, want %q", c.gone, c.come, got, c.want)
		}
		if !slices.Equal(list, []string{"b", "d", "f", "h"}) {
			t.Fatalf("the list itself has become %q", list)
		}
	}
}

// TestBuilderShares: what has not changed is the memory of the State before, which
// makes it quick to compare.
func TestBuilderShares(t *testing.T) {
	s, err := store.Open(filepath.Join(t.TempDir(), "state.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w := serviceWorld()
	web := w.service("web", "blue", []string{"10.0.0.10"}, "b")
	put := func(table, key string, value any) {
		t.Helper()
		if _, err := s.Put(table, key, value); err != nil {
			t.Fatal(err)
		}
	}
	for id, n := range w.Nodes {
		put(store.TableNode, id, n)
	}
	put(store.TableNetwork, "blue", w.Networks["blue"])
	for id, e := range w.Endpoints {
		put(store.TableEndpoint, id, e)
	}
	put(store.TableService, "web", web.Service)
	var reader Reader
	var builder Builder
	build := func() datapath.Network {
		t.Helper()
		state, alarms := builder.Build(reader.Read(s.Snapshot()), serviceLocal)
		if len(state.Networks) != 1 || len(alarms) > 0 {
			t.Fatalf("%d networks, alarms %v", len(state.Networks), alarms)
		}
		return state.Networks[0]
	}
	first := build()
	put(store.TableBackend, store.BackendKey("web", "b"), store.Backend{Weight: 1})
	second := build()
	if &first.Remotes[0] != &second.Remotes[0] || &first.Ports[0] != &second.Ports[0] {
		t.Error("a backend more makes other lists of endpoints")
	}
	e := w.Endpoints["c"]
	e.Addrs = []netip.Prefix{netip.MustParsePrefix("10.0.0.5/24")}
	put(store.TableEndpoint, "c", e)
	third := build()
	if &second.Services[0] != &third.Services[0] || &second.Ports[0] != &third.Ports[0] || &second.Remotes[0] == &third.Remotes[0] {
		t.Error("an endpoint that no service leads to makes another list of services or of ports, or none of remotes")
	}
}
