// Package upstream asks the host's resolvers for what is outside the cluster.
//
//	Ask ──▶ cache ──▶ one flight for each question ──▶ resolver after resolver
//	          ▲                                          UDP, and TCP if it was cut
//	          └────────────── the reply ◀────────────────┘
//
// Each question has a socket, and so a port, and an ID of its own; a reply that
// does not repeat the question is not taken.
package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/miekg/dns"
	"golang.org/x/sync/singleflight"
)

// Errors of Ask.
var (
	// ErrBusy: too many questions are being asked already.
	ErrBusy = errors.New("too many questions are outstanding")
	// ErrFailed: no resolver had an answer.
	ErrFailed = errors.New("no resolver answered")
)

// Options are what a Client works with.
type Options struct {
	// Resolvers returns those to ask, in their order; the first three are. It
	// may be called from any goroutine.
	Resolvers func() []netip.AddrPort
	// Timeout is how long a question is asked, in all; 2.5 s by default.
	Timeout time.Duration
	// Try is how long one resolver is waited for at a time; 800 ms by default.
	Try time.Duration
	// Flights is how many questions are asked at a time; 512 by default.
	Flights int
	// Entries is how many replies are kept; 4096 by default. None is larger than
	// maxEntry.
	Entries int
	// Now is time.Now by default.
	Now func() time.Time
}

// Question is what is asked. The class is IN.
type Question struct {
	// Name is in lower case and ends in a dot.
	Name string
	Type uint16
	// DO asks for DNSSEC records (RFC 4035 section 3.2.1), CD for what does not
	// pass its checks as well (section 3.2.2).
	DO, CD bool
}

// Client asks. Its methods may be called from any goroutine.
type Client struct {
	opts    Options
	cache   *lru.Cache[Question, *entry]
	flights singleflight.Group
	// slots has a value for each question that is being asked.
	slots chan struct{}
	quiet quiet

	ctx    context.Context
	cancel context.CancelFunc
	closed sync.Once
}

// New returns a Client, which is to be closed.
func New(opts Options) *Client {
	if opts.Resolvers == nil {
		opts.Resolvers = func() []netip.AddrPort { return nil }
	}
	if opts.Timeout <= 0 {
		opts.Timeout = 2500 * time.Millisecond
	}
	if opts.Try <= 0 {
		opts.Try = 800 * time.Millisecond
	}
	if opts.Flights <= 0 {
		opts.Flights = 512
	}
	if opts.Entries <= 0 {
		opts.Entries = 4096
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	cache, err := lru.New[Question, *entry](opts.Entries)
	if err != nil {
		panic(err) // of a size that is not positive
	}
	c := &Client{opts: opts, cache: cache, slots: make(chan struct{}, opts.Flights)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Close ends what is being asked, and waits for that.
func (c *Client) Close() {
	c.cancel()
	c.closed.Do(func() {
		for range cap(c.slots) {
			c.slots <- struct{}{}
		}
	})
}

// Outstanding returns how many questions are being asked.
func (c *Client) Outstanding() int { return len(c.slots) }

// Entries returns how many replies are kept.
func (c *Client) Entries() int { return c.cache.Len() }

// Cached returns the reply to q, or ErrFailed, if it is known; false if not. The
// caller may change the message.
func (c *Client) Cached(q Question) (*dns.Msg, error, bool) { //nolint:revive // whether it is known comes last
	now := c.opts.Now()
	e := c.kept(q, now)
	if e == nil {
		return nil, nil, false
	}
	m, err := e.message(now)
	return m, err, true
}

// kept returns what is known of q; nil if nothing.
func (c *Client) kept(q Question, now time.Time) *entry {
	if e, known := c.cache.Get(q); known && now.Before(e.until) {
		return e
	}
	return nil
}

// Ask returns the reply to q, with the TTLs that are left of it: NOERROR or
// NXDOMAIN, without EDNS. The caller may change it.
func (c *Client) Ask(ctx context.Context, q Question) (*dns.Msg, error) {
	if m, err, known := c.Cached(q); known {
		return m, err
	}
	key := fmt.Sprint(q.Type, q.DO, q.CD, q.Name)
	flight := c.flights.DoChan(key, func() (any, error) { return c.fly(q) })
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case landed := <-flight:
		if landed.Err != nil {
			return nil, landed.Err
		}
		return landed.Val.(*entry).message(c.opts.Now())
	}
}

// fly asks the resolvers and keeps what they say, unless that is known by now: of two
// that ask together, one may be so late that the other's flight has landed.
func (c *Client) fly(q Question) (*entry, error) {
	if e := c.kept(q, c.opts.Now()); e != nil {
		return e, nil
	}
	select {
	case c.slots <- struct{}{}:
	default:
		return nil, ErrBusy
	}
	defer func() { <-c.slots }()
	ctx, cancel := context.WithTimeout(c.ctx, c.opts.Timeout)
	defer cancel()
	m, err := c.resolve(ctx, q)
	switch {
	case c.ctx.Err() != nil:
		return nil, c.ctx.Err()
	case err != nil:
		e := &entry{until: c.opts.Now().Add(keepFailure)}
		c.cache.Add(q, e)
		return e, nil
	}
	e, keep, err := newEntry(q, m, c.opts.Now())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFailed, err)
	}
	if keep {
		c.cache.Add(q, e)
	}
	return e, nil
}
