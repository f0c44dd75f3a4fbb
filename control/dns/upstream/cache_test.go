package upstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

const soaRecord = "example.com. 600 IN SOA ns.example.com. root.example.com. 1 2 3 4 "

func TestCache(t *testing.T) {
	long := strings.Repeat("x", 250)
	for _, c := range []struct {
		name  string
		reply func(q *dns.Msg) *dns.Msg
		// kept is for how long, in seconds.
		kept int
	}{
		{"its TTL", func(q *dns.Msg) *dns.Msg { return says(q, "www.example.com. 60 IN A 192.0.2.80") }, 60},
		{"the least TTL", func(q *dns.Msg) *dns.Msg {
			return says(q, "www.example.com. 20 IN CNAME x.example.com.", "x.example.com. 60 IN A 192.0.2.80")
		}, 20},
		{"TTL 0", func(q *dns.Msg) *dns.Msg { return says(q, "www.example.com. 0 IN A 192.0.2.80") }, 0},
		{"no TTL", func(q *dns.Msg) *dns.Msg { return says(q, "www.example.com. 2147483648 IN A 192.0.2.80") }, 0},
		{"an hour at most", func(q *dns.Msg) *dns.Msg { return says(q, "www.example.com. 86400 IN A 192.0.2.80") }, 3600},
		{"nothing there, SOA's minimum", func(q *dns.Msg) *dns.Msg { return denies(q, dns.RcodeNameError, soaRecord+"7") }, 7},
		{"nothing there, SOA's TTL", func(q *dns.Msg) *dns.Msg {
			return denies(q, dns.RcodeNameError, "example.com. 5 IN SOA a. b. 1 2 3 4 9")
		}, 5},
		{"nothing there, 30 s at most", func(q *dns.Msg) *dns.Msg { return denies(q, dns.RcodeNameError, soaRecord+"300") }, 30},
		{"nothing of the type", func(q *dns.Msg) *dns.Msg { return denies(q, dns.RcodeSuccess, soaRecord+"8") }, 8},
		{"nothing of the type behind an alias", func(q *dns.Msg) *dns.Msg {
			m := says(q, "www.example.com. 20 IN CNAME x.example.com.")
			m.Ns = append(m.Ns, record(soaRecord+"9"))
			return m
		}, 9},
		{"nothing there, without SOA", func(q *dns.Msg) *dns.Msg { return denies(q, dns.RcodeNameError) }, 0},
		{"a failure, one second", func(q *dns.Msg) *dns.Msg { return denies(q, dns.RcodeServerFailure) }, 1},
		{"too large", func(q *dns.Msg) *dns.Msg {
			m := says(q, "www.example.com. 60 IN A 192.0.2.80")
			for range 20 {
				m.Answer = append(m.Answer, record(`www.example.com. 60 IN TXT "`+long+`"`))
			}
			m.Truncated = false
			return m
		}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newResolver(t, func(network string, q *dns.Msg) []*dns.Msg {
				m := c.reply(q)
				if m.Len() > udpSize && network == "udp" {
					m.Answer, m.Truncated = nil, true
				}
				return []*dns.Msg{m}
			})
			client, now := newClient(t, Options{Timeout: patient, Try: patient}, r.addr)
			q := question("www.example.com.")
			first, err := client.Ask(context.Background(), q)
			if err != nil && !errors.Is(err, ErrFailed) {
				t.Fatal(err)
			}
			if c.kept == 0 {
				if _, _, known := client.Cached(q); known {
					t.Fatal("it was kept")
				}
				return
			}
			now.move(time.Duration(c.kept)*time.Second - time.Nanosecond)
			later, err, known := client.Cached(q)
			if !known {
				t.Fatalf("it was not kept for %d s", c.kept)
			}
			if first != nil {
				for i, r := range records(first) {
					had := r.Header().Ttl
					if has := records(later)[i].Header().Ttl; has != had-uint32(c.kept)+1 {
						t.Errorf("after %d s the TTL of %v is %d", c.kept-1, r, has)
					}
				}
			} else if !errors.Is(err, ErrFailed) {
				t.Errorf("a failure is kept as %v, %v", later, err)
			}
			now.move(time.Nanosecond)
			if _, _, known := client.Cached(q); known {
				t.Errorf("it was kept for longer than %d s", c.kept)
			}
		})
	}
}

// Answers to questions that differ in anything are kept apart, and nobody's change
// of a message is another's.
func TestCacheKeepsApart(t *testing.T) {
	var n atomic.Int32
	r := newResolver(t, func(_ string, q *dns.Msg) []*dns.Msg {
		return []*dns.Msg{says(q, fmt.Sprintf("%s 60 IN A 192.0.2.%d", q.Question[0].Name, n.Add(1)))}
	})
	c, _ := newClient(t, Options{Timeout: patient, Try: patient}, r.addr)
	questions := []Question{
		{Name: "a.example.com.", Type: dns.TypeA}, {Name: "b.example.com.", Type: dns.TypeA}, {Name: "a.example.com.", Type: dns.TypeANY},
		{Name: "a.example.com.", Type: dns.TypeA, DO: true}, {Name: "a.example.com.", Type: dns.TypeA, CD: true},
	}
	for range 2 {
		for i, q := range questions {
			m, err := c.Ask(context.Background(), q)
			if err != nil {
				t.Fatal(err)
			}
			a := m.Answer[0].(*dns.A)
			if want := fmt.Sprintf("192.0.2.%d", i+1); a.A.String() != want {
				t.Errorf("%+v: %v, want %s", q, a.A, want)
			}
			a.A[len(a.A)-1], a.Hdr.Ttl, m.Rcode = 99, 0, dns.RcodeRefused
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	r := newResolver(t, func(_ string, q *dns.Msg) []*dns.Msg {
		return []*dns.Msg{says(q, q.Question[0].Name+" 60 IN A 192.0.2.80")}
	})
	c, _ := newClient(t, Options{Timeout: patient, Try: patient, Entries: 4}, r.addr)
	for i := range 20 {
		must(t, c, question(fmt.Sprintf("n%d.example.com.", i)))
	}
	if n := c.Entries(); n != 4 {
		t.Errorf("%d entries, 4 were allowed", n)
	}
}

// One question is asked once, however many want to know, and there is an end to how
// many are asked at a time.
func TestFlights(t *testing.T) {
	release := make(chan struct{})
	r := newResolver(t, func(_ string, q *dns.Msg) []*dns.Msg {
		<-release
		return []*dns.Msg{says(q, q.Question[0].Name+" 60 IN A 192.0.2.80")}
	})
	c, _ := newClient(t, Options{Timeout: patient, Try: patient, Flights: 2}, r.addr)
	var asking sync.WaitGroup
	failed := atomic.Int32{}
	for i := range 20 {
		asking.Go(func() {
			if _, err := c.Ask(context.Background(), question(fmt.Sprintf("n%d.example.com.", i%2))); err != nil {
				failed.Add(1)
			}
		})
	}
	for r.questions() < 2 || c.Outstanding() < 2 {
		time.Sleep(time.Millisecond)
	}
	if _, err := c.Ask(context.Background(), question("n3.example.com.")); !errors.Is(err, ErrBusy) {
		t.Errorf("a third question: %v", err)
	}
	close(release)
	asking.Wait()
	if n := failed.Load(); n > 0 || r.questions() != 2 {
		t.Errorf("%d of 20 failed, and %d questions were asked", n, r.questions())
	}
	if n := c.Outstanding(); n != 0 {
		t.Errorf("%d are outstanding", n)
	}
}

func TestCloseEndsWhatIsAsked(t *testing.T) {
	silent := newResolver(t, func(string, *dns.Msg) []*dns.Msg { return nil })
	c, _ := newClient(t, Options{Timeout: time.Hour, Try: time.Hour}, silent.addr)
	ended := make(chan error)
	go func() {
		_, err := c.Ask(context.Background(), question("www.example.com."))
		ended <- err
	}()
	for silent.questions() == 0 {
		time.Sleep(time.Millisecond)
	}
	c.Close()
	if err := <-ended; err == nil {
		t.Error("it was answered")
	}
	if _, err := c.Ask(context.Background(), question("www.example.com.")); err == nil {
		t.Error("a closed client answers")
	}
}

// Who does not wait any longer does not take the answer from the others.
func TestWaitingEnds(t *testing.T) {
	release := make(chan struct{})
	r := newResolver(t, func(_ string, q *dns.Msg) []*dns.Msg {
		<-release
		return []*dns.Msg{says(q, "www.example.com. 60 IN A 192.0.2.80")}
	})
	c, _ := newClient(t, Options{Timeout: patient, Try: patient}, r.addr)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.Ask(ctx, question("www.example.com.")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(release)
	if got, _ := must(t, c, question("www.example.com.")); got != "192.0.2.80" {
		t.Errorf("got %s", got)
	}
}

// Of two that ask together, one may begin only when the other has its answer.
func TestLateFlight(t *testing.T) {
	r := newResolver(t, func(_ string, q *dns.Msg) []*dns.Msg {
		return []*dns.Msg{says(q, "www.example.com. 60 IN A 192.0.2.80")}
	})
	client, _ := newClient(t, Options{Timeout: patient, Try: patient}, r.addr)
	for range 2 {
		if _, err := client.fly(question("www.example.com.")); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.questions(); n != 1 {
		t.Errorf("the resolver was asked %d times", n)
	}
}
