package dns

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/ovlnet/ovl/control/dns/zone"
)

// BenchmarkHandle is all of a query but its sockets and finding the tables.
func BenchmarkHandle(b *testing.B) {
	v := viewOf(tables())
	s := New(Options{Look: func() *zone.View { return v }, Logger: slog.New(slog.DiscardHandler), Rate: 1 << 30, Burst: 1 << 30})
	defer s.Close()
	n := newServed(s, "blue", nil, nil)
	defer n.cancel()
	from := netip.MustParseAddr(clientAddr)
	for _, c := range []struct {
		name, ask string
		edns      bool
	}{{"endpoint", "a.", false}, {"edns", "a.blue.", true}, {"service", "web.", false}, {"negative", "nobody.", false}, {"many", "many.", true}} {
		b.Run(c.name, func(b *testing.B) {
			q := new(dns.Msg).SetQuestion(c.ask, dns.TypeA)
			if c.edns {
				q.SetEdns0(1232, false)
			}
			message, err := q.Pack()
			if err != nil {
				b.Fatal(err)
			}
			buf := make([]byte, maxQuery)
			a := &asking{overUDP: true}
			b.ReportAllocs()
			for b.Loop() {
				a.arrived = time.Now()
				who, budget, known := n.clients.find(v, from)
				if !budget.queries.AllowN(a.arrived, 1) {
					b.Fatal("over budget")
				}
				answer, r, _ := n.handle(a, v, who, known, message, buf)
				if answer == nil {
					b.Fatal("no answer")
				}
				n.done(a, r)
			}
		})
	}
}

// BenchmarkServer is a query and its answer over loopback, one at a time.
func BenchmarkServer(b *testing.B) {
	l := newLab(b, Options{Rate: 1 << 30, Burst: 1 << 30})
	for _, transport := range []string{"udp", "tcp"} {
		b.Run(transport, func(b *testing.B) {
			conn := dial(b, transport, clientAddr, l.at("blue", clientAddr))
			if err := conn.SetDeadline(time.Time{}); err != nil {
				b.Fatal(err)
			}
			message := plain(func(b []byte) []byte { return b })
			if transport == "tcp" {
				message = framed(message)
			}
			answer := make([]byte, 512)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := conn.Write(message); err != nil {
					b.Fatal(err)
				}
				if _, err := conn.Read(answer); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
