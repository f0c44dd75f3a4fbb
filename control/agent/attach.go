package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/name"
	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/link"
	"github.com/ovlnet/ovl/encap"
)

const (
	// defaultIfName is the interface inside the namespace if none is asked
	// for.
	defaultIfName = "eth0"
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
//	device    the veth pair, or the TAP is set up
//	row       the endpoint is on this host's disk
//	apply     the datapath carries it
//	spread    the live peers have it in their datapaths, best effort
//
// A step that fails takes back those before it. After a crash the next start
// finds the rest: a device without a row is removed, and the authority frees
// a lease without a row.
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
	defer at.close()
	for _, step := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"addresses", at.takeAddresses},
		{"device", at.makeDevice},
		{"row", at.writeRow},
		{"apply", at.apply},
	} {
		if err := step.run(ctx); err != nil {
			at.rollback()
			return api.Endpoint{}, err
		}
		if a.hooks.afterStep != nil {
			a.hooks.afterStep("attach " + step.name)
		}
	}
	a.spread(ctx, at.rows)
	a.log.Info("endpoint attached", "endpoint", at.row.Name, "network", at.network.Name, "addrs", at.row.Addrs, "device", at.row.Device)
	return endpointObject(a.tables(), at.row, api.PeerAlive), nil
}

// attachment is an endpoint in the making.
type attachment struct {
	agent   *Agent
	wanted  []netip.Addr
	network store.Network
	// row is the endpoint as far as it is known.
	row store.Endpoint
	// namespace is held open until the end, nil for a TAP.
	namespace Namespace
	rows      []store.Row
	version   uint64
	undo      []func(context.Context) error
	unclaim   func()
}

// plan checks all that can be known without touching anything.
func (a *Agent) plan(r api.AttachRequest) (_ *attachment, err error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	t := a.tables()
	n, err := findNetwork(t, r.Network)
	if err != nil {
		return nil, err
	}
	at := &attachment{agent: a, wanted: r.IPs, network: n}
	id := newID()
	at.row = store.Endpoint{
		ID:      id,
		Name:    r.Name,
		Network: n.ID,
		Node:    a.self.ID,
		MAC:     r.MAC,
		MTU:     min(n.MTU, a.maxMTU()),
		Device:  deviceName(id),
		Netns:   r.NetNS,
		PID:     r.PID,
		IfName:  r.IfName,
		Aliases: r.Aliases,
		Labels:  r.Labels,
		Created: a.now(),
	}
	if at.row.MAC == (encap.MAC{}) {
		at.row.MAC = derivedMAC(id)
	}
	if err := at.place(r); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			at.close()
		}
	}()
	if at.row.Name == "" {
		at.row.Name = defaultName(r, id)
	}
	if err := at.checkUnique(t); err != nil {
		return nil, err
	}
	at.unclaim, err = a.claims.claim(
		fmt.Sprintf("endpoint %s of network %s", at.row.Name, n.Name),
		at.describePlace(),
	)
	return at, err
}

// place finds the namespace, or makes the port a TAP.
func (at *attachment) place(r api.AttachRequest) error {
	if r.TAP != "" {
		at.row.Kind, at.row.Device = datapath.TAP, r.TAP
		switch there, err := at.agent.host.DeviceExists(r.TAP); {
		case err != nil:
			return fmt.Errorf("TAP interface %s: %w", r.TAP, err)
		case !there:
			return api.Errorf(api.CodeNotFound, "TAP interface %s does not exist", r.TAP)
		}
		return nil
	}
	if at.row.IfName == "" {
		at.row.IfName = defaultIfName
	}
	ns, err := at.agent.host.OpenNamespace(r.NetNS, r.PID)
	if err != nil {
		return hostError(err)
	}
	at.namespace, at.row.NetnsInode = ns, ns.Inode()
	return nil
}

// describePlace names the interface for messages and claims.
func (at *attachment) describePlace() string {
	switch e := at.row; {
	case e.Kind == datapath.TAP:
		return "TAP interface " + e.Device
	case e.Netns != "":
		return fmt.Sprintf("interface %s of network namespace %s", e.IfName, e.Netns)
	default:
		return fmt.Sprintf("interface %s of process %d", e.IfName, e.PID)
	}
}

// defaultName is the name of an endpoint that was given none: that of its
// namespace or TAP if it can be one.
func defaultName(r api.AttachRequest, id string) string {
	for _, n := range []string{r.NetNS, r.TAP} {
		if n != "" && !strings.Contains(n, "/") && name.Validate("endpoint", n) == nil {
			return n
		}
	}
	return "ep-" + id[:8]
}

// checkUnique refuses a name or MAC that the network has, and an interface
// that is an endpoint already.
func (at *attachment) checkUnique(t *reconcile.Tables) error {
	for _, e := range t.Endpoints {
		here := e.Node == at.row.Node
		sameTAP := at.row.Kind == datapath.TAP && e.Kind == datapath.TAP && e.Device == at.row.Device
		sameIf := at.row.Kind == datapath.Veth && e.Kind == datapath.Veth &&
			e.NetnsInode == at.row.NetnsInode && e.IfName == at.row.IfName
		if here && (sameTAP || sameIf) {
			return api.Errorf(api.CodeExists, "%s is already endpoint %s of network %s", at.describePlace(), e.Name, networkName(t, e.Network))
		}
		if e.Network != at.network.ID {
			continue
		}
		if e.Name == at.row.Name {
			return api.Errorf(api.CodeExists, "endpoint %s exists already on network %s, on node %s", e.Name, at.network.Name, nodeName(t, e.Node))
		}
		if e.MAC == at.row.MAC {
			return api.Errorf(api.CodeTaken, "MAC %v belongs to endpoint %s on node %s", e.MAC, e.Name, nodeName(t, e.Node))
		}
	}
	return nil
}

func (at *attachment) takeAddresses(ctx context.Context) error {
	// A lease whose answer was lost is freed by its authority: it never gets
	// a row.
	addrs, err := at.agent.takeAddresses(ctx, at.network, at.row, at.wanted)
	if err != nil {
		return err
	}
	at.row.Addrs = addrs
	at.onUndo(func(ctx context.Context) error { return at.agent.releaseAddresses(ctx, at.network, at.row.ID) })
	return nil
}

func (at *attachment) makeDevice(ctx context.Context) error {
	host, e := at.agent.host, at.row
	if e.Kind == datapath.TAP {
		return hostError(host.CheckTAP(e.Device))
	}
	err := host.CreateEndpoint(ctx, EndpointDevice{
		Host: e.Device, IfName: e.IfName, Namespace: at.namespace, MAC: e.MAC, Addrs: e.Addrs, MTU: e.MTU,
	})
	if errors.Is(err, link.ErrExists) {
		return api.Errorf(api.CodeExists, "%s exists already", at.describePlace())
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
		t := at.agent.tables()
		if _, ok := t.Networks[at.network.ID]; !ok {
			return api.Errorf(api.CodeNotFound, "network %s was removed meanwhile", at.network.Name)
		}
		if err := at.checkUnique(t); err != nil {
			return err
		}
		return tx.Put(store.TableEndpoint, at.row.ID, at.row)
	})
	if err != nil {
		return err
	}
	at.rows, at.version = rows, version
	at.onUndo(func(ctx context.Context) error { return at.agent.dropEndpoint(ctx, at.row) })
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
	case errors.Is(err, link.ErrName), errors.Is(err, link.ErrNotTAP):
		return api.Errorf(api.CodeInvalid, "%w", err)
	}
	return err
}
