package dns

import (
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
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

// BenchmarkLatency is how long an endpoint waits for its answers that asks 20 000
// times a second, and how long another beside it, and beside one that asks as fast as
// it can.
func BenchmarkLatency(b *testing.B) {
	for _, c := range []struct {
		name  string
		batch int // each millisecond; 0 is as many as it can
	}{{"steady", 20}, {"flood", 0}} {
		b.Run(c.name, func(b *testing.B) {
			l := newLab(b, Options{})
			first, other := newAsker(b, l, clientAddr), newAsker(b, l, otherAddr)
			done := make(chan struct{})
			var asking sync.WaitGroup
			asking.Go(func() {
				for {
					other.ask()
					select {
					case <-done:
						return
					case <-time.After(5 * time.Millisecond):
					}
				}
			})
			begin := time.Now()
			for i := range b.N {
				if c.batch > 0 && i%c.batch == 0 {
					time.Sleep(time.Until(begin.Add(time.Duration(i/c.batch) * time.Millisecond)))
				}
				first.ask()
			}
			close(done)
			asking.Wait()
			time.Sleep(50 * time.Millisecond)
			first.report(b, "first")
			other.report(b, "other")
			b.ReportMetric(float64(b.N)/time.Since(begin).Seconds(), "queries/s")
			b.ReportMetric(float64(l.Stats().Results[Limited].Queries)/float64(b.N), "dropped")
		})
	}
}

// asker asks and notes how long answers take.
type asker struct {
	conn    net.Conn
	message []byte
	done    chan struct{}

	mu    sync.Mutex
	asked int
	sent  [1 << 16]time.Time // by ID
	took  []time.Duration
}

func newAsker(b *testing.B, l *lab, from string) *asker {
	a := &asker{conn: dial(b, "udp4", from, l.at("blue", clientAddr)), message: plain(func(b []byte) []byte { return b }), done: make(chan struct{})}
	_ = a.conn.SetDeadline(time.Time{})
	go func() {
		defer close(a.done)
		answer := make([]byte, 512)
		for {
			if _, err := a.conn.Read(answer); err != nil {
				return
			}
			now := time.Now()
			a.mu.Lock()
			a.took = append(a.took, now.Sub(a.sent[binary.BigEndian.Uint16(answer)]))
			a.mu.Unlock()
		}
	}()
	return a
}

func (a *asker) ask() {
	a.mu.Lock()
	id := uint16(a.asked)
	a.asked++
	a.sent[id] = time.Now()
	a.mu.Unlock()
	binary.BigEndian.PutUint16(a.message, id)
	_, _ = a.conn.Write(a.message)
}

func (a *asker) report(b *testing.B, who string) {
	a.conn.Close()
	<-a.done
	if len(a.took) == 0 {
		return
	}
	slices.Sort(a.took)
	b.ReportMetric(float64(a.took[len(a.took)*99/100].Microseconds()), who+"-p99-µs")
	b.ReportMetric(float64(a.took[len(a.took)/2].Microseconds()), who+"-p50-µs")
	b.ReportMetric(1-float64(len(a.took))/float64(a.asked), who+"-lost")
}
