package upstream

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// impatient is for what is expected not to be answered; patient for what may only
// be late.
const (
	impatient = 50 * time.Millisecond
	patient   = 20 * time.Second
)

// A reply that is not one to the question is not taken, and the right one that
// follows is.
func TestOnlyTheReplyIsTaken(t *testing.T) {
	wrong := map[string]func(q, m *dns.Msg){
		"id":       func(_, m *dns.Msg) { m.Id++ },
		"name":     func(_, m *dns.Msg) { m.Question[0].Name = "evil.example.com." },
		"type":     func(_, m *dns.Msg) { m.Question[0].Qtype = dns.TypeAAAA },
		"class":    func(_, m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS },
		"query":    func(_, m *dns.Msg) { m.Response = false },
		"opcode":   func(_, m *dns.Msg) { m.Opcode = dns.OpcodeNotify },
		"question": func(_, m *dns.Msg) { m.Question = nil },
		"two":      func(_, m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) },
	}
	for name, spoil := range wrong {
		t.Run(name, func(t *testing.T) {
			r := newResolver(t, func(_ string, q *dns.Msg) []*dns.Msg {
				bad := says(q, "www.example.com. 60 IN A 6.6.6.6")
				bad.Question = append([]dns.Question{}, q.Question...)
				spoil(q, bad)
				return []*dns.Msg{bad, says(q, "www.example.com. 60 IN A 192.0.2.80")}
			})
			c, _ := newClient(t, Options{Timeout: patient, Try: patient}, r.addr)
			if got, _ := must(t, c, question("www.example.com.")); got != "192.0.2.80" {
				t.Errorf("got %s", got)
			}
		})
	}
}

// What is no message at all is passed over, too.
func TestGarbageIsPassedOver(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 4096)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			q := new(dns.Msg)
			if q.Unpack(b[:n]) != nil {
				continue
			}
			reply, _ := says(q, "www.example.com. 60 IN A 192.0.2.80").Pack()
			for _, p := range [][]byte{{}, {1, 2, 3}, reply[:len(reply)-1], reply} {
				_, _ = pc.WriteTo(p, from)
			}
		}
	}()
	t.Cleanup(func() {
		pc.Close()
		<-done
	})
	c, _ := newClient(t, Options{Timeout: patient, Try: patient}, pc.LocalAddr().(*net.UDPAddr).AddrPort())
	if got, _ := must(t, c, question("www.example.com.")); got != "192.0.2.80" {
		t.Errorf("got %s", got)
	}
}

func TestLostQueriesAreRepeated(t *testing.T) {
	var asked atomic.Int32
	r := newResolver(t, func(_ string, q *dns.Msg) []*dns.Msg {
		if asked.Add(1) < 3 {
			return nil
		}
		return []*dns.Msg{says(q, "www.example.com. 60 IN A 192.0.2.80")}
	})
	c, _ := newClient(t, Options{Timeout: patient, Try: 200 * time.Millisecond}, r.addr)
	if got, _ := must(t, c, question("www.example.com.")); got != "192.0.2.80" || asked.Load() != 3 {
		t.Errorf("got %s after %d questions", got, asked.Load())
	}
}

func TestTruncatedIsAskedOverTCP(t *testing.T) {
	r := newResolver(t, func(network string, q *dns.Msg) []*dns.Msg {
		m := says(q, "www.example.com. 60 IN A 192.0.2.80")
		if network == "udp" {
			m.Answer, m.Truncated = nil, true
		}
		return []*dns.Msg{m}
	})
	c, _ := newClient(t, Options{Timeout: patient, Try: patient}, r.addr)
	if got, _ := must(t, c, question("www.example.com.")); got != "192.0.2.80" {
		t.Errorf("got %s", got)
	}
	if got := strings.Join(r.asked, ", "); got != "udp www.example.com. A, tcp www.example.com. A" {
		t.Errorf("asked: %s", got)
	}
}

func TestResolverWithoutEDNS(t *testing.T) {
	r := newResolver(t, func(_ string, q *dns.Msg) []*dns.Msg {
		if q.IsEdns0() != nil {
			return []*dns.Msg{denies(q, dns.RcodeFormatError)}
		}
		return []*dns.Msg{says(q, "www.example.com. 60 IN A 192.0.2.80")}
	})
	c, _ := newClient(t, Options{Timeout: patient, Try: patient}, r.addr)
	if got, _ := must(t, c, question("www.example.com.")); got != "192.0.2.80" || r.questions() != 2 {
		t.Errorf("got %s after %d questions", got, r.questions())
	}
}

func TestFlagsReachTheResolver(t *testing.T) {
	for _, want := range []Question{{}, {DO: true}, {CD: true}, {DO: true, CD: true}} {
		var got atomic.Pointer[dns.Msg]
		r := newResolver(t, func(_ string, q *dns.Msg) []*dns.Msg {
			got.Store(q)
			m := says(q, "www.example.com. 60 IN A 192.0.2.80")
			m.AuthenticatedData = true
			return []*dns.Msg{m}
		})
		c, _ := newClient(t, Options{Timeout: patient, Try: patient}, r.addr)
		want.Name, want.Type = "www.example.com.", dns.TypeA
		m, err := c.Ask(context.Background(), want)
		if err != nil {
			t.Fatal(err)
		}
		q := got.Load()
		if q.IsEdns0() == nil || q.IsEdns0().Do() != want.DO || q.CheckingDisabled != want.CD || !q.RecursionDesired || q.AuthenticatedData {
			t.Errorf("%+v was asked as %v", want, q)
		}
		if m.AuthenticatedData || m.IsEdns0() != nil {
			t.Errorf("the reply has what is for us alone: %v", m)
		}
	}
}

// The next resolver is asked if one does not answer, or has no answer, and at once
// if nobody is there.
func TestNextResolver(t *testing.T) {
	good := newResolver(t, func(_ string, q *dns.Msg) []*dns.Msg {
		return []*dns.Msg{says(q, q.Question[0].Name+" 60 IN A 192.0.2.80")}
	})
	silent := newResolver(t, func(string, *dns.Msg) []*dns.Msg { return nil })
	failing := newResolver(t, func(_ string, q *dns.Msg) []*dns.Msg { return []*dns.Msg{denies(q, dns.RcodeServerFailure)} })
	refusing := newResolver(t, func(_ string, q *dns.Msg) []*dns.Msg {
		m := denies(q, dns.RcodeRefused)
		m.Question = nil
		return []*dns.Msg{m}
	})
	for name, c := range map[string]struct {
		first netip.AddrPort
		try   time.Duration
	}{
		"silent": {silent.addr, impatient}, "failing": {failing.addr, patient}, "refusing": {refusing.addr, patient}, "dead": {deadAddr(t), patient},
	} {
		t.Run(name, func(t *testing.T) {
			client, _ := newClient(t, Options{Timeout: patient, Try: c.try}, c.first, good.addr)
			// With little patience the good one may be given up as well.
			for try := 0; ; try++ {
				m, err := client.Ask(context.Background(), question("www.example.com."))
				if err == nil && len(m.Answer) == 1 {
					break
				}
				if try == 20 {
					t.Fatal(err)
				}
			}
		})
	}
}

// deadAddr is one that nobody listens at.
func deadAddr(t *testing.T) netip.AddrPort {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	return pc.LocalAddr().(*net.UDPAddr).AddrPort()
}

// One that was silent is asked last for a while.
func TestSilentResolverIsAskedLast(t *testing.T) {
	var q quiet
	a, b, c := netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("192.0.2.2:53"), netip.MustParseAddrPort("192.0.2.3:53")
	now := time.Unix(1000, 0)
	order := func() string {
		var names []string
		for _, r := range q.last([]netip.AddrPort{a, b, c}, now) {
			names = append(names, r.Addr().String()[8:])
		}
		return strings.Join(names, " ")
	}
	if got := order(); got != "1 2 3" {
		t.Errorf("at first: %s", got)
	}
	q.note(a, now)
	if got := order(); got != "2 3 1" {
		t.Errorf("after the first was silent: %s", got)
	}
	q.note(b, now)
	q.note(c, now)
	if got := order(); got != "1 2 3" {
		t.Errorf("after all were silent: %s", got)
	}
	now = now.Add(avoid)
	if got := order(); got != "1 2 3" {
		t.Errorf("later: %s", got)
	}
}

// It is the first question alone that a resolver holds up which has no reply: the
// one here says that it has one over TCP, and has not.
func TestResolverWithoutReplyIsAskedOnce(t *testing.T) {
	good := newResolver(t, func(_ string, q *dns.Msg) []*dns.Msg {
		return []*dns.Msg{says(q, q.Question[0].Name+" 60 IN A 192.0.2.80")}
	})
	var asked atomic.Int32
	failing := newResolver(t, func(network string, q *dns.Msg) []*dns.Msg {
		m := says(q)
		if m.Truncated = network == "udp"; m.Truncated {
			asked.Add(1)
		} else {
			m.Id++
		}
		return []*dns.Msg{m}
	})
	c, now := newClient(t, Options{Timeout: patient, Try: patient}, failing.addr, good.addr)
	for i, want := range []int32{1, 1, 2} {
		must(t, c, question(fmt.Sprintf("n%d.example.com.", i)))
		if got := asked.Load(); got != want {
			t.Errorf("after question %d it was asked %d times, want %d", i, got, want)
		}
		if i == 1 {
			now.move(avoid)
		}
	}
}

func TestOutage(t *testing.T) {
	silent := newResolver(t, func(string, *dns.Msg) []*dns.Msg { return nil })
	c, _ := newClient(t, Options{Timeout: 3 * impatient, Try: impatient}, silent.addr, deadAddr(t))
	mustFail(t, c, question("www.example.com."))
	none, _ := newClient(t, Options{})
	mustFail(t, none, question("www.example.com."))
}

// A resolver that takes its time does not hold a question up for longer than the
// time it has in all.
func TestTimeoutBoundsAll(t *testing.T) {
	silent := newResolver(t, func(string, *dns.Msg) []*dns.Msg { return nil })
	c, _ := newClient(t, Options{Timeout: impatient, Try: time.Hour}, silent.addr)
	mustFail(t, c, question("www.example.com."))
	if n := silent.questions(); n > 1 {
		t.Errorf("asked %d times", n)
	}
}
