package dns

import (
	"net"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Copies of the descriptors outlive the Server, and what comes meanwhile waits for
// the next.
func TestNextServerGoesOn(t *testing.T) {
	l := newLab(t, Options{})
	udpFile, err := l.udp["blue"].File()
	if err != nil {
		t.Fatal(err)
	}
	tcpFile, err := l.tcp["blue"].File()
	if err != nil {
		t.Fatal(err)
	}
	l.ask(t, "a", dns.TypeA)
	for range 2 { // a second time does nothing
		if err := l.stop["blue"](); err != nil {
			t.Fatal(err)
		}
	}
	packets := &dns.Conn{Conn: dial(t, "udp", clientAddr, l.at("blue", "127.0.0.77"))}
	stream := &dns.Conn{Conn: dial(t, "tcp", clientAddr, l.at("blue", clientAddr))}
	for _, co := range []*dns.Conn{packets, stream} {
		if err := co.WriteMsg(new(dns.Msg).SetQuestion("b.", dns.TypeA)); err != nil {
			t.Fatal(err)
		}
	}
	udp, err := net.FilePacketConn(udpFile)
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.FileListener(tcpFile)
	if err != nil {
		t.Fatal(err)
	}
	udpFile.Close()
	tcpFile.Close()
	next := New(Options{Look: l.view.Load})
	defer next.Close()
	if _, err := next.Serve("blue", udp, tcp); err != nil {
		t.Fatal(err)
	}
	for _, co := range []*dns.Conn{packets, stream} {
		m, err := co.ReadMsg()
		if err != nil {
			t.Fatal(err)
		}
		if got := text(m); got != "NOERROR b. 1 IN A 127.1.0.2" {
			t.Errorf("got %s", got)
		}
	}
	l.ask2(t, "red")
}

// ask2 asks a network for a name that both have.
func (l *lab) ask2(t *testing.T, network string) {
	t.Helper()
	q := new(dns.Msg).SetQuestion("other.", dns.TypeA)
	if got := text(l.exchange(t, "udp", network, clientAddr, clientAddr, q)); got != "NOERROR other. 1 IN A "+otherAddr {
		t.Errorf("%s: %s", network, got)
	}
}

func TestServeNeedsUDP(t *testing.T) {
	l := newLab(t, Options{})
	_, tcp := listen(t)
	defer tcp.Close()
	if _, err := l.Serve("blue", notUDP{}, tcp); err == nil {
		t.Error("it serves packets of something else")
	}
}

type notUDP struct{ net.PacketConn }

func TestStats(t *testing.T) {
	l := newLab(t, Options{})
	l.ask(t, "a", dns.TypeA)
	l.ask(t, "web", dns.TypeAAAA)
	l.ask(t, "b", dns.TypeAAAA)
	l.ask(t, "nobody", dns.TypeA)
	l.ask(t, "www.example.com", dns.TypeA)
	l.ask(t, "a", dns.TypeAXFR)
	l.ask(t, "a", dns.TypeOPT)
	for r, want := range map[Result]uint64{Answered: 2, Negative: 2, Failed: 1, Refused: 1, Malformed: 1, Forwarded: 0, Cached: 0, Limited: 0} {
		l.count(t, r, want)
	}
	for _, r := range l.Stats().Results {
		var sum uint64
		for _, n := range r.Buckets {
			sum += n
		}
		if sum != r.Queries || len(r.Buckets) != len(Bounds)+1 || (r.Took > 0) != (r.Queries > 0) {
			t.Errorf("%v: %+v", r.Result, r)
		}
	}
	var c counters
	for _, took := range []time.Duration{0, Bounds[0], Bounds[0] + 1, Bounds[len(Bounds)-1], time.Hour} {
		c.count(Cached, took)
	}
	b := c.stats().Results[Cached].Buckets
	if last := len(Bounds); b[0] != 2 || b[1] != 1 || b[last-1] != 1 || b[last] != 1 {
		t.Errorf("buckets %v", b)
	}
}
