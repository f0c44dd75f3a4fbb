package cluster

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/ovlnet/ovl/control/cluster/member"
	"github.com/ovlnet/ovl/control/cluster/rpc"
	"github.com/ovlnet/ovl/control/store"
)

const (
	// A host that is alone but knows of others looks for them at first often,
	// in the end every rejoinLast.
	rejoinFirst = 200 * time.Millisecond
	rejoinLast  = 15 * time.Second
	// maxRejoins is how many addresses are tried in one attempt.
	maxRejoins = 8
)

// runRejoin finds the cluster again: after a restart of this host, from the
// peers on disk; and after a partition in which the gossip of both sides has
// forgotten the other, by trying a failed peer now and then.
func (c *Cluster) runRejoin() {
	pause := time.Duration(0)
	for sleep(c.ctx, pause/2+rand.N(pause/2+1)) {
		absent := c.absent()
		alone := len(c.peers.with(member.Alive)) == 0
		switch {
		case len(absent) == 0:
			pause = rejoinLast
			if alone {
				pause = time.Second // for the first rows of a node that we get to know
			}
			continue
		case !alone:
			// The gossip itself tries those that it knows.
			c.tryRejoin(absent[:1])
			pause = rejoinLast
			continue
		}
		c.tryRejoin(absent[:min(len(absent), maxRejoins)])
		pause = min(max(2*pause, rejoinFirst), rejoinLast)
	}
}

// tryRejoin joins through the first address that answers.
func (c *Cluster) tryRejoin(addrs []netip.AddrPort) {
	for _, addr := range addrs {
		ctx, cancel := context.WithTimeout(c.ctx, exchangeLimit)
		err := c.joinAt(ctx, addr)
		cancel()
		var refused *rpc.Error
		switch {
		case err == nil:
			c.log.Info("cluster found again", "addr", addr)
			return
		case c.ctx.Err() != nil:
			return
		case errors.As(err, &refused):
			c.log.Warn("a peer refuses this host", "addr", addr, "err", err)
			if refused.Code == CodeIDInUse {
				c.disowned(err)
			}
		default:
			c.log.Debug("peer not found", "addr", addr, "err", err)
		}
	}
}

// absent returns where peers that are not alive were last known, in random
// order.
func (c *Cluster) absent() []netip.AddrPort {
	members := make(map[string]bool)
	var out []netip.AddrPort
	snap := c.store.Snapshot()
	for _, m := range c.peers.with(member.Alive, member.Failed, member.Left) {
		members[m.ID] = true
		if _, ok := snap.Get(store.TableNode, m.ID); ok && m.Status == member.Failed {
			out = append(out, m.Sync())
		}
	}
	for row := range snap.All(store.TableNode) {
		var n store.Node
		if row.Key == c.local.ID || members[row.Key] || row.Decode(&n) != nil || !n.VTEP.IsValid() {
			continue
		}
		// Never met: it most likely listens where we do.
		out = append(out, netip.AddrPortFrom(n.VTEP, c.local.SyncPort))
	}
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}
