package e2e

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath"
)

// steadyRate is how many queries a second each host gets while its agent restarts.
const steadyRate = 1000

// restartPause is for how long there is no agent at least.
const restartPause = 300 * time.Millisecond

// TestNamesAgentRestarts: while an agent is replaced, stopped or killed, a thousand
// queries a second are answered late, and right.
func TestNamesAgentRestarts(t *testing.T) {
	withNames(t, func(t *testing.T, b *nameBed) {
		web := b.serve(t, "web", nil, b.ends...)
		b.serve(t, "pool", []string{"--endpoint-mode", "dnsrr"}, b.ends...)
		cases := []nameCase{
			{"c1", typeA, addrsOf(false, b.ends[0])},
			{"c2", typeAAAA, addrsOf(true, b.ends[1])},
			{"db.shop", typeA, addrsOf(false, b.ends[:2]...)},
			{"web", typeA, of(false, web.VIPs)},
			{"tasks.web", typeA, addrsOf(false, b.ends...)},
			{"pool", typeAAAA, addrsOf(true, b.ends...)},
			{"nobody", typeA, nil},
			{reverse(b.ends[2].addr()), typePTR, []string{"c3.shop."}},
		}
		awaitName(t, "tasks.web", len(b.ends), b.ends...)
		restart := func(name string, host int, how unix.Signal) {
			t.Run(name, func(t *testing.T) {
				s := startSteady(t, b.ends[host], cases)
				time.Sleep(300 * time.Millisecond)
				if err := b.hosts[host].signal(how); err != nil {
					t.Fatal(err)
				}
				time.Sleep(restartPause) // a new version has to be unpacked
				b.hosts[host].up(b.upArgs(host)...)
				time.Sleep(300 * time.Millisecond)
				s.stop(t)
			})
		}
		for host, kind := range b.kinds[:2] {
			restart(fmt.Sprintf("%s, stopped", kind), host, unix.SIGTERM)
			restart(fmt.Sprintf("%s, killed", kind), host, unix.SIGKILL)
		}
		checkGetent(t, b.ends[0], cases[:len(cases)-1]) // it makes reverse names itself

		// Moved to the other datapath and back.
		for _, kind := range []datapath.Kind{datapath.Userspace, datapath.Kernel} {
			if !*allNames {
				break
			}
			b.kinds[2] = kind
			restart("moved to "+string(kind), 2, unix.SIGTERM)
		}
	})
}

// steady is a client that asks at regular times, whatever the answers do.
type steady struct {
	who   string
	conn  *dns.Conn
	cases []nameCase
	quit  chan struct{}
	wg    sync.WaitGroup
	began time.Time
	// paused: nothing more is asked.
	paused atomic.Bool

	mu sync.Mutex
	// sent is what was asked, by the ID of the query; answered has those that got
	// an answer, and when.
	sent     []steadyQuery
	wrong    []error
	answered int
	latest   time.Duration
}

type steadyQuery struct {
	c    nameCase
	at   time.Time
	done bool
}

func startSteady(t *testing.T, e *endpoint, cases []nameCase) *steady {
	t.Helper()
	a := newAsker(t, e, e.info.Gateways[0])
	s := &steady{who: e.info.Name, conn: a.conn, cases: cases, quit: make(chan struct{}), began: time.Now()}
	s.wg.Go(s.send)
	s.wg.Go(s.receive)
	t.Cleanup(func() { s.end() })
	return s
}

func (s *steady) over() bool {
	select {
	case <-s.quit:
		return true
	default:
		return false
	}
}

func (s *steady) end() {
	if !s.over() {
		close(s.quit)
	}
	_ = s.conn.Close()
	s.wg.Wait()
}

// send asks as often as it is time to; IDs are numbered.
func (s *steady) send() {
	for !s.over() {
		due := 0
		if !s.paused.Load() {
			due = min(int(time.Since(s.began).Seconds()*steadyRate), 1<<16-1)
		}
		for s.count() < due {
			c := s.cases[s.count()%len(s.cases)]
			s.mu.Lock()
			id := uint16(len(s.sent))
			s.sent = append(s.sent, steadyQuery{c: c, at: time.Now()})
			s.mu.Unlock()
			s.ask(id, c)
		}
		time.Sleep(time.Millisecond)
	}
}

func (s *steady) ask(id uint16, c nameCase) {
	q := new(dns.Msg).SetQuestion(dns.Fqdn(c.name), c.qtype)
	q.Id = id
	if err := s.conn.WriteMsg(q); err != nil && !s.over() {
		s.fault(fmt.Errorf("%s: send: %w", c, err)) // such as that nobody listens
	}
}

func (s *steady) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sent)
}

func (s *steady) fault(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrong = append(s.wrong, err)
}

func (s *steady) receive() {
	for {
		m, err := s.conn.ReadMsg()
		if s.over() && err != nil {
			return
		}
		if err != nil {
			s.fault(fmt.Errorf("receive: %w", err))
			if !errors.Is(err, unix.ECONNREFUSED) {
				return
			}
			continue
		}
		s.take(m)
	}
}

// take judges an answer.
func (s *steady) take(m *dns.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if int(m.Id) >= len(s.sent) {
		s.wrong = append(s.wrong, fmt.Errorf("an answer to nothing: %v", m))
		return
	}
	q := &s.sent[m.Id]
	want := dns.RcodeSuccess
	if len(q.c.want) == 0 {
		want = dns.RcodeNameError
	}
	if m.Rcode != want || !slices.Equal(values(m), q.c.want) {
		s.wrong = append(s.wrong, fmt.Errorf("%s: %v, want %q", q.c, m, q.c.want))
	}
	if !q.done {
		q.done = true
		s.answered++
		s.latest = max(s.latest, time.Since(q.at))
	}
}

// waiting are the queries that have no answer.
func (s *steady) waiting() (ids []uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, q := range s.sent {
		if !q.done {
			ids = append(ids, uint16(id))
		}
	}
	return ids
}

// stop ends it: what has no answer after a while is asked for again, as a client
// does.
func (s *steady) stop(t *testing.T) {
	t.Helper()
	s.paused.Store(true)
	settle := func() (left []uint16) {
		for begin := time.Now(); time.Since(begin) < askTime; time.Sleep(20 * time.Millisecond) {
			if left = s.waiting(); len(left) == 0 {
				break
			}
		}
		return left
	}
	lost := settle()
	for _, id := range lost {
		s.mu.Lock()
		c := s.sent[id].c
		s.mu.Unlock()
		s.ask(id, c)
	}
	left := settle()
	s.end()
	t.Logf("%s: %d queries, the latest answer after %v; %d were asked for again", s.who, len(s.sent), s.latest.Round(time.Millisecond), len(lost))
	if len(left) > 0 {
		t.Errorf("%s: %d of %d queries have no answer, the first of them for %s", s.who, len(left), len(s.sent), s.sent[left[0]].c)
	}
	if len(s.wrong) > 0 {
		t.Errorf("%s: %d of %d queries are answered wrongly, or not; first: %v", s.who, len(s.wrong), len(s.sent), s.wrong[0])
	}
	if s.latest < restartPause/2 {
		t.Errorf("%s: no answer took longer than %v: nothing has waited for the agent", s.who, s.latest)
	}
	if len(s.sent) < steadyRate/2 {
		t.Errorf("%s: only %d queries were sent", s.who, len(s.sent))
	}
}
