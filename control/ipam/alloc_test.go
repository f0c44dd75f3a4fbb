package ipam_test

import (
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ovlnet/ovl/control/ipam"
	"github.com/ovlnet/ovl/control/store"
)

func openStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "state.db"), store.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func openAllocator(t *testing.T, disk ipam.Storage, opt ipam.Options) *ipam.Allocator {
	t.Helper()
	a, err := ipam.Open(disk, opt)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func subnet(prefix string) ipam.Subnet { return ipam.Subnet{Prefix: netip.MustParsePrefix(prefix)} }

func addrs(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func text(ps []netip.Prefix) string {
	var out []string
	for _, p := range ps {
		out = append(out, p.String())
	}
	return strings.Join(out, " ")
}

func TestAllocate(t *testing.T) {
	full := ipam.Subnet{
		Prefix:  netip.MustParsePrefix("10.0.0.0/24"),
		Gateway: netip.MustParseAddr("10.0.0.254"),
		Range:   netip.MustParsePrefix("10.0.0.128/25"),
		Aux:     map[string]netip.Addr{"printer": netip.MustParseAddr("10.0.0.129")},
	}
	six := subnet("fd00::/64")
	for _, c := range []struct {
		name    string
		subnets []ipam.Subnet
		req     ipam.Request
		want    string
		err     error
		text    string
	}{
		{name: "first free", subnets: []ipam.Subnet{subnet("10.0.0.0/24")}, want: "10.0.0.3/24"},
		{name: "asked for", subnets: []ipam.Subnet{full}, req: ipam.Request{Wanted: addrs("10.0.0.7")}, want: "10.0.0.7/24"},
		{name: "range, less aux", subnets: []ipam.Subnet{full}, want: "10.0.0.128/24"},
		{name: "both families", subnets: []ipam.Subnet{subnet("10.0.0.0/24"), six}, want: "10.0.0.3/24 fd00::2/64"},
		{name: "one wanted, one picked", subnets: []ipam.Subnet{subnet("10.0.0.0/24"), six}, req: ipam.Request{Wanted: addrs("fd00::99")}, want: "10.0.0.3/24 fd00::99/64"},
		{name: "one family only", subnets: []ipam.Subnet{subnet("10.0.0.0/24"), six}, req: ipam.Request{IPv6: true}, want: "fd00::2/64"},
		{name: "no such family", subnets: []ipam.Subnet{six}, req: ipam.Request{IPv4: true}, err: ipam.ErrFamily, text: "no IPv4 subnet"},
		{name: "taken", subnets: []ipam.Subnet{full}, req: ipam.Request{Wanted: addrs("10.0.0.2")}, err: ipam.ErrTaken, text: "endpoint web (other) on node n1 has 10.0.0.2"},
		{name: "outside", subnets: []ipam.Subnet{full}, req: ipam.Request{Wanted: addrs("10.0.1.2")}, err: ipam.ErrOutside, text: "10.0.1.2 is not in 10.0.0.0/24"},
		{name: "gateway", subnets: []ipam.Subnet{full}, req: ipam.Request{Wanted: addrs("10.0.0.254")}, err: ipam.ErrGateway, text: "10.0.0.254"},
		{name: "first is the gateway", subnets: []ipam.Subnet{subnet("10.0.0.0/24")}, req: ipam.Request{Wanted: addrs("10.0.0.1")}, err: ipam.ErrGateway, text: "10.0.0.1"},
		{name: "aux", subnets: []ipam.Subnet{full}, req: ipam.Request{Wanted: addrs("10.0.0.129")}, err: ipam.ErrAux, text: "10.0.0.129 belongs to printer"},
		{name: "network", subnets: []ipam.Subnet{full}, req: ipam.Request{Wanted: addrs("10.0.0.0")}, err: ipam.ErrReserved, text: "network address"},
		{name: "broadcast", subnets: []ipam.Subnet{full}, req: ipam.Request{Wanted: addrs("10.0.0.255")}, err: ipam.ErrReserved, text: "broadcast address"},
		{name: "IPv6 anycast", subnets: []ipam.Subnet{six}, req: ipam.Request{Wanted: addrs("fd00::")}, err: ipam.ErrReserved, text: "anycast"},
		{name: "last of IPv6", subnets: []ipam.Subnet{six}, req: ipam.Request{Wanted: addrs("fd00::ffff:ffff:ffff:ffff")}, want: "fd00::ffff:ffff:ffff:ffff/64"},
		{name: "two of one subnet", subnets: []ipam.Subnet{full}, req: ipam.Request{Wanted: addrs("10.0.0.3", "10.0.0.4")}, err: ipam.ErrMany, text: "of 10.0.0.0/24"},
		{name: "full", subnets: []ipam.Subnet{subnet("10.0.0.0/30")}, err: ipam.ErrExhausted, text: "10.0.0.0/30"},
		{name: "single address", subnets: []ipam.Subnet{subnet("10.0.0.2/32")}, err: ipam.ErrExhausted},
		{name: "two addresses", subnets: []ipam.Subnet{subnet("10.0.8.0/31")}, want: "10.0.8.1/31"},
		{name: "second subnet", subnets: []ipam.Subnet{subnet("10.0.0.0/30"), subnet("10.9.0.0/24")}, want: "10.9.0.2/24"},
		{name: "no subnets", err: ipam.ErrFamily},
		{name: "host bits", subnets: []ipam.Subnet{subnet("10.0.0.1/24")}, err: ipam.ErrSubnet},
		{name: "range outside", subnets: []ipam.Subnet{{Prefix: netip.MustParsePrefix("10.0.0.0/24"), Range: netip.MustParsePrefix("10.0.1.0/25")}}, err: ipam.ErrSubnet},
		{name: "gateway outside", subnets: []ipam.Subnet{{Prefix: netip.MustParsePrefix("10.0.0.0/24"), Gateway: netip.MustParseAddr("10.1.0.1")}}, err: ipam.ErrSubnet},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := openAllocator(t, openStore(t), ipam.Options{})
			if _, err := a.Allocate("n", []ipam.Subnet{subnet("10.0.0.0/24")}, ipam.Request{Endpoint: "other", Name: "web", Node: "n1", Wanted: addrs("10.0.0.2")}); err != nil {
				t.Fatal(err)
			}
			before := a.Leases("n")
			c.req.Endpoint = "e"
			got, err := a.Allocate("n", c.subnets, c.req)
			if !errors.Is(err, c.err) || err != nil && c.err == nil || text(got) != c.want {
				t.Fatalf("got %q, %v, want %q, %v", text(got), err, c.want, c.err)
			}
			if err != nil {
				if !strings.Contains(err.Error(), c.text) {
					t.Errorf("%q is not in %q", c.text, err)
				}
				if len(a.Leases("n")) != len(before) {
					t.Error("a refused request left a lease")
				}
				return
			}
			again, err := a.Allocate("n", c.subnets, c.req)
			if err != nil || !slices.Equal(again, got) {
				t.Errorf("asked again: %v, %v", again, err)
			}
			c.req.Wanted = addrs("10.0.0.77")
			if _, err := a.Allocate("n", c.subnets, c.req); !errors.Is(err, ipam.ErrLeased) {
				t.Errorf("asked for another: %v", err)
			}
		})
	}
}

func TestReleasedAddressesRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openStore(t)
		a := openAllocator(t, s, ipam.Options{})
		small := []ipam.Subnet{subnet("10.0.0.0/29")} // .2 to .6
		take := func(endpoint, want string) {
			t.Helper()
			got, err := a.Allocate("n", small, ipam.Request{Endpoint: endpoint})
			if err != nil || text(got) != want {
				t.Errorf("%s has %s, %v, not %s", endpoint, text(got), err, want)
			}
		}
		release := func(endpoint string) {
			t.Helper()
			if err := a.Release("n", endpoint); err != nil {
				t.Error(err)
			}
		}
		take("a", "10.0.0.2/29")
		release("a")
		release("a") // nothing to do
		take("b", "10.0.0.3/29")
		take("c", "10.0.0.4/29")
		take("d", "10.0.0.5/29")
		take("e", "10.0.0.6/29")
		if _, err := a.Allocate("n", small, ipam.Request{Endpoint: "f"}); !errors.Is(err, ipam.ErrExhausted) {
			t.Errorf("the only address left rests: %v", err)
		}
		time.Sleep(30 * time.Second)
		a = openAllocator(t, s, ipam.Options{}) // the rest outlives a restart
		if _, err := a.Allocate("n", small, ipam.Request{Endpoint: "f"}); !errors.Is(err, ipam.ErrExhausted) {
			t.Errorf("it still rests: %v", err)
		}
		time.Sleep(31 * time.Second)
		take("f", "10.0.0.2/29")
		release("b")
		if got, err := a.Allocate("n", small, ipam.Request{Endpoint: "g", Wanted: addrs("10.0.0.3")}); err != nil {
			t.Errorf("asking for an address that rests: %v, %v", got, err)
		}
	})
}

func TestClockSetBackDoesNotProlongRest(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	a := openAllocator(t, openStore(t), ipam.Options{Now: func() time.Time { return now }})
	one := []ipam.Subnet{subnet("10.0.0.0/30")}
	ask := func(endpoint string) error {
		_, err := a.Allocate("n", one, ipam.Request{Endpoint: endpoint})
		return err
	}
	if err := errors.Join(ask("a"), a.Release("n", "a")); err != nil {
		t.Fatal(err)
	}
	now = now.Add(-24 * time.Hour)
	if err := ask("b"); !errors.Is(err, ipam.ErrExhausted) {
		t.Error(err)
	}
	now = now.Add(time.Minute)
	if err := ask("b"); err != nil {
		t.Errorf("a minute later: %v", err)
	}
}

func TestReconcile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := openAllocator(t, openStore(t), ipam.Options{})
		for _, e := range []string{"there", "gone", "late"} {
			if _, err := a.Allocate("n", []ipam.Subnet{subnet("10.0.0.0/24")}, ipam.Request{Endpoint: e}); err != nil {
				t.Fatal(err)
			}
		}
		live := map[string]bool{"there": true}
		review := func(want ...string) {
			t.Helper()
			got, err := a.Reconcile("n", func(e string) bool { return live[e] }, 10*time.Second)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("released %v, %v, not %v", got, err, want)
			}
		}
		review()
		time.Sleep(9 * time.Second)
		review()
		live["late"] = true
		time.Sleep(2 * time.Second)
		review("gone")
		live["late"] = false
		time.Sleep(time.Minute)
		review() // its grace begins with the first miss
		time.Sleep(10 * time.Second)
		review("late")
		if l := a.Leases("n"); len(l) != 1 || l[0].Endpoint != "there" {
			t.Errorf("leases %+v", l)
		}
	})
}

func TestHandover(t *testing.T) {
	from, heirDisk := openAllocator(t, openStore(t), ipam.Options{}), openStore(t)
	nets := []ipam.Subnet{subnet("10.0.0.0/24"), subnet("fd00::/64")}
	for _, e := range []string{"a", "b", "c"} {
		if _, err := from.Allocate("n", nets, ipam.Request{Endpoint: e, Node: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := from.Release("n", "b"); err != nil {
		t.Fatal(err)
	}
	data, err := from.Export("n")
	if err != nil {
		t.Fatal(err)
	}
	heir := openAllocator(t, heirDisk, ipam.Options{})
	if _, err := heir.Allocate("n", nets, ipam.Request{Endpoint: "stale"}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := heir.Import("n", data); err != nil {
			t.Fatal(err)
		}
		heir = openAllocator(t, heirDisk, ipam.Options{}) // it was on disk
	}
	if got := heir.Leases("n"); len(got) != 2 || got[0].Endpoint != "a" || got[1].Endpoint != "c" {
		t.Errorf("leases %+v", got)
	}
	got, err := heir.Allocate("n", nets, ipam.Request{Endpoint: "d"})
	if err != nil || text(got) != "10.0.0.5/24 fd00::5/64" {
		t.Errorf("the next is %s, %v: neither one that rests nor one that is leased", text(got), err)
	}
	if err := from.DropNetwork("n"); err != nil {
		t.Fatal(err)
	}
	if len(from.Networks()) != 0 || len(from.Leases("n")) != 0 {
		t.Error("a dropped network is still there")
	}
	for name, bad := range map[string]string{
		"not JSON":     `{`,
		"version":      `{"version":2}`,
		"record":       `{"version":1,"records":{"odd/x":"1"}}`,
		"lease":        `{"version":1,"records":{"lease/a":"{\"endpoint\":\"b\",\"addrs\":[\"10.0.0.2/24\"]}"}}`,
		"no addresses": `{"version":1,"records":{"lease/a":"{\"endpoint\":\"a\"}"}}`,
		"two owners":   `{"version":1,"records":{"lease/a":"{\"endpoint\":\"a\",\"addrs\":[\"10.0.0.2/24\"]}","lease/b":"{\"endpoint\":\"b\",\"addrs\":[\"10.0.0.2/24\"]}"}}`,
	} {
		if err := heir.Import("n", []byte(bad)); !errors.Is(err, ipam.ErrImport) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(heir.Leases("n")) != 3 {
		t.Error("a refused import changed the leases")
	}
}

// What endpoints have is not handed out, also if no lease says so.
func TestAllocateInUse(t *testing.T) {
	a := openAllocator(t, openStore(t), ipam.Options{})
	small := []ipam.Subnet{subnet("10.0.0.0/29")}
	inUse := map[netip.Addr]ipam.Holder{
		netip.MustParseAddr("10.0.0.2"): {Endpoint: "1", Name: "web", Node: "n1"},
		netip.MustParseAddr("10.0.0.4"): {Endpoint: "2", Name: "db", Node: "n2"},
	}
	_, err := a.Allocate("n", small, ipam.Request{Endpoint: "e", Wanted: addrs("10.0.0.4"), InUse: inUse})
	var taken *ipam.TakenError
	if !errors.As(err, &taken) || !errors.Is(err, ipam.ErrTaken) || taken.Name != "db" || taken.Node != "n2" {
		t.Errorf("an address that db has: %v", err)
	}
	for i, want := range []string{"10.0.0.3/29", "10.0.0.5/29", "10.0.0.6/29"} {
		got, err := a.Allocate("n", small, ipam.Request{Endpoint: string(rune('a' + i)), InUse: inUse})
		if err != nil || text(got) != want {
			t.Errorf("got %s, %v, want %s", text(got), err, want)
		}
	}
	if _, err := a.Allocate("n", small, ipam.Request{Endpoint: "z", InUse: inUse}); !errors.Is(err, ipam.ErrExhausted) {
		t.Errorf("none is left: %v", err)
	}
}
