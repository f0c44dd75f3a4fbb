package cluster

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/ovlnet/ovl/control/cluster/clustertest"
	"github.com/ovlnet/ovl/control/cluster/rpc"
	"github.com/ovlnet/ovl/control/store"
)

// A host whose underlay is of the other family is refused, whoever of the two
// notices, before either has a row of the other.
func TestOtherFamilyIsRefused(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, l *lab) {
		a := l.start()
		b := l.startAt(netip.MustParseAddr("2001:db8::2"))
		a.write("net", "v1")

		check := func(err error, words ...string) {
			t.Helper()
			if !rpc.IsCode(err, CodeFamily) {
				t.Fatalf("error %v, want code %s", err, CodeFamily)
			}
			for _, w := range words {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q does not say %q", err, w)
				}
			}
			if b.has("net") || len(a.Peers()) != 0 || len(b.Peers()) != 0 {
				t.Error("they know of each other")
			}
			if _, ok := a.store.Snapshot().Get(store.TableNode, b.id); ok {
				t.Error("the row of the host that was refused is there")
			}
		}
		check(b.Join(t.Context(), []string{a.addr.String()}), "node host-1", "IPv4 (10.0.0.1)", "this host one of IPv6 (2001:db8::2)", "--advertise")
		check(a.Join(t.Context(), []string{b.addr.String()}), "node host-2", "IPv6 (2001:db8::2)", "this host one of IPv4 (10.0.0.1)", "--advertise")

		// One that does not look at who says hello is found out by its answer.
		blind := l.hub.Wire(netip.MustParseAddr("10.0.9.9"))
		tr, err := blind.Transport(strings.Repeat("9", 32))
		if err != nil {
			t.Fatal(err)
		}
		defer tr.Close()
		mux := rpc.NewMux(a.log)
		asked := 0
		mux.Register("hello", helloLimit, func(context.Context, string, []byte) ([]byte, error) {
			return []byte(`{"protocol":1,"id":"x","name":"blind","nonce":"y","gossip":"10.0.9.9:7946"}`), nil
		})
		mux.Register("pull", helloLimit, func(context.Context, string, []byte) ([]byte, error) {
			asked++
			return nil, rpc.Errorf("x", "x")
		})
		tr.Serve(mux.Handle)
		check(b.Join(t.Context(), []string{"10.0.9.9"}), "node blind", "IPv4 (10.0.9.9)")
		if asked > 0 {
			t.Error("tables were compared")
		}
	})
}

// An address at which nobody answers, and nobody could.
func TestJoinAtTheOtherFamily(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, l *lab) {
		b := l.startAt(netip.MustParseAddr("2001:db8::2"))
		err := b.Join(t.Context(), []string{"192.0.2.1"})
		for _, w := range []string{"join 192.0.2.1", "no agent answers", "IPv6 (2001:db8::2)", "--advertise"} {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("error %v does not say %q", err, w)
			}
		}
	})
}

func TestLikelyAddresses(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, l *lab) {
		v4, v6 := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("[2001:db8::1]:1")
		a, b := l.start(), l.startAt(netip.MustParseAddr("2001:db8::2"))
		for _, c := range []struct {
			from     *node
			in, want []netip.AddrPort
		}{
			{a, []netip.AddrPort{v6, v4}, []netip.AddrPort{v4}},
			{b, []netip.AddrPort{v4, v6}, []netip.AddrPort{v6}},
			{a, []netip.AddrPort{v6}, []netip.AddrPort{v6}},
			{b, []netip.AddrPort{v4}, []netip.AddrPort{v4}},
		} {
			if got := c.from.likely(c.in); !slices.Equal(got, c.want) {
				t.Errorf("%s of %v: %v, want %v", c.from.opt.Name, c.in, got, c.want)
			}
		}
	})
}
