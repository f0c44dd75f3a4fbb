package agent

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/ovlnet/ovl/control/config"
	"github.com/ovlnet/ovl/control/ipam"
	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/datapath"
)

// open brings everything up in order, and reports whether that founded a
// cluster. After an error nothing runs, and what was not there before is gone.
func (a *Agent) open(ctx context.Context) (founded bool, err error) {
	_, statErr := os.Stat(a.cfg.StateFile())
	fresh := errors.Is(statErr, os.ErrNotExist)
	defer func() {
		if err == nil {
			return
		}
		err = errors.Join(err, a.close())
		if fresh {
			err = errors.Join(err, a.host.RemoveDatapath(places(a.cfg)), removeGateways(a.host, a.cfg.Instance, nil), removeState(a.cfg))
		}
	}()
	if a.store, err = store.Open(a.cfg.StateFile(), store.Options{Owner: store.OwnerOf, Logger: a.log}); err != nil {
		return false, err
	}
	a.view.store = a.store
	a.hadRow = make(map[string]bool)
	for id := range a.tables().Endpoints {
		a.hadRow[id] = true
	}
	for id := range a.tables().Services {
		a.hadRow[id] = true
	}
	admission, err := admit(a.store, a.cfg)
	if err != nil {
		return false, err
	}
	a.secret = admission.secret
	if err := a.checkFamily(); err != nil {
		return false, err
	}
	if err := a.describeSelf(); err != nil {
		return false, err
	}
	removed, err := a.host.WatchRemovals(a.ctx)
	if err != nil {
		return false, err
	}
	if err := a.reviewDevices(); err != nil {
		return false, err
	}
	a.openGateways(ctx)
	if err := a.openDatapath(ctx); err != nil {
		return false, err
	}
	if err := a.openCluster(ctx, admission); err != nil {
		return false, err
	}
	if err := admission.keep(a.store); err != nil {
		return false, err
	}
	a.openNames()
	a.reviewAllResolvConf()
	a.goDo(func() { a.watch(a.ctx, removed) })
	a.goDo(func() { a.upkeep(a.ctx) })
	a.goDo(func() { a.checkBackends(a.ctx) })
	a.goDo(func() { a.sizeSegments(a.ctx) })
	return admission.founds, nil
}

// checkFamily refuses an underlay of the family that no other host of this
// one's cluster has, before any of them is told of it.
func (a *Agent) checkFamily() error {
	var other *store.Node
	for id, n := range a.tables().Nodes {
		switch {
		case id == a.store.NodeID() || !n.VTEP.IsValid():
		case n.VTEP.Is4() == a.underlay.Addr.Is4():
			return nil
		default:
			other = &n
		}
	}
	if other == nil {
		return nil
	}
	return fmt.Errorf("underlay: node %s of this host's cluster is at %s, this host would be at %s: a cluster has one family, name another address with --advertise",
		other.Name, other.VTEP, a.underlay.Addr)
}

// describeSelf writes the row by which the peers know this node. The first
// State needs it, and so it comes before the datapath, whose kind is then as it
// was in the last row until openDatapath knows better.
func (a *Agent) describeSelf() error {
	kind := datapath.Kernel
	if before, ok := a.tables().Nodes[a.store.NodeID()]; ok {
		kind = before.Datapath
	}
	a.self = store.Node{
		ID:        a.store.NodeID(),
		Name:      a.cfg.Name,
		VTEP:      a.underlay.Addr,
		VXLANPort: a.cfg.VXLANPort,
		MTU:       a.underlay.MTU,
		Datapath:  kind,
		Version:   a.hooks.Version,
		Started:   a.now(),
	}
	return a.putSelf()
}

func (a *Agent) putSelf() error {
	if _, err := a.store.Put(store.TableNode, a.self.ID, a.self); err != nil {
		return fmt.Errorf("row of this node: %w", err)
	}
	return nil
}

// openDatapath brings up the datapath with the rows that are on disk.
func (a *Agent) openDatapath(ctx context.Context) error {
	a.local = reconcile.Local{Node: a.self.ID, VTEP: a.self.VTEP, Port: a.self.VXLANPort, MaxMTU: a.maxMTU}
	a.zones.reader.Local = a.local
	first, _ := reconcile.Build(a.tables(), a.local)
	var err error
	if a.holder, err = a.host.OpenHolder(ctx, places(a.cfg).Holder, a.log); err != nil {
		a.log.Warn("no holder of descriptors: while the agent restarts, queries for names are lost, and packets of the userspace datapath", "err", err)
		a.holder = nil // and not an interface of nothing
	}
	a.datapath, err = a.host.OpenDatapath(ctx, DatapathOptions{
		Mode:     a.cfg.Datapath,
		Underlay: a.underlay,
		Port:     a.cfg.VXLANPort,
		First:    a.gateways.ports.Load().In(first),
		Places:   places(a.cfg),
		Holder:   a.holder,
		Logger:   a.log,
	})
	if err != nil {
		return err
	}
	if a.self.Datapath != a.datapath.Kind {
		a.self.Datapath = a.datapath.Kind
		if err := a.putSelf(); err != nil {
			return err
		}
	}
	changes, unsubscribe := a.store.Subscribe()
	if a.addresses, err = ipam.Open(a.store, ipam.Options{}); err != nil {
		return err
	}
	a.reconciler = reconcile.New(reconcile.Options{
		Datapath: a.datapath,
		Tables:   a.tables,
		Changes:  changes,
		Local:    a.local,
		Gateways: a.gateways.ports.Load,
		Logger:   a.log,
	})
	a.goDo(func() {
		defer unsubscribe()
		a.reconciler.Run(a.ctx)
	})
	return a.firstApply(ctx)
}

// places are the datapath's in an instance.
func places(c config.Config) DatapathPlaces {
	return DatapathPlaces{BPF: c.BPFDir(), Holder: c.HolderSocket(), Flows: c.FlowsFile(), Counters: c.CountersDir()}
}

// firstApply waits until the datapath carries what is on disk. An agent whose
// datapath cannot work, for want of a privilege or because another has its UDP
// port, does not come up; later failures are the reconciler's to repair.
func (a *Agent) firstApply(ctx context.Context) error {
	if err := a.applied(ctx); err != nil {
		return fmt.Errorf("datapath: %w", err)
	}
	return nil
}
