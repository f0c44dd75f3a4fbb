package agent

import (
	"context"
	"fmt"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/datapath"
)

// Detach removes an endpoint of this host: its row first, which takes it out
// of the datapath here, then its device, its lease, and the peers' datapaths.
// From the row on it is gone: what fails later is logged and repaired by the
// next start or the authority. By its ID it also takes one back that waits for
// AttachFinish.
func (a *Agent) Detach(ctx context.Context, r api.DetachRequest) (api.Endpoint, error) {
	done, err := a.gate.enter()
	if err != nil {
		return api.Endpoint{}, err
	}
	defer done()
	if err := r.Validate(); err != nil {
		return api.Endpoint{}, err
	}
	if at := a.unfinished.take(r.Endpoint); at != nil {
		defer at.close()
		at.rollback()
		return at.object(), nil
	}
	t := a.tables()
	network := ""
	if r.Network != "" {
		n, err := findNetwork(t, r.Network)
		if err != nil {
			return api.Endpoint{}, err
		}
		network = n.ID
	}
	e, err := findEndpoint(t, network, r.Endpoint)
	if err != nil {
		return api.Endpoint{}, err
	}
	if e.Node != a.self.ID {
		return api.Endpoint{}, api.Errorf(api.CodeElsewhere, "endpoint %s is on node %s: detach it there", e.Name, nodeName(t, e.Node))
	}
	release, err := a.claims.claim(endpointClaim(e.Name, networkName(t, e.Network)))
	if err != nil {
		return api.Endpoint{}, err
	}
	defer release()
	object := endpointObject(t, e, api.PeerAlive)
	dropped, err := a.dropEndpoints(ctx, e)
	if err != nil {
		return api.Endpoint{}, fmt.Errorf("endpoint %s: %w", e.Name, err)
	}
	if len(dropped) == 0 {
		return api.Endpoint{}, api.Errorf(api.CodeNotFound, "endpoint %s does not exist any more", e.Name)
	}
	if e.Kind == datapath.Veth {
		if err := a.host.RemoveDevice(e.Device); err != nil {
			return api.Endpoint{}, fmt.Errorf("endpoint %s is off its network, but its interface is still there: %w", e.Name, err)
		}
	}
	a.reviewGateways(ctx)
	a.freeAddresses(ctx, e)
	a.log.Info("endpoint detached", "endpoint", e.Name, "network", object.Network)
	return object, nil
}

// dropEndpoints deletes the rows of endpoints of this host, waits until the
// datapath has followed, tells the peers, and takes the networks out of resolv.conf. It returns those that were still
// there.
func (a *Agent) dropEndpoints(ctx context.Context, endpoints ...store.Endpoint) ([]store.Endpoint, error) {
	dropped, rows, err := a.deleteEndpoints(endpoints)
	if err != nil || len(dropped) == 0 {
		return nil, err
	}
	wait, cancel := context.WithTimeout(ctx, applyTime)
	defer cancel()
	if err := a.applied(wait); err != nil {
		a.log.Warn("endpoints not out of the datapath yet", "endpoints", len(dropped), "err", err)
	}
	a.spread(ctx, rows)
	a.reviewResolvConf(dropped...)
	return dropped, nil
}

// deleteEndpoints deletes, of the rows of endpoints, those that are still
// there, in one change, and all that is said of these as backends.
func (a *Agent) deleteEndpoints(endpoints []store.Endpoint) (deleted []store.Endpoint, rows []store.Row, err error) {
	rows, err = a.store.Update(func(tx *store.Tx) error {
		for _, e := range endpoints {
			if _, there := tx.Get(store.TableEndpoint, e.ID); !there {
				continue
			}
			if err := tx.Delete(store.TableEndpoint, e.ID); err != nil {
				return err
			}
			deleted = append(deleted, e)
		}
		return deleteBackends(tx, a.tables(), deleted)
	})
	if err != nil {
		return nil, nil, err
	}
	return deleted, rows, nil
}

// freeAddresses gives an endpoint's lease back. An authority that cannot be
// reached finds out by itself that the row is gone.
func (a *Agent) freeAddresses(ctx context.Context, e store.Endpoint) {
	n, ok := a.tables().Networks[e.Network]
	if !ok {
		return
	}
	if err := a.releaseAddresses(ctx, n, e.ID); err != nil {
		a.log.Info("lease left to its authority to free", "endpoint", e.Name, "network", n.Name, "err", err)
	}
}
