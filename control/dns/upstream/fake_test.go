package upstream

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

func TestMain(m *testing.M) { linktest.VerifyNoLeaks(m) }

// resolver is a fake one on loopback, over UDP and TCP.
type resolver struct {
	addr netip.AddrPort

	mu    sync.Mutex
	asked []string // "udp www.example.com. A"
}

// newResolver has answer say what goes back to each query: any number of messages.
func newResolver(t *testing.T, answer func(network string, q *dns.Msg) []*dns.Msg) *resolver {
	t.Helper()
	pc, l := listen(t)
	r := &resolver{addr: pc.LocalAddr().(*net.UDPAddr).AddrPort()}
	for network, s := range map[string]*dns.Server{"udp": {PacketConn: pc}, "tcp": {Listener: l}} {
		s.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			r.mu.Lock()
			r.asked = append(r.asked, network+" "+q.Question[0].Name+" "+dns.TypeToString[q.Question[0].Qtype])
			r.mu.Unlock()
			for _, m := range answer(network, q) {
				_ = w.WriteMsg(m)
			}
		})
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = s.ActivateAndServe()
		}()
		<-started
		t.Cleanup(func() {
			_ = s.Shutdown()
			<-done
		})
	}
	return r
}

// listen returns sockets at one port.
func listen(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 100 {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", pc.LocalAddr().String())
		if err == nil {
			return pc, l
		}
		pc.Close()
	}
	t.Fatal("no port is free for both UDP and TCP")
	return nil, nil
}

func (r *resolver) questions() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.asked)
}

// says answers q with records in the form of zone files.
func says(q *dns.Msg, records ...string) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	for _, s := range records {
		m.Answer = append(m.Answer, record(s))
	}
	return m
}

func record(s string) dns.RR {
	r, err := dns.NewRR(s)
	if err != nil {
		panic(err)
	}
	return r
}

func denies(q *dns.Msg, rcode int, authority ...string) *dns.Msg {
	m := new(dns.Msg).SetRcode(q, rcode)
	for _, s := range authority {
		m.Ns = append(m.Ns, record(s))
	}
	return m
}

// clock is one that the test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// newClient asks these resolvers, with little patience.
func newClient(t *testing.T, opts Options, resolvers ...netip.AddrPort) (*Client, *clock) {
	t.Helper()
	now := &clock{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	opts.Resolvers = func() []netip.AddrPort { return resolvers }
	opts.Now = now.Now
	c := New(opts)
	t.Cleanup(c.Close)
	return c, now
}

func question(name string) Question { return Question{Name: name, Type: dns.TypeA} }

// must returns the first answer's text and TTL.
func must(t *testing.T, c *Client, q Question) (string, uint32) {
	t.Helper()
	m, err := c.Ask(context.Background(), q)
	if err != nil {
		t.Fatalf("%s: %v", q.Name, err)
	}
	if len(m.Answer) == 0 {
		return dns.RcodeToString[m.Rcode], 0
	}
	a, ok := m.Answer[0].(*dns.A)
	if !ok {
		t.Fatalf("%s: %v", q.Name, m)
	}
	return a.A.String(), a.Hdr.Ttl
}

func mustFail(t *testing.T, c *Client, q Question) {
	t.Helper()
	if m, err := c.Ask(context.Background(), q); !errors.Is(err, ErrFailed) {
		t.Fatalf("%s: %v, %v; want that it fails", q.Name, m, err)
	}
}
