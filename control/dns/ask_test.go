package dns

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// newResolver answers names that end in example with 192.0.2.7, and knows no others.
func newResolver(t *testing.T) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if name := q.Question[0].Name; strings.HasSuffix(name, ".example.") {
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.IPv4(192, 0, 2, 7)}}
		} else {
			m.Rcode = dns.RcodeNameError
		}
		_ = w.WriteMsg(m)
	})}
	done := make(chan error)
	go func() { done <- s.ActivateAndServe() }()
	t.Cleanup(func() {
		if err := errors.Join(s.Shutdown(), <-done); err != nil {
			t.Error(err)
		}
	})
	return netip.MustParseAddrPort(conn.LocalAddr().String())
}

// Ask says what the endpoint would be answered, and nobody notices.
func TestAsk(t *testing.T) {
	resolver := newResolver(t)
	l := newLab(t, Options{Resolvers: func() []netip.AddrPort { return []netip.AddrPort{resolver} }, Burst: 1, Rate: 1})
	client := netip.MustParseAddr(clientAddr)
	for _, c := range []struct {
		network, name string
		qtype         uint16
		want          string
		result        Result
	}{
		{"blue", "web", dns.TypeA, "NOERROR web. 5 IN A 127.9.0.1", Answered},
		{"blue", "Web.Blue.", dns.TypeAAAA, "NOERROR Web.Blue. 5 IN AAAA ::9", Answered},
		{"red", "web", dns.TypeA, "NOERROR web. 5 IN A 127.66.0.2", Answered},
		{"blue", "1.0.1.127.in-addr.arpa", dns.TypePTR, "NOERROR 1.0.1.127.in-addr.arpa. 1 IN PTR a.blue.", Answered},
		{"blue", "nobody", dns.TypeA, "NXDOMAIN ns: " + rootSOA, Negative},
		{"blue", "www.example", dns.TypeA, "NOERROR www.example. 60 IN A 192.0.2.7", Forwarded},
		{"blue", "www.example", dns.TypeA, "NOERROR www.example. 60 IN A 192.0.2.7", Cached},
		{"red", "www.example", dns.TypeA, "REFUSED", Refused},
		{"blue", "web", dns.TypeAXFR, "REFUSED", Refused},
	} {
		m, result, err := l.Ask(t.Context(), c.network, client, c.name, c.qtype)
		if err != nil || text(m) != c.want || result != c.result {
			t.Errorf("%s in %s: %s, %v, %v; want %s, %v", c.name, c.network, text(m), result, err, c.want, c.result)
		}
	}
	m, _, err := l.Ask(t.Context(), "blue", client, "many", dns.TypeA)
	if err != nil || len(m.Answer) != backends || m.Truncated {
		t.Errorf("of %d backends there are %d, %v", backends, len(m.Answer), err)
	}
	for network, addr := range map[string]string{"blue": strangerAddr, "green": clientAddr} {
		if _, _, err := l.Ask(t.Context(), network, netip.MustParseAddr(addr), "web", dns.TypeA); !errors.Is(err, ErrNoEndpoint) {
			t.Errorf("%s asks in %s: %v", addr, network, err)
		}
	}
	if _, _, err := l.Ask(t.Context(), "blue", client, "a..b", dns.TypeA); err == nil {
		t.Error("a name with an empty label was asked for")
	}
	for _, r := range l.Stats().Results {
		if r.Queries > 0 {
			t.Errorf("%d queries were counted as %v", r.Queries, r.Result)
		}
	}
}
