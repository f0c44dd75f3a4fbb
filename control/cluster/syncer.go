package cluster

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/ovlnet/ovl/control/cluster/member"
	"github.com/ovlnet/ovl/control/store"
)

const (
	// exchangeLimit bounds one exchange; one that carries a large state is
	// continued by the next where this one stopped.
	exchangeLimit = 30 * time.Second
	// maxExchanges is how many exchanges this host has under way at once, not
	// counting those that others ask of it.
	maxExchanges = 8
	// maxGreeted is how many of the peers that came (back) together are
	// asked at once. When two halves of a large cluster meet again, three
	// each are enough for everything to spread, and all would be a storm.
	maxGreeted = 3
	// retryWanted is when a hint is followed up again after a failure.
	retryWanted = time.Second
)

// syncer decides with whom tables are compared next.
type syncer struct {
	kick chan struct{} // has an element when there is something to do at once

	mu      sync.Mutex
	wanted  hints           // written elsewhere, not seen here
	greets  map[string]bool // peers that have come (back)
	running map[string]bool // exchanges under way; true: once more after it
	slots   chan struct{}
	round   []string // the rest of the shuffled round of anti-entropy
}

func newSyncer() *syncer {
	return &syncer{
		kick:    make(chan struct{}, 1),
		wanted:  newHints(),
		greets:  make(map[string]bool),
		running: make(map[string]bool),
		slots:   make(chan struct{}, maxExchanges),
	}
}

// want notes that an origin has written up to m.
func (s *syncer) want(origin string, m store.Mark) {
	s.mu.Lock()
	s.wanted.raise(origin, m)
	s.mu.Unlock()
	s.wake()
}

// greet notes that a peer should be compared with soon.
func (s *syncer) greet(id string) {
	s.mu.Lock()
	s.greets[id] = true
	s.mu.Unlock()
	s.wake()
}

// forget drops what was planned with a peer that is gone.
func (s *syncer) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.greets, id)
}

func (s *syncer) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// pending reports whether hints or newcomers wait, once those that v covers
// are done with.
func (s *syncer) pending(v store.Vector) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for origin, m := range s.wanted {
		if v[origin].Seq >= m.Seq {
			delete(s.wanted, origin)
		}
	}
	return len(s.wanted) > 0 || len(s.greets) > 0
}

// settle drops the hint of an origin that nobody can answer any more.
func (s *syncer) settle(origin string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.wanted, origin)
}

// announced returns up to what an origin is said to have written.
func (s *syncer) announced(origin string) store.Mark {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wanted[origin]
}

// answered drops the hint of an origin that was asked itself after that
// announcement: what it did not have does not exist.
func (s *syncer) answered(origin string, announced store.Mark) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wanted[origin].Seq <= announced.Seq {
		delete(s.wanted, origin)
	}
}

// runSyncer compares tables: with a random live peer every Interval, and
// at once, but a moment gathered, on a hint and with peers that come back.
func (c *Cluster) runSyncer() {
	next := time.NewTimer(c.interval())
	defer next.Stop()
	retry := time.NewTimer(retryWanted)
	defer retry.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-next.C:
			next.Reset(c.interval())
			if id, ok := c.nextInRound(); ok {
				c.startExchange(id)
			}
			c.collect()
			c.keepPeers()
		case <-retry.C:
			c.startUrgent()
		case <-c.syncer.kick:
			if !sleep(c.ctx, c.gather()) {
				return
			}
			c.startUrgent()
		}
		retry.Reset(retryWanted)
	}
}

// interval is the time to the next round: within a third of the mean, so that
// hosts that started together do not stay in step.
func (c *Cluster) interval() time.Duration {
	return c.opt.Interval*2/3 + rand.N(c.opt.Interval*2/3)
}

// gather is how long to wait for more of the same: a few messages overtake each
// other, and in a large cluster not everyone should ask one host at once.
func (c *Cluster) gather() time.Duration {
	n := time.Duration(len(c.peers.with(member.Alive)))
	return 20*time.Millisecond + rand.N(1+min(n*2*time.Millisecond, 500*time.Millisecond))
}

// nextInRound returns each live peer once, in random order, then begins anew: random, and no
// peer waits longer than a round.
func (c *Cluster) nextInRound() (string, bool) {
	s := c.syncer
	s.mu.Lock()
	defer s.mu.Unlock()
	for fresh := false; ; fresh = true {
		for len(s.round) > 0 {
			id := s.round[0]
			s.round = s.round[1:]
			if m, ok := c.peers.get(id); ok && m.Status == member.Alive {
				return id, true
			}
		}
		if fresh {
			return "", false
		}
		for _, m := range c.peers.with(member.Alive) {
			s.round = append(s.round, m.ID)
		}
		rand.Shuffle(len(s.round), func(i, j int) { s.round[i], s.round[j] = s.round[j], s.round[i] })
	}
}

// startUrgent begins the exchanges that hints and newcomers ask for.
func (c *Cluster) startUrgent() {
	s := c.syncer
	s.pending(c.store.Vector())
	s.mu.Lock()
	targets := make(map[string]bool)
	for id := range s.greets { // in random order
		if len(targets) < maxGreeted {
			targets[id] = true
		}
	}
	clear(s.greets)
	origins := make([]string, 0, len(s.wanted))
	for origin := range s.wanted {
		origins = append(origins, origin)
	}
	s.mu.Unlock()
	for _, origin := range origins {
		if m, ok := c.peers.get(origin); ok && m.Status == member.Alive {
			targets[origin] = true
			continue
		}
		// The origin is gone: someone else may have it, and if not, whoever
		// has it will say so in a later round.
		s.settle(origin)
		if id, ok := c.nextInRound(); ok {
			targets[id] = true
		}
	}
	for id := range targets {
		c.startExchange(id)
	}
}

// startExchange compares tables with a peer in the background. One that is
// under way is followed by another: what is asked for may be newer than it.
func (c *Cluster) startExchange(id string) {
	s := c.syncer
	s.mu.Lock()
	_, under := s.running[id]
	s.running[id] = under
	s.mu.Unlock()
	if under {
		return
	}
	c.goDo(func() {
		for again := true; again; {
			select {
			case s.slots <- struct{}{}:
			case <-c.ctx.Done():
				return
			}
			c.exchangeWith(id)
			<-s.slots
			s.mu.Lock()
			if again = s.running[id] && c.ctx.Err() == nil; again {
				s.running[id] = false
			} else {
				delete(s.running, id)
			}
			s.mu.Unlock()
		}
	})
}

func (c *Cluster) exchangeWith(id string) {
	m, ok := c.peers.get(id)
	if !ok || m.Status != member.Alive {
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, exchangeLimit)
	defer cancel()
	announced := c.syncer.announced(id)
	switch _, err := c.exchange(ctx, id, m.Sync()); {
	case err == nil:
		c.syncer.answered(id, announced)
	case c.ctx.Err() == nil:
		c.log.Debug("exchange failed", "peer", m.Name, "err", err)
	}
}

// collect forgets tombstones that everyone has seen.
func (c *Cluster) collect() {
	if c.store.Snapshot().Tombstones() == 0 {
		return
	}
	if n, err := c.store.Collect(); err != nil {
		c.log.Warn("tombstones could not be collected", "err", err)
	} else if n > 0 {
		c.log.Debug("tombstones collected", "rows", n)
	}
}

// sleep waits, and is false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
