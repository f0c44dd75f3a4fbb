package agent

import (
	"cmp"
	"context"
	"time"

	"github.com/ovlnet/ovl/control/cluster"
	"github.com/ovlnet/ovl/control/cluster/rpc"
	"github.com/ovlnet/ovl/control/store"
)

const (
	// upkeepInterval is how often upkeep looks at everything, changed or not.
	upkeepInterval = time.Second
	// joinTime bounds the first join.
	joinTime = 10 * time.Second
)

// openCluster makes this node a member. A first join has to reach a host of
// the cluster; a member that comes back goes on without, and keeps looking.
func (a *Agent) openCluster(ctx context.Context, m admission) error {
	var err error
	a.cluster, err = cluster.Start(ctx, cluster.Options{
		Store:      a.store,
		Secret:     m.secret,
		Name:       a.cfg.Name,
		Addr:       a.underlay.Addr,
		GossipPort: a.cfg.GossipPort,
		SyncPort:   a.cfg.SyncPort,
		Applied:    a.applied,
		OnDisowned: a.disown,
		Handlers:   a.handlers(),
		Interval:   a.hooks.interval,
		Logger:     a.log,
		Wire:       a.hooks.Wire,
	})
	if err != nil {
		return err
	}
	// Taking over tells the peers, so there has to be a cluster first.
	a.cluster.Handle(callTakeOver, handler(a.serveTakeOver))
	if m.joins {
		return a.join(ctx)
	}
	if len(a.cfg.Join) > 0 {
		a.goDo(func() {
			err := a.join(a.ctx)
			if rpc.IsCode(err, cluster.CodeIDInUse) {
				a.disown(err)
			} else if err != nil {
				a.log.Warn("the cluster is looked for at the addresses on disk alone", "err", err)
			}
		})
	}
	return nil
}

// disown ends Run.
func (a *Agent) disown(err error) {
	select {
	case a.disowned <- err:
	default: // it was told before
	}
}

func (a *Agent) join(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	return a.cluster.Join(ctx, a.cfg.JoinAddresses())
}

// applied returns when the datapath carries what is in the store now.
func (a *Agent) applied(ctx context.Context) error {
	return a.reconciler.Wait(ctx, a.store.Snapshot().Version())
}

// spread brings rows to the peers and, as far as they answer in time, into
// their datapaths.
func (a *Agent) spread(ctx context.Context, rows []store.Row) {
	reach := a.cluster.SpreadNow(ctx, rows)
	if reach.Applied < reach.Live {
		a.log.Warn("not every live peer has answered in time, they follow", "live", reach.Live, "applied", reach.Applied)
	}
}

// upkeep repairs what changes of the tables leave to do for this node as an
// authority: VNIs that two networks have, at once, and now and then leases
// without an endpoint.
func (a *Agent) upkeep(ctx context.Context) {
	changes, unsubscribe := a.store.Subscribe()
	defer unsubscribe()
	tick := time.NewTicker(cmp.Or(a.hooks.interval, upkeepInterval))
	defer tick.Stop()
	for {
		if err := a.renumber(ctx); err != nil {
			a.log.Error("networks not renumbered", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-changes:
		case <-tick.C:
			if err := a.reviewLeases(); err != nil {
				a.log.Error("leases not reviewed", "err", err)
			}
		}
	}
}
