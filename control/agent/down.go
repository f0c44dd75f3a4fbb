package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/config"
	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/link"
)

// goodbyeTime bounds what a leaver waits for its peers.
const goodbyeTime = 5 * time.Second

// Leave ends this host's membership and removes all of it from the kernel:
//
//	hand over  another node becomes the authority of this node's networks
//	withdraw   this node's rows are deleted, its datapath carries nothing
//	goodbye    the peers have seen that, and know that the node left
//	remove     devices, resolv.conf of endpoints, programs, maps, gateways, state
//
// It refuses nothing: what goes wrong is passed over and reported, since a host
// that is half out is of no use to anybody. Force adds nothing to that.
func (a *Agent) Leave(ctx context.Context, _ api.LeaveRequest) (api.LeaveReport, error) {
	report := api.LeaveReport{Problems: []string{}}
	problem := func(what string, err error) {
		if err != nil {
			a.log.Warn("leave", "step", what, "err", err)
			report.Problems = append(report.Problems, fmt.Sprintf("%s: %v", what, err))
		}
	}
	if !a.gate.shut() {
		return report, api.Errorf(api.CodeInUse, "the agent is stopping already")
	}
	// A caller that hangs up does not stop it half-way.
	ctx = context.WithoutCancel(ctx)
	a.dropUnfinished()
	problem("hand over addresses", a.handOver(ctx))
	endpoints := a.ownEndpoints()
	problem("withdraw endpoints", a.withdrawSelf(ctx))
	problem("leave the cluster", a.sayGoodbye(ctx))
	problem("stop", a.close())
	problem("put resolv.conf back", a.resolv.clear())
	problem("remove the datapath", a.host.RemoveDatapath(places(a.cfg)))
	// An agent that may not leaves its namespaces to its caller: RemoveNamespaces.
	if err := removeGateways(a.host, a.cfg.Instance, nil); !errors.Is(err, ErrEnter) {
		problem("remove gateways", err)
	}
	for _, e := range endpoints {
		if e.Kind == datapath.Veth {
			problem("remove endpoint "+e.Name, a.host.RemoveDevice(e.Device))
		}
	}
	problem("remove state", removeState(a.cfg))
	close(a.left)
	return report, nil
}

// withdrawSelf deletes this node's rows, its endpoints' first (see
// store.Tx.Delete) and what is said of these as backends, and waits for its own
// datapath.
func (a *Agent) withdrawSelf(ctx context.Context) error {
	_, version, err := a.update(func(tx *store.Tx) error {
		if err := deleteBackends(tx, a.tables(), a.ownEndpoints()); err != nil {
			return err
		}
		return tx.Delete(store.TableNode, a.self.ID)
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, applyTime)
	defer cancel()
	return a.reconciler.Wait(ctx, version)
}

func (a *Agent) sayGoodbye(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, goodbyeTime)
	defer cancel()
	return a.cluster.Leave(ctx)
}

// RemoveNamespaces is what `ovlctl down` does after an agent has left: it removes
// the namespaces of gateways that one before it has made, and it could not.
func RemoveNamespaces(cfg config.Config) error {
	names, err := link.Named()
	errs := []error{err}
	for _, name := range names {
		if _, ours := gatewayVNI(cfg.Instance, name); ours {
			errs = append(errs, link.RemoveNamed(name))
		}
	}
	return errors.Join(errs...)
}

// Purge is what `ovlctl down` does where no agent runs: it removes what one
// has left on this host. The cluster sees the node as failed. It refuses while
// an agent runs.
func Purge(_ context.Context, cfg config.Config) error { return purge(cfg, Linux{}) }

func purge(cfg config.Config, host Host) (err error) {
	lock, err := config.Acquire(cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.RemoveRunDir(), lock.Release()) }()
	letGo, err := host.Hold()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, letGo()) }()
	// One thing that cannot be removed does not save the others.
	errs := []error{
		newResolvFiles(cfg, host, slog.Default()).clear(), host.RemoveDatapath(places(cfg)), removeGateways(host, cfg.Instance, nil),
	}
	devices, err := host.Devices(devicePrefix)
	errs = append(errs, err)
	for _, d := range devices {
		if isDeviceName(d) {
			errs = append(errs, host.RemoveDevice(d))
		}
	}
	return errors.Join(append(errs, removeState(cfg))...)
}

// removeState removes the data folder.
func removeState(cfg config.Config) error {
	if err := os.RemoveAll(cfg.DataDir()); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return nil
}
