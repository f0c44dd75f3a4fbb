package cluster

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ovlnet/ovl/control/cluster/member"
	"github.com/ovlnet/ovl/control/store"
)

const (
	// spreadPause lies between two flushes of changes: what comes meanwhile
	// shares events. It is a gossip round; a first change does not wait.
	spreadPause = 50 * time.Millisecond
	// pushLimit is the longest that SpreadNow waits.
	pushLimit = 500 * time.Millisecond
	// maxPushes is how many peers are pushed to at once.
	maxPushes = 64
)

// outbox holds rows on their way to the gossip.
type outbox struct {
	wake chan struct{}

	mu   sync.Mutex
	rows []store.Row
}

func newOutbox() *outbox { return &outbox{wake: make(chan struct{}, 1)} }

func (b *outbox) put(rows []store.Row) {
	b.mu.Lock()
	b.rows = append(b.rows, rows...)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *outbox) take() []store.Row {
	b.mu.Lock()
	defer b.mu.Unlock()
	rows := b.rows
	b.rows = nil
	return rows
}

// Spread tells the others of rows that this host has written, as the store
// returned them. It does not wait; whoever misses the news is repaired by
// anti-entropy.
func (c *Cluster) Spread(_ context.Context, rows []store.Row) {
	if len(rows) > 0 {
		c.outbox.put(rows)
	}
}

func (c *Cluster) runOutbox() {
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-c.outbox.wake:
		}
		c.publish(c.outbox.take())
		if !sleep(c.ctx, spreadPause) {
			return
		}
	}
}

func (c *Cluster) publish(rows []store.Row) {
	payloads, err := messages(rows)
	if err != nil {
		c.log.Warn("rows cannot be gossiped; anti-entropy carries them", "err", err)
		return
	}
	for _, p := range payloads {
		if err := c.members.Publish(p); err != nil {
			c.log.Debug("publish failed; anti-entropy carries the rows", "err", err)
			return
		}
	}
}

// Reach is how far SpreadNow came.
type Reach struct {
	// Live is how many peers were alive.
	Live int
	// Applied is how many of them have said that their datapath carries the
	// rows.
	Applied int
}

// SpreadNow spreads rows and also pushes them to every live peer. It returns
// when each has merged them and its datapath has applied them, or else
// after 500 ms, or with ctx: a packet sent after that finds its way, except
// at hosts that Reach misses; those hear of it as with Spread.
func (c *Cluster) SpreadNow(ctx context.Context, rows []store.Row) Reach {
	if len(rows) == 0 {
		return Reach{}
	}
	c.Spread(ctx, rows)
	ctx, cancel := context.WithTimeout(ctx, pushLimit)
	defer cancel()
	body, err := rowsBatch(rows, true)
	if err != nil {
		c.log.Debug("too many rows to push; the hint brings them", "rows", len(rows), "err", err)
		return Reach{Live: len(c.peers.with(member.Alive))}
	}
	return c.toAll(ctx, func(ctx context.Context, m member.Member) error {
		_, err := c.sendPush(ctx, m.ID, m.Sync(), body)
		return err
	})
}

// pushMissing brings every live peer all that it lacks, for a host that is
// about to leave.
func (c *Cluster) pushMissing(ctx context.Context) Reach {
	c.publish(c.outbox.take())
	return c.toAll(ctx, func(ctx context.Context, m member.Member) error {
		_, err := c.exchange(ctx, m.ID, m.Sync())
		return err
	})
}

// toAll runs f for every live peer, at most maxPushes at once.
func (c *Cluster) toAll(ctx context.Context, f func(context.Context, member.Member) error) Reach {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	live := c.peers.with(member.Alive)
	var mu sync.Mutex
	reach := Reach{Live: len(live)}
	var group errgroup.Group
	group.SetLimit(maxPushes)
	for _, m := range live {
		group.Go(func() error {
			if err := f(ctx, m); err != nil {
				c.log.Debug("peer was not reached at once", "peer", m.Name, "err", fmt.Errorf("push: %w", err))
				return nil // best effort: anti-entropy repairs it
			}
			mu.Lock()
			reach.Applied++
			mu.Unlock()
			return nil
		})
	}
	_ = group.Wait() // no f returns an error
	return reach
}
