package cluster

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/cluster/member"
	"github.com/ovlnet/ovl/control/cluster/rpc"
	"github.com/ovlnet/ovl/control/cluster/trust"
	"github.com/ovlnet/ovl/control/store"
)

// real is a host with Serf and HTTP on loopback.
type real struct {
	*Cluster
	store *store.Store
}

func startReal(t *testing.T, secret trust.Secret, name string) real {
	t.Helper()
	return startRealAt(t, netip.MustParseAddr("127.0.0.1"), secret, name)
}

func startRealAt(t *testing.T, addr netip.Addr, secret trust.Secret, name string) real {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "ovl.db"), store.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if _, err := s.Put(store.TableNode, s.NodeID(), store.Node{ID: s.NodeID(), Name: name, VTEP: addr, Version: "test"}); err != nil {
		t.Fatal(err)
	}
	c, err := Start(t.Context(), Options{
		Store: s, Secret: secret, Name: name, Addr: addr, Logger: slog.New(slog.DiscardHandler),
		// So long that nothing below can come from anti-entropy.
		Interval: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close %s: %v", name, err)
		}
	})
	return real{c, s}
}

func (r real) syncAddr() string {
	return netip.AddrPortFrom(r.Local().Addr, r.Local().SyncPort).String()
}

func within(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for begin := time.Now(); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Since(begin) > limit {
			t.Fatalf("not within %s: %s", limit, what)
		}
	}
}

func TestThreeRealHosts(t *testing.T) {
	for _, addr := range []string{"127.0.0.1", "::1"} {
		t.Run(addr, func(t *testing.T) {
			t.Parallel()
			testThreeRealHosts(t, netip.MustParseAddr(addr))
		})
	}
}

func testThreeRealHosts(t *testing.T, addr netip.Addr) {
	secret := trust.NewSecret()
	begin := time.Now()
	a, b, c := startRealAt(t, addr, secret, "a"), startRealAt(t, addr, secret, "b"), startRealAt(t, addr, secret, "c")
	all := []real{a, b, c}
	// Everyone names everyone, as with one unit file for all hosts.
	list := []string{a.syncAddr(), b.syncAddr(), c.syncAddr()}
	for _, r := range []real{b, c} {
		if err := r.Join(t.Context(), list); err != nil {
			t.Fatal(err)
		}
	}
	complete := func() bool {
		for _, r := range all {
			peers := r.Peers()
			if len(peers) != 2 || peers[0].Status != member.Alive || peers[1].Status != member.Alive ||
				peers[0].Version == "" || peers[1].Version == "" || !r.Converged() {
				return false
			}
		}
		return true
	}
	within(t, 3*time.Second-time.Since(begin), "peers complete", complete)
	t.Logf("three hosts complete in %s", time.Since(begin))

	row, err := b.store.Put(store.TableNetwork, "net", "by gossip alone")
	if err != nil {
		t.Fatal(err)
	}
	b.Spread(t.Context(), []store.Row{row})
	within(t, time.Second, "row everywhere", func() bool {
		for _, r := range all {
			if _, ok := r.store.Snapshot().Get(store.TableNetwork, "net"); !ok {
				return false
			}
		}
		return true
	})
	if row, err = c.store.Put(store.TableNetwork, "now", strings.Repeat("x", 60_000)); err != nil {
		t.Fatal(err)
	}
	if got := c.SpreadNow(t.Context(), []store.Row{row}); got != (Reach{Live: 2, Applied: 2}) {
		t.Errorf("spread now: %+v", got)
	}

	// One goes for good, one without a word.
	if _, err := c.store.Delete(store.TableNode, c.Local().ID); err != nil {
		t.Fatal(err)
	}
	if err := c.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	within(t, 3*time.Second, "c is off the list", func() bool { return len(a.Peers()) == 1 && len(b.Peers()) == 1 })
	b.Close()
	within(t, 15*time.Second, "b has failed", func() bool { return a.Peers()[0].Status == member.Failed })
}

func TestJoinSaysWhatIsWrong(t *testing.T) {
	secret := trust.NewSecret()
	a, b := startReal(t, secret, "a"), startReal(t, secret, "b")
	stranger := startReal(t, trust.NewSecret(), "stranger")
	twin := startReal(t, secret, "a")
	other := startRealAt(t, netip.IPv6Loopback(), secret, "other")
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	gossip := netip.AddrPortFrom(a.Local().Addr, a.Local().GossipPort).String()

	cases := []struct {
		name string
		from real
		to   string
		is   error
		code string
		text string
	}{
		{"wrong token", stranger, a.syncAddr(), trust.ErrStranger, "", "token"},
		{"nothing there", b, closed.Addr().String(), rpc.ErrUnreachable, "", "no agent answers"},
		{"itself", b, b.syncAddr(), ErrSelf, "", "this host itself"},
		{"name taken", twin, a.syncAddr(), nil, CodeNameInUse, "--name"},
		{"other family", other, a.syncAddr(), nil, CodeFamily, "an underlay of IPv4 (127.0.0.1), this host one of IPv6 (::1)"},
		{"other family with nobody there", other, closed.Addr().String(), rpc.ErrUnreachable, "", "a cluster has one family"},
		{"gossip port", b, gossip, nil, "", gossip},
		{"port 0", b, "127.0.0.1:0", nil, "", "1..65535"},
		{"bad port", b, "127.0.0.1:x", nil, "", "1..65535"},
		{"nothing", b, " ", nil, "", "no host"},
		{"bad name", b, "host.invalid", nil, "", "resolved"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := c.from.Join(t.Context(), []string{c.to})
			switch {
			case err == nil:
				t.Fatal("joined")
			case c.is != nil && !errors.Is(err, c.is):
				t.Errorf("%v is not %v", err, c.is)
			case c.code != "" && !rpc.IsCode(err, c.code):
				t.Errorf("%v has not the code %s", err, c.code)
			case !strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), "\n"):
				t.Errorf("error %q, want one line with %q", err, c.text)
			}
		})
	}
	if err := b.Join(t.Context(), nil); err == nil {
		t.Error("joined nobody")
	}
	// Nothing of all that made anyone a member.
	for _, r := range []real{a, b, stranger, twin, other} {
		if p := r.Peers(); len(p) != 0 {
			t.Errorf("peers of %s: %+v", r.Local().Name, p)
		}
	}
	// A bad address does not spoil a good one.
	if err := b.Join(t.Context(), []string{closed.Addr().String(), a.syncAddr()}); err != nil {
		t.Error(err)
	}
}

func TestStartFailsCleanly(t *testing.T) {
	secret := trust.NewSecret()
	a := startReal(t, secret, "a")
	s, err := store.Open(filepath.Join(t.TempDir(), "ovl.db"), store.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	good := Options{Store: s, Secret: secret, Name: "b", Addr: a.Local().Addr, Logger: slog.New(slog.DiscardHandler)}
	for name, change := range map[string]func(*Options){
		"sync port taken":   func(o *Options) { o.SyncPort = a.Local().SyncPort },
		"gossip port taken": func(o *Options) { o.GossipPort = a.Local().GossipPort },
		"no secret":         func(o *Options) { o.Secret = trust.Secret{} },
		"bad name":          func(o *Options) { o.Name = "not a name" },
		"foreign address":   func(o *Options) { o.Addr = netip.MustParseAddr("192.0.2.1") },
	} {
		t.Run(name, func(t *testing.T) {
			o := good
			change(&o)
			if c, err := Start(t.Context(), o); err == nil {
				c.Close()
				t.Error("started")
			}
		})
	}
}
