package cluster

import (
	"errors"
	"math/rand/v2"
	"sync"

	"github.com/ovlnet/ovl/control/cluster/member"
	"github.com/ovlnet/ovl/control/store"
)

// runEvents takes what the gossip tells, until it is closed. It writes nothing
// to disk itself: a disk that is slow must not hide a failure.
func (c *Cluster) runEvents() {
	for e := range c.members.Events() {
		switch e.Kind {
		case member.Message:
			c.takeMessage(e.Payload)
		case member.Clash:
			c.checkClash(e)
		default:
			if e.Member.ID != c.local.ID {
				c.takeMember(e.Member)
			}
		}
	}
}

func (c *Cluster) takeMember(m member.Member) {
	returned := c.peers.see(m)
	switch {
	case returned:
		c.log.Info("peer is alive", "peer", m.Name, "node", m.ID, "addr", m.Addr)
		if c.greets() {
			c.syncer.greet(m.ID)
		}
	case m.Status != member.Alive:
		c.log.Info("peer is gone", "peer", m.Name, "node", m.ID, "status", m.Status)
		c.syncer.forget(m.ID)
	}
	c.opt.OnMembers()
	c.checkNames()
}

// greeters is how many hosts of a large cluster compare tables at once with
// one that came; the others hear of it by event or in their next rounds.
const greeters = 8

// greets rolls the dice whether this host is one of them.
func (c *Cluster) greets() bool {
	n := len(c.peers.with(member.Alive))
	return n <= greeters || rand.N(n) < greeters
}

func (c *Cluster) takeMessage(payload []byte) {
	m, err := decodeMessage(payload)
	if err != nil {
		c.log.Warn("gossip cannot be read", "err", err)
		return
	}
	if h := m.Hint; h != nil && h.Origin != c.local.ID && h.Seq > c.store.Vector()[h.Origin].Seq {
		c.syncer.want(h.Origin, h.Mark)
	}
	var news []store.Row
	seen := c.store.Vector()
	for _, row := range m.Rows {
		if row.Stamp.Origin != c.local.ID && !seen.Has(row.Stamp) {
			news = append(news, row)
		}
	}
	if lost := c.inbox.put(news); lost > 0 {
		c.log.Debug("rows of events dropped: the disk is slow", "rows", lost)
	}
}

// maxInbox is how many rows of events wait for the disk before further ones
// are left to anti-entropy.
const maxInbox = 8192

// inbox holds rows of events on their way to the store, so that those of a
// burst share one write.
type inbox struct {
	wake chan struct{}

	mu   sync.Mutex
	rows []store.Row
	busy bool // rows that were taken are not merged yet
}

func newInbox() *inbox { return &inbox{wake: make(chan struct{}, 1)} }

func (b *inbox) put(rows []store.Row) (lost int) {
	if len(rows) == 0 {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.rows)+len(rows) > maxInbox {
		return len(rows)
	}
	b.rows = append(b.rows, rows...)
	select {
	case b.wake <- struct{}{}:
	default:
	}
	return 0
}

func (b *inbox) take() []store.Row {
	b.mu.Lock()
	defer b.mu.Unlock()
	rows := b.rows
	b.rows, b.busy = nil, len(rows) > 0
	return rows
}

func (b *inbox) done() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.busy = false
}

func (b *inbox) empty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.rows) == 0 && !b.busy
}

// runInbox merges what events brought.
func (c *Cluster) runInbox() {
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-c.inbox.wake:
		}
		rows := c.inbox.take()
		c.mergeEvents(rows)
		c.inbox.done()
	}
}

// mergeEvents merges rows of many senders: a malformed one must not keep the
// others out.
func (c *Cluster) mergeEvents(rows []store.Row) {
	if len(rows) == 0 {
		return
	}
	_, err := c.store.Merge(rows)
	if errors.Is(err, store.ErrMalformed) && len(rows) > 1 {
		for _, row := range rows {
			c.mergeEvents([]store.Row{row})
		}
		return
	}
	if err != nil {
		c.log.Warn("rows of an event were not merged", "err", err)
		return
	}
	c.askForGaps(rows)
}

// askForGaps wants what lies between what was seen and rows that came out of
// turn; a row that follows directly leaves no gap.
func (c *Cluster) askForGaps(rows []store.Row) {
	seen := c.store.Vector()
	for _, row := range rows {
		if s := row.Stamp; s.Origin != c.local.ID && !seen.Has(s) {
			c.syncer.want(s.Origin, store.Mark{Incarnation: s.Incarnation, Seq: s.Seq})
		}
	}
}
