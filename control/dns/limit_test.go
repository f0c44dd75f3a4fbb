package dns

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/ovlnet/ovl/control/dns/zone"
	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/control/store"
)

// What exceeds an endpoint's budget is dropped, from whichever of its addresses it
// comes, and is nobody else's loss.
func TestBudget(t *testing.T) {
	const burst = 10
	l := newLab(t, Options{Rate: 1, Burst: burst})
	write := func(transport, from string, n int) net.Conn {
		conn := dial(t, transport, from, l.at("blue", from))
		for range n {
			send(t, conn, plain(func(b []byte) []byte { return b }))
		}
		return conn
	}
	answered := func(conn net.Conn, want int) {
		t.Helper()
		for i := range want {
			if _, err := conn.Read(make([]byte, 512)); err != nil {
				t.Fatalf("after %d answers: %v", i, err)
			}
		}
	}
	flood4 := write("udp4", clientAddr, burst)
	answered(flood4, burst)
	before := time.Now()
	write("udp6", "::1", 50)
	write("udp4", clientAddr, 50)
	other := dial(t, "udp4", otherAddr, l.at("blue", clientAddr))
	send(t, other, plain(func(b []byte) []byte { return b }))
	answered(other, 1)
	for {
		s := l.Stats()
		if s.Results[Limited].Queries+s.Results[Answered].Queries == burst+100+1 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	// One more each second, however long this took.
	if more := l.Stats().Results[Answered].Queries - burst - 1; more > uint64(time.Since(before)/time.Second)+1 {
		t.Errorf("%d queries more were answered in %v", more, time.Since(before))
	}
	// Another network has a budget of its own.
	q := new(dns.Msg).SetQuestion("secret.", dns.TypeA)
	if got := text(l.exchange(t, "udp4", "red", clientAddr, clientAddr, q)); got != "NOERROR secret. 1 IN A 127.66.0.1" {
		t.Errorf("red: %s", got)
	}
}

// An answer that takes long counts for more.
func TestBudgetIsForWork(t *testing.T) {
	const burst = 2 + backends/perQuery
	l := newLab(t, Options{Rate: 1, Burst: burst})
	conn := dial(t, "udp4", clientAddr, l.at("blue", clientAddr))
	begin := time.Now()
	q, _ := new(dns.Msg).SetQuestion("many.", dns.TypeA).Pack()
	const n = 50
	for range n {
		send(t, conn, q)
	}
	for {
		s := l.Stats()
		if s.Results[Limited].Queries+s.Results[Answered].Queries == n {
			break
		}
		time.Sleep(time.Millisecond)
	}
	took := uint64(time.Since(begin)/time.Second) + 1
	if got := l.Stats().Results[Answered].Queries; got == 0 || got > 2+took/(burst-1) {
		t.Errorf("of %d queries for %d addresses %d were answered within %d s", n, backends, got, took)
	}
}

// Over TCP a client that asks too fast waits.
func TestBudgetOverTCP(t *testing.T) {
	l := newLab(t, Options{Rate: 50, Burst: 1})
	conn := dial(t, "tcp", clientAddr, l.at("blue", clientAddr))
	begin := time.Now()
	const n = 10
	for range n {
		send(t, conn, framed(plain(func(b []byte) []byte { return b })))
	}
	for i := range n {
		if _, err := (&dns.Conn{Conn: conn}).ReadMsg(); err != nil {
			t.Fatalf("after %d answers: %v", i, err)
		}
	}
	if took := time.Since(begin); took < (n-1)*time.Second/50 {
		t.Errorf("%d queries at 50 a second took %v", n, took)
	}
}

// A network knows the clients that there are, and no more than twice as many.
func TestClientsAreForgotten(t *testing.T) {
	now := tables()
	c := newClients("blue", func() *budget { return new(budget) })
	for round := range 5 {
		now.Endpoints = make(map[string]store.Endpoint)
		for i := range 2000 {
			e := store.Endpoint{ID: fmt.Sprint(round, i), Name: fmt.Sprint("e", i), Network: "blue", Node: "1"}
			e.MAC = [6]byte{2, 0, 0, 0, byte(i >> 8), byte(i)}
			e.Addrs = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{127, byte(round), byte(i >> 8), byte(i)}), 8)}
			now.Endpoints[e.ID] = e
		}
		v := viewOf(now)
		for _, e := range now.Endpoints {
			if _, b, ok := c.find(v, e.Addrs[0].Addr()); !ok || b == c.strangers || c.known(e.Addrs[0].Addr()) != b {
				t.Fatalf("%v is not known", e.Addrs)
			}
		}
		if len(c.byAddr) > 2*2000+minSweep {
			t.Fatalf("after round %d there are %d clients", round, len(c.byAddr))
		}
	}
	v := viewOf(tables())
	gone := netip.MustParseAddr("127.4.0.1")
	if _, b, ok := c.find(v, gone); ok || b != c.strangers || c.known(gone) != nil {
		t.Error("who is gone is still known")
	}
}

// An address that another endpoint has got comes without the budget of the one that
// had it.
func TestBudgetIsTheEndpoints(t *testing.T) {
	now := tables()
	c := newClients("blue", func() *budget { return new(budget) })
	addr, addr6 := netip.MustParseAddr(clientAddr), netip.MustParseAddr("::1")
	_, first, _ := c.find(viewOf(now), addr)
	if _, b, _ := c.find(viewOf(now), addr6); b != first {
		t.Error("its other address has another budget")
	}
	now = tables()
	e := now.Endpoints["client@blue"]
	delete(now.Endpoints, e.ID)
	e.ID = "next"
	now.Endpoints[e.ID] = e
	_, second, _ := c.find(viewOf(now), addr)
	if second == first {
		t.Error("the next endpoint has the budget of the one before")
	}
	if _, b, _ := c.find(viewOf(now), addr6); b != second {
		t.Error("its other address has another budget")
	}
}

func viewOf(t *reconcile.Tables) *zone.View { return (&zone.Reader{Local: local1}).Read(t) }
