package agent

import (
	"cmp"
	"context"
	"time"

	"github.com/ovlnet/ovl/control/cluster"
	"github.com/ovlnet/ovl/control/cluster/member"
	"github.com/ovlnet/ovl/control/cluster/rpc"
	"github.com/ovlnet/ovl/control/store"
)

const (
	// upkeepInterval is how often upkeep looks at everything, changed or not.
	upkeepInterval = time.Second
	// joinTime bounds the first join.
	joinTime = 10 * time.Second
	// meetTime is how long after its start a host takes nodes for alive that it
	// has not heard of yet: it finds them again, or they have failed while it
	// was away.
	meetTime = 10 * time.Second
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
		OnMembers:  a.membersChanged,
		OnDisowned: a.disown,
		Handlers:   a.handlers(),
		Interval:   a.hooks.interval,
		Logger:     a.log,
		Wire:       a.hooks.Wire,
	})
	if err != nil {
		return err
	}
	a.view.listen(a.failedNodes)
	a.membersChanged()
	a.goDo(a.waitForNodes)
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

// membersChanged brings what the gossip says of nodes into the datapath.
func (a *Agent) membersChanged() {
	a.view.membersChanged()
	a.reconciler.Again()
}

// failedNodes returns those of nodes that are known not to be alive.
func (a *Agent) failedNodes(nodes map[string]store.Node) map[string]bool {
	statuses := a.cluster.Statuses()
	waited := time.Since(a.started) > a.meetTime()
	failed := make(map[string]bool)
	for id := range nodes {
		status, met := statuses[id]
		if id != a.self.ID && (met && status != member.Alive || !met && waited) {
			failed[id] = true
		}
	}
	return failed
}

func (a *Agent) meetTime() time.Duration { return cmp.Or(a.hooks.meetTime, meetTime) }

// waitForNodes looks at the members again when those have failed that were not
// heard of.
func (a *Agent) waitForNodes() {
	timer := time.NewTimer(time.Until(a.started.Add(a.meetTime())) + time.Millisecond)
	defer timer.Stop()
	select {
	case <-a.ctx.Done():
	case <-timer.C:
		a.membersChanged()
	}
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

// settle waits until this host's datapath carries what is in the store now, and
// then spreads rows.
func (a *Agent) settle(ctx context.Context, rows []store.Row) {
	wait, cancel := context.WithTimeout(ctx, applyTime)
	defer cancel()
	if err := a.applied(wait); err != nil {
		a.log.Warn("the datapath does not follow yet", "err", err)
	}
	a.spread(ctx, rows)
}

// upkeep repairs what changes of the tables leave to do for this node as an
// authority: VNIs that two networks have, at once, and now and then leases
// without an endpoint, and rows of services that lead nowhere. Now and then it also
// looks at this host's gateways.
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
			if err := a.reviewServices(ctx); err != nil {
				a.log.Error("services not reviewed", "err", err)
			}
			a.reviewGateways(ctx)
			a.followGateways()
		}
	}
}
