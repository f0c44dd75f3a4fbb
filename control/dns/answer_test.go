package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

const (
	rootSOA = ". 1 IN SOA . . 1 3600 600 86400 1"
	blueSOA = "blue. 1 IN SOA blue. blue. 1 3600 600 86400 1"
)

func TestForms(t *testing.T) {
	l := newLab(t, Options{})
	for _, c := range []struct {
		name  string
		qtype uint16
		want  string
	}{
		{"a", dns.TypeA, "NOERROR a. 1 IN A 127.1.0.1"},
		{"a", dns.TypeAAAA, "NOERROR a. 1 IN AAAA ::a"},
		{"a.blue", dns.TypeA, "NOERROR a.blue. 1 IN A 127.1.0.1"},
		{"A.Blue", dns.TypeA, "NOERROR A.Blue. 1 IN A 127.1.0.1"},
		{"b", dns.TypeAAAA, "NOERROR ns: " + rootSOA},
		{"b.blue", dns.TypeAAAA, "NOERROR ns: " + blueSOA},
		{"b.bLUE", dns.TypeMX, "NOERROR ns: " + strings.ReplaceAll(blueSOA, "blue", "bLUE")},
		{"a", dns.TypeANY, `NOERROR a. 1 IN HINFO "RFC8482" ""`},
		{"web", dns.TypeA, "NOERROR web. 5 IN A 127.9.0.1"},
		{"web", dns.TypeAAAA, "NOERROR web. 5 IN AAAA ::9"},
		{"web.blue", dns.TypeANY, `NOERROR web.blue. 5 IN HINFO "RFC8482" ""`},
		{"tasks.web", dns.TypeA, "NOERROR tasks.web. 1 IN A 127.1.0.1, tasks.web. 1 IN A 127.1.0.2"},
		{"tasks.web.blue", dns.TypeAAAA, "NOERROR tasks.web.blue. 1 IN AAAA ::a"},
		{"rr", dns.TypeA, "NOERROR rr. 1 IN A 127.1.0.1, rr. 1 IN A 127.1.0.2"},
		{"_80._tcp.web", dns.TypeSRV, "NOERROR _80._tcp.web. 5 IN SRV 0 0 80 web.blue. extra: web.blue. 5 IN A 127.9.0.1, web.blue. 5 IN AAAA ::9"},
		{
			"_80._tcp.rr.blue", dns.TypeSRV, "NOERROR _80._tcp.rr.blue. 1 IN SRV 0 2 80 a.blue., _80._tcp.rr.blue. 1 IN SRV 0 2 80 b.blue." +
				" extra: a.blue. 1 IN A 127.1.0.1, a.blue. 1 IN AAAA ::a, b.blue. 1 IN A 127.1.0.2",
		},
		{"_80._tcp.web", dns.TypeA, "NOERROR ns: " + rootSOA},
		{"1.0.1.127.in-addr.arpa", dns.TypePTR, "NOERROR 1.0.1.127.in-addr.arpa. 1 IN PTR a.blue."},
		{"1.0.9.127.in-addr.arpa", dns.TypePTR, "NOERROR 1.0.9.127.in-addr.arpa. 5 IN PTR web.blue."},
		{"a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa", dns.TypePTR, "NOERROR " +
			"a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa. 1 IN PTR a.blue."},
		{"1.0.1.127.in-addr.arpa", dns.TypeA, "NOERROR ns: " + rootSOA},
		{"1.0.66.127.in-addr.arpa", dns.TypePTR, "NXDOMAIN ns: " + rootSOA},
		{"blue", dns.TypeSOA, "NOERROR " + blueSOA},
		{"blue", dns.TypeNS, "NOERROR ns: " + blueSOA},
		{"blue", dns.TypeA, "NOERROR ns: " + blueSOA},
		{"nobody", dns.TypeA, "NXDOMAIN ns: " + rootSOA},
		{"nobody", dns.TypeANY, "NXDOMAIN ns: " + rootSOA},
		{"nobody.blue", dns.TypeA, "NXDOMAIN ns: " + blueSOA},
		{"secret", dns.TypeA, "NXDOMAIN ns: " + rootSOA},
		{"secret.red", dns.TypeA, "NXDOMAIN ns: " + rootSOA},
		{"web.red", dns.TypeSRV, "NXDOMAIN ns: " + rootSOA},
		{"blue", dns.TypeAXFR, "REFUSED"},
		{"blue", dns.TypeIXFR, "REFUSED"},
		{"a", dns.TypeMAILB, "REFUSED"},
		{"a", dns.TypeTSIG, "REFUSED"},
		{"a", dns.TypeOPT, "FORMERR"},
		{"a", dns.TypeNone, "FORMERR"},
		{"www.example.com", dns.TypeA, "SERVFAIL"}, // there is no resolver
	} {
		name := fmt.Sprintf("%s %s", c.name, dns.TypeToString[c.qtype])
		q := new(dns.Msg).SetQuestion(dns.Fqdn(c.name), c.qtype)
		for _, transport := range []string{"udp4", "tcp4", "udp6", "tcp6"} {
			addr := clientAddr
			if strings.HasSuffix(transport, "6") {
				addr = "::1"
			}
			m := l.exchange(t, transport, "blue", addr, addr, q)
			if got := text(m); got != c.want {
				t.Errorf("%s over %s:\n%s\nwant:\n%s", name, transport, got, c.want)
			}
			mine := m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError
			if m.Authoritative != mine || m.Truncated || len(m.Question) != 1 || m.Question[0] != q.Question[0] {
				t.Errorf("%s over %s: %v", name, transport, m)
			}
		}
	}
	for name, want := range map[string]string{
		"web": "NOERROR web. 5 IN A 127.66.0.2", "secret.red": "NOERROR secret.red. 1 IN A 127.66.0.1",
		"a": "NXDOMAIN ns: " + rootSOA, "web.blue": "NXDOMAIN ns: " + rootSOA, "www.example.com": "REFUSED",
	} {
		q := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA)
		if got := text(l.exchange(t, "udp", "red", clientAddr, clientAddr, q)); got != want {
			t.Errorf("red, %s: %s, want %s", name, got, want)
		}
	}
}

// What changes is in the next answer.
func TestChangesAreSeenAtOnce(t *testing.T) {
	l := newLab(t, Options{})
	now := tables()
	now.Failed = map[string]bool{"2": true}
	l.read(now)
	for name, want := range map[string]string{"tasks.web": "NOERROR ns: " + rootSOA, "a": "NXDOMAIN ns: " + rootSOA, "web": "NOERROR web. 5 IN A 127.9.0.1"} {
		if got := text(l.ask(t, name, dns.TypeA)); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestOnlyEndpointsAreAnswered(t *testing.T) {
	l := newLab(t, Options{})
	for _, name := range []string{"a.", "nobody.", "www.example.com."} {
		for _, transport := range []string{"udp", "tcp"} {
			q := new(dns.Msg).SetQuestion(name, dns.TypeA)
			if got := text(l.exchange(t, transport, "blue", strangerAddr, clientAddr, q)); got != "REFUSED" {
				t.Errorf("%s over %s: %s", name, transport, got)
			}
		}
	}
	l.count(t, Refused, 6)
}

func TestEDNS(t *testing.T) {
	l := newLab(t, Options{})
	for _, c := range []struct {
		name string
		opt  func(q *dns.Msg)
		want string
		// size is the most that may come, in bytes; 0 is that there is no EDNS.
		size int
	}{
		{"none", func(*dns.Msg) {}, "NOERROR a. 1 IN A 127.1.0.1", 0},
		{"plain", func(q *dns.Msg) { q.SetEdns0(4096, false) }, "NOERROR a. 1 IN A 127.1.0.1", udpSize},
		{"DO", func(q *dns.Msg) { q.SetEdns0(512, true) }, "NOERROR a. 1 IN A 127.1.0.1", 512},
		{"too small", func(q *dns.Msg) { q.SetEdns0(7, false) }, "NOERROR a. 1 IN A 127.1.0.1", 512},
		{"options", func(q *dns.Msg) {
			q.SetEdns0(1232, false)
			q.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0123456789abcdef"}, &dns.EDNS0_LOCAL{Code: 65001, Data: []byte("x")}}
		}, "NOERROR a. 1 IN A 127.1.0.1", udpSize},
		{"version 1", func(q *dns.Msg) { q.SetEdns0(1232, false); q.IsEdns0().SetVersion(1) }, "BADVERS", udpSize},
		{"two", func(q *dns.Msg) { q.SetEdns0(1232, false); q.Extra = append(q.Extra, q.Extra[0]) }, "FORMERR", udpSize},
		{"not at the root", func(q *dns.Msg) { q.SetEdns0(1232, false); q.Extra[0].Header().Name = "a." }, "FORMERR", 0},
	} {
		q := new(dns.Msg).SetQuestion("a.", dns.TypeA)
		c.opt(q)
		m := l.exchange(t, "udp", "blue", clientAddr, clientAddr, q)
		if got := text(m); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		opt := m.IsEdns0()
		if (opt != nil) != (c.size > 0) {
			t.Errorf("%s: %v", c.name, m)
			continue
		}
		if opt != nil && (opt.UDPSize() != udpSize || opt.Version() != 0 || opt.Do() != q.IsEdns0().Do() || len(opt.Option) > 0) {
			t.Errorf("%s: %v", c.name, opt)
		}
	}
}

// What does not fit is cut, and whole over TCP.
func TestTruncation(t *testing.T) {
	l := newLab(t, Options{})
	for _, c := range []struct {
		size uint16
		most int
	}{{0, 512}, {512, 512}, {1000, 1000}, {1232, 1232}, {65535, udpSize}} {
		q := new(dns.Msg).SetQuestion("many.", dns.TypeA)
		if c.size > 0 {
			q.SetEdns0(c.size, false)
		}
		m := l.exchange(t, "udp", "blue", clientAddr, clientAddr, q)
		m.Compress = true
		if n := len(m.Answer); !m.Truncated || m.Len() > c.most || m.Len() < c.most-40 || n == 0 {
			t.Errorf("of size %d: %d bytes, %d answers, truncated %v", c.size, m.Len(), n, m.Truncated)
		}
		if whole := l.exchange(t, "tcp", "blue", clientAddr, clientAddr, q); whole.Truncated || len(whole.Answer) != backends {
			t.Errorf("over TCP: %d answers, truncated %v", len(whole.Answer), whole.Truncated)
		}
	}
	// Which are left changes.
	first := make(map[string]bool)
	for range 20 {
		first[l.ask(t, "many", dns.TypeA).Answer[0].String()] = true
	}
	if len(first) < 5 {
		t.Errorf("20 answers began with %d different addresses", len(first))
	}
}

// The standard library's resolver understands all of it.
func TestGoResolver(t *testing.T) {
	l := newLab(t, Options{})
	r := l.goResolver("blue", clientAddr)
	ctx := context.Background()
	addrs, err := r.LookupHost(ctx, "web.blue.")
	if slices.Sort(addrs); err != nil || strings.Join(addrs, " ") != "127.9.0.1 ::9" {
		t.Errorf("web: %v, %v", addrs, err)
	}
	if addrs, err := r.LookupHost(ctx, "many.blue."); err != nil || len(addrs) != backends {
		t.Errorf("many: %d addresses, %v", len(addrs), err)
	}
	if names, err := r.LookupAddr(ctx, "127.1.0.2"); err != nil || strings.Join(names, " ") != "b.blue." {
		t.Errorf("reverse: %v, %v", names, err)
	}
	if names, err := r.LookupAddr(ctx, "::a"); err != nil || strings.Join(names, " ") != "a.blue." {
		t.Errorf("reverse: %v, %v", names, err)
	}
	_, servers, err := r.LookupSRV(ctx, "80", "tcp", "rr.blue.")
	if err != nil || len(servers) != 2 || servers[0].Port != 80 || servers[0].Weight != 2 {
		t.Errorf("servers: %v, %v", servers, err)
	}
	var notFound *net.DNSError
	if _, err := r.LookupHost(ctx, "nobody.blue."); !errors.As(err, &notFound) || !notFound.IsNotFound {
		t.Errorf("nobody: %v", err)
	}
}
