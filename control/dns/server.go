// Package dns answers the names of networks, each from its gateway.
//
// A message goes through these, in this order, over UDP in the goroutine that reads
// the network's socket, over TCP in the connection's:
//
//	udp.go, tcp.go   it is read
//	clients.go       who sent it, and whether it is within the sender's budget
//	query.go         what it asks; what is none is answered here
//	served.go        whose name it is
//	answer.go        from the zone: a message      ── not the cluster's ──▶  upstream
//	query.go         packed, and cut to what the client takes
//
// Nothing waits but what goes to the host's resolvers, and that does so in
// goroutines of its own, a bounded number of them.
package dns

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/ovlnet/ovl/control/dns/upstream"
	"github.com/ovlnet/ovl/control/dns/zone"
)

// Options are what a Server works with. Look is needed.
type Options struct {
	// Look returns what names mean now. It is called for every query, from any
	// goroutine.
	Look func() *zone.View
	// Resolvers returns the host's resolvers, in the order in which they are to be
	// asked; none by default, and then nothing from outside is answered. It may be
	// called from any goroutine, of the host's own namespace.
	Resolvers func() []netip.AddrPort
	// Rate is how many queries a second each endpoint may send, Share how many if
	// others of its network send any at the same time, and Burst how many at once;
	// 250 000, 50 000 and 2000 by default. What exceeds it is dropped unread, over TCP
	// it waits.
	Rate, Share, Burst int
	// Outstanding is how many queries may wait for the host's resolvers, and
	// ClientOutstanding how many of one endpoint; 1024 and 256 by default. Others
	// fail.
	Outstanding, ClientOutstanding int
	// Connections is how many TCP connections a network may have, and
	// ClientConnections how many of one endpoint; 256 and 16 by default. More are
	// closed.
	Connections, ClientConnections int
	// Idle is how long a TCP connection may wait for a query; 10 s by default.
	Idle time.Duration
	// Timeout is how long the host's resolvers are asked in all; 2.5 s by default.
	Timeout time.Duration
	// Logger is slog.Default by default.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	positive := func(value *int, otherwise int) {
		if *value <= 0 {
			*value = otherwise
		}
	}
	positive(&o.Rate, 250_000)
	positive(&o.Share, 50_000)
	positive(&o.Burst, 2000)
	positive(&o.Outstanding, 1024)
	positive(&o.ClientOutstanding, 256)
	positive(&o.Connections, 256)
	positive(&o.ClientConnections, 16)
	if o.Timeout <= 0 {
		o.Timeout = 2500 * time.Millisecond
	}
	if o.Idle <= 0 {
		o.Idle = 10 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

// ErrClosed is returned by Serve after Close.
var ErrClosed = errors.New("the DNS server is closed")

// Server answers in any number of networks. Its methods may be called from any
// goroutine.
type Server struct {
	opts     Options
	upstream *upstream.Client
	// waiting has a value for each query that waits for the host's resolvers.
	waiting  chan struct{}
	counters counters

	mu     sync.Mutex
	served map[*served]struct{}
	closed bool
}

// New returns a Server, which is to be closed.
func New(opts Options) *Server {
	opts = opts.withDefaults()
	return &Server{
		opts:     opts,
		upstream: upstream.New(upstream.Options{Resolvers: opts.Resolvers, Timeout: opts.Timeout}),
		waiting:  make(chan struct{}, opts.Outstanding),
		served:   make(map[*served]struct{}),
	}
}

// Serve answers what arrives for a network, until stop is called. udp is a
// *net.UDPConn; answers come from the address that the query was sent to, so it may
// be bound to all.
//
// It closes both when it stops, not what they were copied from: copies of the
// descriptors are as they were, with what was not read. An error leaves both to the
// caller.
func (s *Server) Serve(networkID string, udp net.PacketConn, tcp net.Listener) (stop func() error, err error) {
	conn, ok := udp.(*net.UDPConn)
	if !ok {
		return nil, errors.New("the packets of DNS come over a UDP socket")
	}
	if err := prepare(conn); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	n := newServed(s, networkID, conn, tcp)
	s.served[n] = struct{}{}
	n.running.Go(n.readPackets)
	n.running.Go(n.accept)
	return func() error { return s.stop(n) }, nil
}

func (s *Server) newBudget() *budget {
	limiter := func(queries int) *rate.Limiter { return rate.NewLimiter(rate.Limit(queries), s.opts.Burst) }
	return &budget{queries: limiter(s.opts.Rate), share: limiter(min(s.opts.Rate, s.opts.Share))}
}

func (s *Server) stop(n *served) error {
	s.mu.Lock()
	delete(s.served, n)
	s.mu.Unlock()
	return n.stop()
}

// Stats returns what was counted.
func (s *Server) Stats() Stats {
	out := s.counters.stats()
	out.Outstanding, out.Cached = s.upstream.Outstanding(), s.upstream.Entries()
	return out
}

// Close stops serving, in all networks.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	all := s.served
	s.served = make(map[*served]struct{})
	s.mu.Unlock()
	var errs []error
	for n := range all {
		errs = append(errs, n.stop())
	}
	s.upstream.Close()
	return errors.Join(errs...)
}
