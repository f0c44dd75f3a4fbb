package member

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var loopback = netip.MustParseAddr("127.0.0.1")

func testKey(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

func testLocal(id string) Local {
	return Local{ID: id, Name: "node-" + id, Addr: loopback, SyncPort: 7947, Incarnation: 1, Protocol: 1}
}

func startSerf(t *testing.T, l Local, key []byte) *Serf {
	t.Helper()
	m, err := StartSerf(SerfOptions{Local: l, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Errorf("close %s: %v", l.ID, err)
		}
	})
	return m
}

func gossip(m *Serf) netip.AddrPort { return netip.AddrPortFrom(loopback, m.local.GossipPort) }

// await reads m's events until one is wanted.
func await(t *testing.T, m Membership, what string, want func(Event) bool) Event {
	t.Helper()
	limit := time.After(15 * time.Second)
	for {
		select {
		case e, ok := <-m.Events():
			if !ok {
				t.Fatalf("events ended before %s", what)
			}
			if want(e) {
				return e
			}
		case <-limit:
			t.Fatalf("no %s in 15 s; members: %v", what, m.Members())
		}
	}
}

func joined(id string) func(Event) bool {
	return func(e Event) bool { return e.Kind == Joined && e.Member.ID == id }
}

func TestSerfMembersMeetAndTalk(t *testing.T) {
	a, b, c := startSerf(t, testLocal("a"), testKey(1)), startSerf(t, testLocal("b"), testKey(1)), startSerf(t, testLocal("c"), testKey(1))
	for _, m := range []*Serf{b, c} {
		if n, err := m.Join(t.Context(), []netip.AddrPort{gossip(a)}); n != 1 || err != nil {
			t.Fatalf("joined %d: %v", n, err)
		}
	}
	got := await(t, b, "c at b", joined("c")).Member
	want := testLocal("c")
	want.GossipPort = c.local.GossipPort
	if got.Local != want || got.Status != Alive {
		t.Errorf("b sees %+v, want %+v", got, want)
	}
	if got.Gossip() != gossip(c) {
		t.Errorf("gossip address %s, want %s", got.Gossip(), gossip(c))
	}

	// The largest payload passes between the others' gossip.
	payload := bytes.Repeat([]byte{0xfe}, MaxPayload)
	if err := a.Publish(payload); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*Serf{b, c} {
		await(t, m, "message", func(e Event) bool { return e.Kind == Message && bytes.Equal(e.Payload, payload) })
	}
	if err := a.Publish(append(payload, 0)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("one byte more: %v", err)
	}
}

func TestSerfTellsLeftFromFailedAndReturned(t *testing.T) {
	a, b, c := startSerf(t, testLocal("a"), testKey(1)), startSerf(t, testLocal("b"), testKey(1)), startSerf(t, testLocal("c"), testKey(1))
	for _, m := range []*Serf{b, c} {
		if _, err := m.Join(t.Context(), []netip.AddrPort{gossip(a)}); err != nil {
			t.Fatal(err)
		}
		await(t, a, "join", joined(m.local.ID))
	}
	if err := b.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	e := await(t, a, "leave of b", func(e Event) bool { return e.Kind == Gone && e.Member.ID == "b" })
	if e.Member.Status != Left {
		t.Errorf("b is %s after its leave", e.Member.Status)
	}
	if err := b.Publish(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("publish after leave: %v", err)
	}

	c.Close()
	e = await(t, a, "failure of c", func(e Event) bool { return e.Kind == Gone && e.Member.ID == "c" })
	if e.Member.Status != Failed {
		t.Errorf("c is %s after its crash", e.Member.Status)
	}
	if err := c.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	if err := c.Leave(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("leave after close: %v", err)
	}

	// Back with another address, as after a new lease from DHCP.
	moved := testLocal("c")
	moved.Addr, moved.Incarnation = netip.MustParseAddr("127.0.0.2"), 2
	again := startSerf(t, moved, testKey(1))
	if _, err := again.Join(t.Context(), []netip.AddrPort{gossip(a)}); err != nil {
		t.Fatal(err)
	}
	if e = await(t, a, "return of c", joined("c")); e.Member.Addr != moved.Addr || e.Member.Incarnation != 2 {
		t.Errorf("c is back as %+v", e.Member)
	}
}

func TestSerfRefusesAnotherKeyAndProtocol(t *testing.T) {
	a := startSerf(t, testLocal("a"), testKey(1))
	stranger := startSerf(t, testLocal("b"), testKey(2))
	if n, err := stranger.Join(t.Context(), []netip.AddrPort{gossip(a)}); n != 0 || err == nil {
		t.Errorf("another key joined %d: %v", n, err)
	}
	newer := testLocal("c")
	newer.Protocol = 2
	if n, err := startSerf(t, newer, testKey(1)).Join(t.Context(), []netip.AddrPort{gossip(a)}); n != 0 || err == nil {
		t.Errorf("another protocol joined %d: %v", n, err)
	}
	other := testLocal("o")
	other.Addr = netip.IPv6Loopback()
	if n, err := startSerf(t, other, testKey(1)).Join(t.Context(), []netip.AddrPort{gossip(a)}); n != 0 || err == nil || !strings.Contains(err.Error(), "one family") {
		t.Errorf("another family joined %d: %v", n, err)
	}
	if got := a.Members(); len(got) != 1 {
		t.Errorf("a sees %v", got)
	}
	if _, err := StartSerf(SerfOptions{Local: testLocal("d")}); err == nil {
		t.Error("gossips without a key")
	}
	if _, err := StartSerf(SerfOptions{Local: testLocal("d"), Key: testKey(1)[:7]}); err == nil {
		t.Error("takes a key of 7 bytes")
	}
}

// Two hosts started from one disk.
func TestSerfReportsAClonedID(t *testing.T) {
	a := startSerf(t, testLocal("a"), testKey(1))
	first, second := testLocal("b"), testLocal("b")
	second.SyncPort++
	b := startSerf(t, first, testKey(1))
	if _, err := b.Join(t.Context(), []netip.AddrPort{gossip(a)}); err != nil {
		t.Fatal(err)
	}
	await(t, a, "join of b", joined("b"))
	clone := startSerf(t, second, testKey(1))
	// Whether it is let in is Serf's business; that it is seen is ours.
	_, _ = clone.Join(t.Context(), []netip.AddrPort{gossip(a)})
	e := await(t, a, "clash", func(e Event) bool { return e.Kind == Clash })
	if e.Member.SyncPort != second.SyncPort || e.Other.Port() != first.SyncPort {
		t.Errorf("clash says %+v and %s", e.Member, e.Other)
	}
	await(t, clone, "clash", func(e Event) bool { return e.Kind == Clash })
	for _, m := range []*Serf{a, b, clone} {
		if err := m.alive(); err != nil {
			t.Errorf("%s was shut down: %v", m.local.ID, err)
		}
	}
}

func TestSerfAddressInUse(t *testing.T) {
	a := startSerf(t, testLocal("a"), testKey(1))
	taken := testLocal("b")
	taken.GossipPort = a.local.GossipPort
	_, err := StartSerf(SerfOptions{Local: taken, Key: testKey(1)})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprint(taken.GossipPort)) {
		t.Errorf("error %v does not name the port", err)
	}
}

func TestSerfJoinObeysContext(t *testing.T) {
	a := startSerf(t, testLocal("a"), testKey(1))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	// 192.0.2.0/24 is for documentation, RFC 5737: nothing answers.
	if _, err := a.Join(ctx, []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:7946")}); !errors.Is(err, context.Canceled) {
		t.Errorf("join: %v", err)
	}
}
