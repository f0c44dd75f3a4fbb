package zone

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

func openStore(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "state.db"), store.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// history writes rows at random, of few values, so that many claim the same.
type history struct {
	*rand.Rand
	tx *store.Tx
}

func pick[T any](h *history, from ...T) T { return from[h.IntN(len(from))] }

func (h *history) created() time.Time { return time.Unix(int64(h.IntN(5)), 0).UTC() }

func (h *history) addr() netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(h.IntN(12))}) }

func (h *history) addrs() []netip.Prefix {
	out := []netip.Prefix{netip.PrefixFrom(h.addr(), 24)}
	if h.IntN(2) == 0 {
		out = append(out, netip.PrefixFrom(h.addr(), 24))
	}
	return out
}

var (
	historyNames    = []string{"a", "B", "b", "c.d", "tasks.a", "odd..", "e"}
	historyNetworks = []string{"blue", "red"}
)

func (h *history) step() error {
	table, key, value := h.row()
	if h.IntN(4) == 0 {
		if err := h.tx.Delete(table, key); !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return nil
	}
	return h.tx.Put(table, key, value)
}

func (h *history) row() (table, key string, value any) {
	network := pick(h, historyNetworks...)
	switch h.IntN(12) {
	case 0:
		id := pick(h, "2", "3")
		return store.TableNode, id, store.Node{
			ID: id, Name: "host-" + id, VXLANPort: pick(h, uint16(4789), 4789, 4789, 1), Started: h.created(),
			VTEP: netip.AddrFrom4([4]byte{192, 0, 2, pick(h, byte(2), 3)}),
		}
	case 1:
		// The network that is asked of is always there.
		return store.TableNetwork, "other", store.Network{ID: "other", Name: pick(h, "blue", "c", "x"), VNI: 5000, Created: h.created()}
	case 2, 3:
		id := fmt.Sprintf("s%d-%s", h.IntN(5), network)
		s := store.Service{
			ID: id, Name: pick(h, historyNames...), Network: network, Created: h.created(), DNSRR: h.IntN(3) == 0,
			TableSize: pick(h, 16381, 16381, 16381, 7),
		}
		if !s.DNSRR {
			s.VIPs = []netip.Addr{h.addr()}
		}
		if h.IntN(2) == 0 {
			s.Health = &store.HealthCheck{Type: "tcp", Port: 80}
		}
		return store.TableService, id, s
	case 4, 5, 6:
		service, endpoint := fmt.Sprintf("s%d-%s", h.IntN(5), network), fmt.Sprintf("e%d", h.IntN(12))
		return store.TableBackend, store.BackendKey(service, endpoint), store.Backend{
			Weight: 1, Draining: h.IntN(4) == 0, AwaitsHealth: h.IntN(4) == 0,
		}
	case 7:
		service, endpoint := fmt.Sprintf("s%d-%s", h.IntN(5), network), fmt.Sprintf("e%d", h.IntN(12))
		return store.TableHealth, store.BackendKey(service, endpoint), store.Health{Node: pick(h, "1", "2", "3"), Healthy: h.IntN(2) == 0}
	}
	id := fmt.Sprintf("e%d", h.IntN(12))
	e := store.Endpoint{
		ID: id, Name: pick(h, historyNames...), Network: network, Node: pick(h, "1", "2", "3"), Created: h.created(),
		MAC: encap.MAC{pick(h, byte(2), 2, 2, 2, 2, 3), 0, 0, 0, 0, byte(h.IntN(16))}, Addrs: h.addrs(), NetnsInode: uint64(h.IntN(3)),
	}
	if h.IntN(2) == 0 {
		e.Aliases = []string{pick(h, historyNames...)}
	}
	return store.TableEndpoint, id, e
}

// Whatever happened, a View that was made of the one before is the one that is made
// anew, and both name exactly what a State that is built of the same tables carries.
func TestReadIsWhatBuildCarries(t *testing.T) {
	for seed := range uint64(3) {
		h := &history{Rand: rand.New(rand.NewPCG(seed, 1))}
		s := openStore(t)
		update := func(change func() error) {
			t.Helper()
			_, err := s.Update(func(tx *store.Tx) error { h.tx = tx; return change() })
			if err != nil {
				t.Fatal(err)
			}
		}
		update(func() error { return h.begin() })
		var tables reconcile.Reader
		kept := Reader{Local: testLocal}
		for step := range 40 {
			update(func() error {
				for range 1 + h.IntN(8) {
					if err := h.step(); err != nil {
						return err
					}
				}
				return nil
			})
			now := *tables.Read(s.Snapshot())
			now.Failed = map[string]bool{"2": h.IntN(5) == 0}
			got, want := everything(kept.Read(&now)), everything((&Reader{Local: testLocal}).Read(&now))
			if got != want {
				t.Fatalf("seed %d, step %d: after changes:\n%s\nmade anew:\n%s", seed, step, got, want)
			}
			if wrong := carried(&now, kept.Read(&now)); wrong != "" {
				t.Fatalf("seed %d, step %d: %s", seed, step, wrong)
			}
		}
	}
}

// begin writes what the history does not change.
func (h *history) begin() error {
	if err := h.tx.Put(store.TableNode, "1", store.Node{ID: "1", Name: "host-1", VTEP: testLocal.VTEP, VXLANPort: 4789}); err != nil {
		return err
	}
	for i, id := range historyNetworks {
		n := store.Network{
			ID: id, Name: id, VNI: encap.VNI(4096 + i), MTU: 1450,
			Subnets: []store.Subnet{{Prefix: netip.MustParsePrefix("10.0.0.0/24"), Gateway: netip.MustParseAddr("10.0.0.1")}},
		}
		e := store.Endpoint{
			ID: "me-" + id, Name: "me", Network: id, Node: "1", MAC: encap.MAC{2, 1},
			Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.200/24")}, NetnsInode: 2, Created: time.Unix(0, 0).UTC(),
		}
		if err := h.tx.Put(store.TableNetwork, id, n); err != nil {
			return err
		}
		if err := h.tx.Put(store.TableEndpoint, e.ID, e); err != nil {
			return err
		}
	}
	return nil
}

// everything is all that a View says of the names that there may be.
func everything(v *View) string {
	var b strings.Builder
	for _, network := range historyNetworks {
		var names []string
		for _, n := range append(slices.Clone(historyNames), "me", "other", "x", "blue") {
			n = strings.ToLower(n)
			names = append(names, n, "tasks."+n, "_1._tcp."+n, n+"."+network, n+".x")
		}
		for i := range 12 {
			names = append(names, fmt.Sprintf("%d.0.0.10.in-addr.arpa", i))
			c, ok := v.Client(network, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
			fmt.Fprintf(&b, "%s client %d: %v %s", network, i, ok, c.Endpoint())
			for _, n := range c.networks {
				fmt.Fprintf(&b, " %s", n.row.ID)
			}
			b.WriteString("\n")
		}
		for _, name := range names {
			x, _ := v.Explain(network, name)
			fmt.Fprintf(&b, "%s %s: %s %v\n", network, name, render(x.Answer), x.Rows)
		}
	}
	return b.String()
}

// carried compares v with the State that is built of t, and says what differs.
func carried(t *reconcile.Tables, v *View) string {
	state, _ := reconcile.Build(t, testLocal)
	for i, network := range historyNetworks {
		k := slices.IndexFunc(state.Networks, func(n datapath.Network) bool { return n.VNI == encap.VNI(4096+i) })
		if k < 0 {
			return network + " is not carried"
		}
		if wrong := carriedIn(t, v, network, state.Networks[k]); wrong != "" {
			return network + ": " + wrong
		}
	}
	return ""
}

func carriedIn(t *reconcile.Tables, v *View, network string, n datapath.Network) string {
	answer := func(name string) string {
		x, _ := v.Explain(network, name)
		return fmt.Sprint(sorted(x.Answer.Addrs))
	}
	services := make(map[string]bool) // in lower case
	for _, s := range t.ServicesOf(network) {
		services[strings.ToLower(s.Name)] = true
	}
	for _, s := range n.Services {
		if strings.HasSuffix(s.Name, ".") {
			continue
		}
		for _, a := range s.VIPs {
			if x, _ := v.Explain(network, reverseName(a)); x.Answer.Target != s.Name+"."+network {
				return fmt.Sprintf("%v is %q, carried is service %s", a, x.Answer.Target, s.Name)
			}
		}
		// Of names that differ in case only the oldest is answered.
		if x, _ := v.Explain(network, s.Name); len(x.Answer.Addrs) == 0 || !slices.Equal(x.Answer.Addrs, s.VIPs) {
			if !differsInCase(t, network, s.Name) {
				return fmt.Sprintf("service %s is %v, carried are %v", s.Name, x.Answer.Addrs, s.VIPs)
			}
			continue
		}
		var want []netip.Addr
		for _, k := range s.Backends {
			if !k.Draining {
				want = append(want, k.Addrs...)
			}
		}
		if got := answer("tasks." + s.Name); got != fmt.Sprint(sorted(want)) && !services["tasks."+strings.ToLower(s.Name)] {
			return fmt.Sprintf("tasks.%s is %s, carried are %v", s.Name, got, sorted(want))
		}
	}
	carried := carriedEndpoints(t, network, n)
	for _, name := range historyNames {
		lower := strings.ToLower(name)
		if services[lower] || strings.HasSuffix(lower, ".") || services[strings.TrimPrefix(lower, "tasks.")] {
			continue
		}
		var want []netip.Addr
		for _, e := range carried {
			if !t.Failed[e.Node] && slices.ContainsFunc(append(e.Aliases, e.Name), func(s string) bool { return strings.EqualFold(s, name) }) {
				for _, p := range e.Addrs {
					want = append(want, p.Addr())
				}
			}
		}
		if got := answer(name); got != fmt.Sprint(sorted(want)) {
			return fmt.Sprintf("%s is %s, carried are %v", name, got, sorted(want))
		}
	}
	for _, e := range carried {
		want := e.Name + "." + network
		if t.Failed[e.Node] || strings.HasSuffix(e.Name, ".") {
			want = ""
		}
		for _, p := range e.Addrs {
			if x, _ := v.Explain(network, reverseName(p.Addr())); x.Answer.Target != want {
				return fmt.Sprintf("%v is %q, carried is %q", p, x.Answer.Target, want)
			}
		}
	}
	return ""
}

// carriedEndpoints returns those that a State has as ports and remotes. Of two that
// look the same there the older is carried.
func carriedEndpoints(t *reconcile.Tables, network string, n datapath.Network) []store.Endpoint {
	var out []store.Endpoint
	reached := reconcile.Reached(t, testLocal)
	find := func(mac encap.MAC, addrs []netip.Addr, here bool) {
		for _, e := range t.EndpointsByAge(network) {
			var has []netip.Addr
			for _, p := range e.Addrs {
				has = append(has, p.Addr())
			}
			if e.MAC == mac && slices.Equal(sorted(has), sorted(addrs)) && reached[e.Node] && here == (e.Node == testLocal.Node) {
				out = append(out, e)
				return
			}
		}
	}
	for _, p := range n.Ports {
		find(p.MAC, p.Addrs, true)
	}
	for _, r := range n.Remotes {
		find(r.MAC, r.Addrs, false)
	}
	return out
}

func differsInCase(t *reconcile.Tables, network, name string) bool {
	for _, s := range t.ServicesOf(network) {
		if s.Name != name && strings.EqualFold(s.Name, name) {
			return true
		}
	}
	return false
}

func sorted(list []netip.Addr) []netip.Addr {
	list = slices.Clone(list)
	slices.SortFunc(list, netip.Addr.Compare)
	return list
}

func reverseName(a netip.Addr) string {
	b := a.As4()
	return fmt.Sprintf("%d.%d.%d.%d.in-addr.arpa", b[3], b[2], b[1], b[0])
}

// A View says what it said, whatever was read after it.
func TestViewsDoNotChange(t *testing.T) {
	h := &history{Rand: rand.New(rand.NewPCG(7, 7))}
	s := openStore(t)
	change := func(f func() error) {
		if _, err := s.Update(func(tx *store.Tx) error { h.tx = tx; return f() }); err != nil {
			t.Fatal(err)
		}
	}
	change(h.begin)
	var tables reconcile.Reader
	r := Reader{Local: testLocal}
	var views []*View
	var said []string
	for range 50 {
		change(h.step)
		v := r.Read(tables.Read(s.Snapshot()))
		views, said = append(views, v), append(said, everything(v))
	}
	for i, v := range views {
		if now := everything(v); now != said[i] {
			t.Fatalf("view %d said:\n%s\nand says:\n%s", i, said[i], now)
		}
	}
	last := tables.Read(s.Snapshot())
	if v := r.Read(last); v != r.Read(last) {
		t.Error("the same tables make two views")
	}
}
