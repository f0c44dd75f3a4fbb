package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/link"
)

const (
	// undoTime bounds taking back what a failed attach has done, whose own
	// context may be over.
	undoTime = 5 * time.Second
	// applyTime bounds the wait for the datapath.
	applyTime = 5 * time.Second
)

// Attach makes an endpoint, all or nothing:
//
//	plan      everything is looked at, nothing is touched
//	addresses the network's authority writes the lease to its disk
//	gateway   the network has one on this host
//	device    the veth pair, if it is not a TAP
//	row       the endpoint is on this host's disk
//	apply     the datapath carries it
//	resolv    its namespace's resolv.conf says who answers there
//	spread    the live peers have it in their datapaths, best effort
//
// A step that fails takes back those before it. After a crash the next start
// finds the rest: a device without a row is removed, and the authority frees
// a lease without a row. So that is where a caller comes in who configures the
// interface himself (finish.go): between device and row.
func (a *Agent) Attach(ctx context.Context, r api.AttachRequest) (api.Endpoint, error) {
	done, err := a.gate.enter()
	if err != nil {
		return api.Endpoint{}, err
	}
	defer done()
	at, err := a.plan(r)
	if err != nil {
		return api.Endpoint{}, err
	}
	waits := false
	defer func() {
		if !waits {
			at.close()
		}
	}()
	if err := at.run(ctx, attachStep{"addresses", at.takeAddresses}, attachStep{"gateway", at.holdGateway}, attachStep{"device", at.makeDevice}); err != nil {
		return api.Endpoint{}, err
	}
	if at.byCaller {
		waits = true
		a.awaitFinish(at)
		return at.object(), nil
	}
	return at.finish(ctx)
}

// finish is Attach from the row on.
func (at *attachment) finish(ctx context.Context) (api.Endpoint, error) {
	err := at.run(ctx, attachStep{"row", at.writeRow}, attachStep{"apply", at.apply}, attachStep{"resolv", at.writeResolvConf})
	if err != nil {
		return api.Endpoint{}, err
	}
	a := at.agent
	a.spread(ctx, at.rows)
	a.log.Info("endpoint attached", "endpoint", at.row.Name, "network", at.network.Name, "addrs", at.row.Addrs, "device", at.row.Device)
	return at.object(), nil
}

type attachStep struct {
	name string
	do   func(context.Context) error
}

// run does steps. If one fails, all that were done are taken back.
func (at *attachment) run(ctx context.Context, steps ...attachStep) error {
	for _, step := range steps {
		if err := step.do(ctx); err != nil {
			at.rollback()
			return err
		}
		if after := at.agent.hooks.afterStep; after != nil {
			after("attach " + step.name)
		}
	}
	return nil
}

func (at *attachment) object() api.Endpoint {
	return endpointObject(at.agent.tables(), at.row, api.PeerAlive)
}

// attachment is an endpoint in the making.
type attachment struct {
	agent   *Agent
	wanted  []netip.Addr
	network store.Network
	// row is the endpoint as far as it is known.
	row store.Endpoint
	// services are the IDs of those that it becomes a backend of.
	services []string
	// leasedUntil is when the row has to be written: an authority that still
	// has none after leaseGrace gives the addresses to somebody else.
	leasedUntil time.Time
	// namespace is held open until the end, nil for a TAP.
	namespace Namespace
	// byCaller: whoever asked for it configures its interface.
	byCaller bool
	// taken is closed by the one who goes on with it then.
	taken   chan struct{}
	rows    []store.Row
	version uint64
	undo    []func(context.Context) error
	// release and unclaim let go of the gateway and of what was claimed.
	release, unclaim func()
}

func (at *attachment) takeAddresses(ctx context.Context) error {
	// A lease whose answer was lost is freed by its authority: it never gets
	// a row.
	at.leasedUntil = time.Now().Add(leaseGrace / 2)
	addrs, err := at.agent.takeAddresses(ctx, at.network, at.row.ID, at.row.Name, at.wanted)
	if err != nil {
		return err
	}
	at.row.Addrs = addrs
	at.onUndo(func(ctx context.Context) error { return at.agent.releaseAddresses(ctx, at.network, at.row.ID) })
	return nil
}

// holdGateway has the gateway be there before the endpoint is, and until there is a
// row.
func (at *attachment) holdGateway(ctx context.Context) error {
	a := at.agent
	release, err := a.holdGateway(ctx, at.network)
	at.release = release
	at.onUndo(func(ctx context.Context) error {
		release()
		a.reviewGateways(ctx)
		return nil
	})
	return err
}

func (at *attachment) makeDevice(ctx context.Context) error {
	host, e := at.agent.host, at.row
	if e.Kind == datapath.TAP {
		return nil
	}
	err := host.CreateEndpoint(ctx, EndpointDevice{
		Host: e.Device, IfName: e.IfName, Namespace: at.namespace, MAC: e.MAC, Addrs: e.Addrs, MTU: e.MTU, InnerLater: at.byCaller,
	})
	if errors.Is(err, link.ErrExists) {
		return at.interfaceExists()
	}
	if err != nil {
		return hostError(err)
	}
	at.onUndo(func(context.Context) error { return host.RemoveDevice(e.Device) })
	return nil
}

// writeRow makes the endpoint durable. What may have changed since plan is
// looked at again, in the transaction.
func (at *attachment) writeRow(context.Context) error {
	rows, version, err := at.agent.update(func(tx *store.Tx) error {
		if time.Now().After(at.leasedUntil) {
			return api.Errorf(api.CodeTimeout, "endpoint %s took too long to make, its addresses may be another's by now: try again", at.row.Name)
		}
		t := at.agent.tables()
		if _, ok := t.Networks[at.network.ID]; !ok {
			return api.Errorf(api.CodeNotFound, "network %s was removed meanwhile", at.network.Name)
		}
		if err := at.checkUnique(t); err != nil {
			return err
		}
		if err := tx.Put(store.TableEndpoint, at.row.ID, at.row); err != nil {
			return err
		}
		for _, id := range at.services {
			v, ok := t.Services[id]
			if !ok {
				return api.Errorf(api.CodeNotFound, "service %s of network %s was removed meanwhile", id, at.network.Name)
			}
			if err := tx.Put(store.TableBackend, store.BackendKey(id, at.row.ID), newBackend(v, at.row)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	at.rows, at.version = rows, version
	at.onUndo(func(ctx context.Context) error {
		_, err := at.agent.dropEndpoints(ctx, at.row)
		return err
	})
	return nil
}

// apply waits until the datapath carries the endpoint.
func (at *attachment) apply(ctx context.Context) error {
	a := at.agent
	ctx, cancel := context.WithTimeout(ctx, applyTime)
	defer cancel()
	if err := a.reconciler.Wait(ctx, at.version); err != nil {
		return fmt.Errorf("endpoint %s: datapath: %w", at.row.Name, err)
	}
	status := a.reconciler.Status()
	if err := status.Objects[datapath.PortObject(at.row.Device)]; err != nil {
		return fmt.Errorf("endpoint %s: datapath: %w", at.row.Name, err)
	}
	if !status.Carries(at.row) {
		return api.Errorf(api.CodeTaken, "endpoint %s cannot be carried by network %s: see `ovlctl status`", at.row.Name, at.network.Name)
	}
	if at.namespace == nil {
		return nil
	}
	if err := at.namespace.Present(); err != nil {
		return hostError(err)
	}
	return nil
}

func (at *attachment) onUndo(f func(context.Context) error) { at.undo = append(at.undo, f) }

// rollback takes back the steps that were done, the last one first.
func (at *attachment) rollback() {
	ctx, cancel := context.WithTimeout(context.Background(), undoTime)
	defer cancel()
	for i := len(at.undo) - 1; i >= 0; i-- {
		if err := at.undo[i](ctx); err != nil {
			at.agent.log.Warn("attach not wholly taken back", "endpoint", at.row.Name, "err", err)
		}
	}
}

// close lets go of what the attachment held for itself.
func (at *attachment) close() {
	if at.namespace != nil {
		at.namespace.Close()
	}
	if at.release != nil {
		at.release()
	}
	if at.unclaim != nil {
		at.unclaim()
	}
}

// hostError gives errors about the host's objects their meaning for the
// caller.
func hostError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, link.ErrNoNamespace), errors.Is(err, link.ErrNoDevice):
		return api.Errorf(api.CodeNotFound, "%w", err)
	case errors.Is(err, link.ErrExists):
		return api.Errorf(api.CodeExists, "%w", err)
	case errors.Is(err, link.ErrName), errors.Is(err, link.ErrNotTAP):
		return api.Errorf(api.CodeInvalid, "%w", err)
	case errors.Is(err, link.ErrNoIPv6):
		return api.Errorf(api.CodeUnsupported, "%w", err)
	case errors.Is(err, ErrEnter), errors.Is(err, ErrLook):
		return api.Errorf(api.CodeCannotEnter, "the agent may not: %w (attach --tap needs none)", err)
	}
	return err
}
