package dns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// outsideResolver is one of the host's, on loopback.
type outsideResolver struct {
	addr netip.AddrPort

	mu    sync.Mutex
	asked []string
	last  *dns.Msg
}

// newOutside answers each name below example.com with 192.0.2.80, and NXDOMAIN to
// all others; "slow" is answered when release is closed, and "silent" never.
func newOutside(t *testing.T, release chan struct{}) *outsideResolver {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &outsideResolver{addr: pc.LocalAddr().(*net.UDPAddr).AddrPort()}
	s := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		name := q.Question[0].Name
		r.mu.Lock()
		r.asked, r.last = append(r.asked, name), q
		r.mu.Unlock()
		m := new(dns.Msg).SetReply(q)
		switch {
		case strings.HasPrefix(name, "silent"):
			return
		case strings.HasSuffix(name, "example.com."):
			if strings.HasPrefix(name, "slow") {
				<-release
			}
			a, _ := dns.NewRR(name + " 60 IN A 192.0.2.80")
			m.Answer = []dns.RR{a}
		default:
			soa, _ := dns.NewRR(". 600 IN SOA a. b. 1 2 3 4 600")
			m.Rcode, m.Ns = dns.RcodeNameError, []dns.RR{soa}
		}
		_ = w.WriteMsg(m)
	})}
	done := make(chan struct{})
	started := make(chan struct{})
	s.NotifyStartedFunc = func() { close(started) }
	go func() {
		defer close(done)
		_ = s.ActivateAndServe()
	}()
	<-started
	t.Cleanup(func() {
		_ = s.Shutdown()
		<-done
	})
	return r
}

func (r *outsideResolver) list() []netip.AddrPort { return []netip.AddrPort{r.addr} }

func (r *outsideResolver) names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.asked)
}

const patient = 20 * time.Second

func TestOutside(t *testing.T) {
	r := newOutside(t, nil)
	l := newLab(t, Options{Resolvers: r.list, Timeout: patient})
	for _, transport := range []string{"udp4", "tcp4"} {
		for name, want := range map[string]string{
			"WWW.Example.com.": "NOERROR WWW.Example.com. 60 IN A 192.0.2.80",
			"www.example.org.": "NXDOMAIN ns: . 30 IN SOA a. b. 1 2 3 4 600",
		} {
			q := new(dns.Msg).SetQuestion(name, dns.TypeA)
			q.CheckingDisabled = true
			m := l.exchange(t, transport, "blue", clientAddr, clientAddr, q)
			if got := text(m); got != want {
				t.Errorf("%s over %s: %s, want %s", name, transport, got, want)
			}
			if m.Question[0] != q.Question[0] || m.Authoritative || !m.RecursionAvailable || !m.CheckingDisabled {
				t.Errorf("%s: %v", name, m)
			}
		}
	}
	l.count(t, Forwarded, 2)
	l.count(t, Cached, 2)
	if got := l.Stats().Cached; got != 2 {
		t.Errorf("%d replies are known", got)
	}
}

// DO and CD are the client's.
func TestFlagsGoOutside(t *testing.T) {
	r := newOutside(t, nil)
	l := newLab(t, Options{Resolvers: r.list, Timeout: patient})
	for i, c := range []struct{ do, cd bool }{{false, false}, {true, false}, {false, true}, {true, true}} {
		q := new(dns.Msg).SetQuestion(fmt.Sprintf("n%d.example.com.", i), dns.TypeA)
		q.SetEdns0(1232, c.do)
		q.CheckingDisabled = c.cd
		m := l.exchange(t, "udp", "blue", clientAddr, clientAddr, q)
		r.mu.Lock()
		if r.last.IsEdns0().Do() != c.do || r.last.CheckingDisabled != c.cd || m.IsEdns0().Do() != c.do || m.CheckingDisabled != c.cd {
			t.Errorf("%+v: asked %v, answered %v", c, r.last, m)
		}
		r.mu.Unlock()
	}
}

// Whoever asks for whatever: of the cluster's names none is asked outside.
func TestNothingLeaks(t *testing.T) {
	r := newOutside(t, nil)
	l := newLab(t, Options{Resolvers: r.list, Timeout: patient})
	for _, name := range []string{
		"a.", "nobody.", "a.blue.", "nobody.blue.", "secret.red.", "x.y.RED.", "red.", "tasks.nobody.", "_80._tcp.nobody.", "_80._tcp.secret.red.",
		"1.0.66.127.in-addr.arpa.", "9.9.9.127.in-addr.arpa.", "9.127.in-addr.arpa.", "b._dns-sd._udp.0.0.0.127.in-addr.arpa.", "com.",
		"b.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa.",
	} {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeSRV, dns.TypePTR, dns.TypeANY, dns.TypeNS} {
			l.ask(t, name, qtype)
		}
	}
	// Who is no endpoint, of an internal network, or wants no recursion, is refused.
	q := new(dns.Msg).SetQuestion("www.example.com.", dns.TypeA)
	for _, c := range []struct{ network, from string }{{"blue", strangerAddr}, {"red", clientAddr}} {
		if got := text(l.exchange(t, "udp", c.network, c.from, clientAddr, q)); got != "REFUSED" {
			t.Errorf("%s from %s: %s", c.network, c.from, got)
		}
	}
	q.RecursionDesired = false
	if got := text(l.exchange(t, "udp", "blue", clientAddr, clientAddr, q)); got != "REFUSED" {
		t.Errorf("without recursion: %s", got)
	}
	if asked := r.names(); len(asked) > 0 {
		t.Errorf("asked outside: %v", asked)
	}
}

// Resolvers that do not answer are an error within the time that there is, and what
// waits for them holds up nobody else.
func TestOutage(t *testing.T) {
	r := newOutside(t, nil)
	l := newLab(t, Options{Resolvers: r.list, Timeout: 50 * time.Millisecond})
	for _, transport := range []string{"udp", "tcp"} {
		q := new(dns.Msg).SetQuestion("silent-"+transport+".example.com.", dns.TypeA)
		if got := text(l.exchange(t, transport, "blue", clientAddr, clientAddr, q)); got != "SERVFAIL" {
			t.Errorf("over %s: %s", transport, got)
		}
	}
	if o := (Options{}).withDefaults(); o.Timeout <= 0 || o.Timeout > 2900*time.Millisecond {
		t.Errorf("by default an outage is noticed after %v", o.Timeout)
	}
}

// What waits is bounded, for one endpoint and in all, and the network's own names
// are answered meanwhile.
func TestOutstandingIsBounded(t *testing.T) {
	release := make(chan struct{})
	r := newOutside(t, release)
	l := newLab(t, Options{Resolvers: r.list, Timeout: patient, ClientOutstanding: 2, Outstanding: 3})
	waiting := dial(t, "udp", clientAddr, l.at("blue", clientAddr))
	other := dial(t, "udp", otherAddr, l.at("blue", clientAddr))
	ask := func(conn net.Conn, name string) *dns.Conn {
		t.Helper()
		co := &dns.Conn{Conn: conn}
		if err := co.WriteMsg(new(dns.Msg).SetQuestion(name, dns.TypeA)); err != nil {
			t.Fatal(err)
		}
		return co
	}
	next := func(co *dns.Conn) string {
		t.Helper()
		m, err := co.ReadMsg()
		if err != nil {
			t.Fatal(err)
		}
		return m.Question[0].Name + " " + text(m)
	}
	ask(waiting, "slow.example.com.")
	ask(waiting, "slow.example.com.")
	if got := next(ask(waiting, "slow-3.example.com.")); got != "slow-3.example.com. SERVFAIL" {
		t.Errorf("the third of an endpoint: %s", got)
	}
	if got := next(ask(waiting, "b.")); got != "b. NOERROR b. 1 IN A 127.1.0.2" {
		t.Errorf("a name of the network: %s", got)
	}
	ask(other, "slow-4.example.com.")
	if got := next(ask(other, "slow-5.example.com.")); got != "slow-5.example.com. SERVFAIL" {
		t.Errorf("the fourth of all: %s", got)
	}
	close(release)
	for _, co := range []net.Conn{waiting, waiting, other} {
		if got := next(&dns.Conn{Conn: co}); !strings.HasSuffix(got, "60 IN A 192.0.2.80") {
			t.Errorf("what waited: %s", got)
		}
	}
	l.count(t, Forwarded, 3)
	l.count(t, Failed, 2)
	if got := next(ask(waiting, "slow-6.example.com.")); got != "slow-6.example.com. NOERROR slow-6.example.com. 60 IN A 192.0.2.80" {
		t.Errorf("afterwards: %s", got)
	}
	if asked := r.names(); len(asked) != 3 {
		t.Errorf("asked: %v", asked)
	}
}

// Answers over one TCP connection come as they are ready.
func TestConnectionDoesNotWait(t *testing.T) {
	release := make(chan struct{})
	l := newLab(t, Options{Resolvers: newOutside(t, release).list, Timeout: patient})
	co := &dns.Conn{Conn: dial(t, "tcp", clientAddr, l.at("blue", clientAddr))}
	for _, name := range []string{"slow.example.com.", "b."} {
		if err := co.WriteMsg(new(dns.Msg).SetQuestion(name, dns.TypeA)); err != nil {
			t.Fatal(err)
		}
	}
	if err := co.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"NOERROR b. 1 IN A 127.1.0.2", "NOERROR slow.example.com. 60 IN A 192.0.2.80"} {
		m, err := co.ReadMsg()
		if err != nil {
			t.Fatal(err)
		}
		if got := text(m); got != want {
			t.Errorf("answer %d: %s, want %s", i, got, want)
		}
		if i == 0 {
			close(release)
		}
	}
}

func TestStopEndsWhatWaits(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	r := newOutside(t, release)
	l := newLab(t, Options{Resolvers: r.list, Timeout: time.Hour})
	for _, transport := range []string{"udp", "tcp"} {
		co := &dns.Conn{Conn: dial(t, transport, clientAddr, l.at("blue", clientAddr))}
		if err := co.WriteMsg(new(dns.Msg).SetQuestion("slow-"+transport+".example.com.", dns.TypeA)); err != nil {
			t.Fatal(err)
		}
	}
	for l.Stats().Outstanding < 2 {
		time.Sleep(time.Millisecond)
	}
	if err := l.stop["blue"](); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	udp, tcp := listen(t)
	defer udp.Close()
	defer tcp.Close()
	if _, err := l.Serve("blue", udp, tcp); !errors.Is(err, ErrClosed) {
		t.Errorf("serving after that: %v", err)
	}
}
