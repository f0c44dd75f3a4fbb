package dns

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/ovlnet/ovl/control/dns/upstream"
	"github.com/ovlnet/ovl/control/dns/zone"
)

// served is a network that is answered.
type served struct {
	server  *Server
	udp     *net.UDPConn
	tcp     net.Listener
	clients *clients
	log     *slog.Logger
	// fairness is of those who ask over UDP.
	fairness fairness

	// ctx ends when stop begins. running are all goroutines.
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	stopped sync.Once
	err     error

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

func newServed(s *Server, networkID string, udp *net.UDPConn, tcp net.Listener) *served {
	n := &served{
		server: s, udp: udp, tcp: tcp,
		clients: newClients(networkID, s.newBudget),
		conns:   make(map[net.Conn]struct{}),
		log:     s.opts.Logger.With("network", networkID),
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	return n
}

// stop ends reading and what is being asked outside, and waits for that. What was
// read and can be answered at once has been.
func (n *served) stop() error {
	n.stopped.Do(func() {
		n.cancel()
		_ = n.udp.SetReadDeadline(time.Unix(1, 0)) // fails only if it is closed
		n.err = n.tcp.Close()
		n.mu.Lock()
		for c := range n.conns {
			_ = c.Close()
		}
		n.mu.Unlock()
		n.running.Wait()
		if err := n.udp.Close(); n.err == nil {
			n.err = err
		}
	})
	return n.err
}

// asking is a query on its way to an answer.
type asking struct {
	query
	// answer is what the zone says; its memory is used again.
	answer  zone.Answer
	overUDP bool
	arrived time.Time
}

// done counts a query.
func (n *served) done(a *asking, r Result) {
	n.server.counters.count(r, time.Since(a.arrived))
}

// handle answers a message of a client, if who is one, in buf if that has room. It
// returns no answer if there is to be none, and wait if the host's resolvers are to
// be asked for one.
func (n *served) handle(a *asking, v *zone.View, who zone.Client, known bool, message, buf []byte) (answer []byte, r Result, wait bool) {
	rcode := a.read(message)
	switch {
	case rcode == drop:
		return nil, Malformed, false
	case rcode == dns.RcodeFormatError:
		return a.pack(a.reply(rcode), a.overUDP, buf), Malformed, false
	case rcode != dns.RcodeSuccess:
		return a.pack(a.reply(rcode), a.overUDP, buf), Refused, false
	case !known:
		return a.pack(a.reply(dns.RcodeRefused), a.overUDP, buf), Refused, false
	}
	who.Lookup(a.name, &a.answer)
	if a.answer.Kind != zone.Outside {
		m := a.local(&a.answer, v.Version())
		r := Answered
		if len(m.Answer) == 0 {
			r = Negative
		}
		return a.pack(m, a.overUDP, buf), r, false
	}
	if who.Internal() || !a.msg.RecursionDesired {
		return a.pack(a.reply(dns.RcodeRefused), a.overUDP, buf), Refused, false
	}
	m, err, cached := n.server.upstream.Cached(a.question())
	if !cached {
		return nil, Forwarded, true
	}
	if err != nil {
		return a.failed(buf), Failed, false
	}
	return a.pack(outside(&a.query, m), a.overUDP, buf), Cached, false
}

// question is what the host's resolvers are asked.
func (a *asking) question() upstream.Question {
	q := a.msg.Question[0]
	return upstream.Question{
		Name: strings.ToLower(q.Name), Type: q.Qtype,
		DO: a.opt != nil && a.opt.Do(), CD: a.msg.CheckingDisabled,
	}
}

func (a *asking) failed(buf []byte) []byte {
	return a.pack(a.reply(dns.RcodeServerFailure), a.overUDP, buf)
}

// forward asks the host's resolvers in a goroutine, which the caller has counted in
// wg, and then calls write; it reports whether there may be one more that waits.
func (n *served) forward(wg *sync.WaitGroup, b *budget, a asking, write func([]byte)) bool {
	s := n.server
	if int(b.outside.Add(1)) > s.opts.ClientOutstanding {
		b.outside.Add(-1)
		return false
	}
	select {
	case s.waiting <- struct{}{}:
	default:
		b.outside.Add(-1)
		return false
	}
	wg.Go(func() {
		defer func() {
			<-s.waiting
			b.outside.Add(-1)
		}()
		m, err := s.upstream.Ask(n.ctx, a.question())
		switch {
		case n.ctx.Err() != nil:
		case err != nil:
			n.log.Debug("outside name not answered", "name", a.name, "err", err)
			write(a.failed(nil))
			n.done(&a, Failed)
		default:
			write(a.pack(outside(&a.query, m), a.overUDP, nil))
			n.done(&a, Forwarded)
		}
	})
	return true
}
