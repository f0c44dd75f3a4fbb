package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/cluster"
	"github.com/ovlnet/ovl/control/cluster/member"
	"github.com/ovlnet/ovl/control/ipam"
	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/control/store"
)

// serveTake hands addresses of a network of this authority out.
func (a *Agent) serveTake(_ context.Context, r takeRequest) (takeAnswer, error) {
	n, err := a.ownNetwork(r.Network)
	if err != nil {
		return takeAnswer{}, err
	}
	a.granting.RLock()
	defer a.granting.RUnlock()
	if a.handingOver {
		return takeAnswer{}, api.Errorf(api.CodeUnreachable, "addresses of network %s are being handed to another node: try again", n.Name)
	}
	addrs, err := a.addresses.Allocate(n.ID, ipamSubnets(n), ipam.Request{
		Endpoint: r.Endpoint, Name: r.Name, Node: r.Node, Wanted: r.Wanted, InUse: addressesInUse(a.tables(), n.ID, r.Endpoint),
	})
	return takeAnswer{Addrs: addrs}, addressError(a.tables(), n, err)
}

// addressesInUse are those that other endpoints and services of a network have
// by their rows. An authority whose leases came from one that left, or whose disk was
// put back, may find there what its leases do not say.
func addressesInUse(t *reconcile.Tables, network, except string) map[netip.Addr]ipam.Holder {
	out := make(map[netip.Addr]ipam.Holder)
	for id, e := range t.Endpoints {
		if e.Network != network || id == except {
			continue
		}
		for _, p := range e.Addrs {
			out[p.Addr()] = ipam.Holder{Endpoint: id, Name: e.Name, Node: e.Node}
		}
	}
	for id, v := range t.Services {
		if v.Network != network || id == except {
			continue
		}
		for _, a := range v.VIPs {
			out[a] = ipam.Holder{Endpoint: id, Name: v.Name}
		}
	}
	return out
}

// addressError gives the allocator's refusals their meaning for the caller.
func addressError(t *reconcile.Tables, n store.Network, err error) error {
	is := func(targets ...error) bool {
		return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
	}
	var taken *ipam.TakenError
	code := api.CodeInternal
	switch {
	case err == nil:
		return nil
	case errors.As(err, &taken) && t.Services[taken.Endpoint] != nil:
		return api.Errorf(api.CodeTaken, "network %s: %w: it is the VIP %v of service %s",
			n.Name, ipam.ErrTaken, taken.Addr, t.Services[taken.Endpoint].Name)
	case errors.As(err, &taken):
		return api.Errorf(api.CodeTaken, "network %s: %w: endpoint %s on node %s has %v",
			n.Name, ipam.ErrTaken, cmp.Or(taken.Name, taken.Endpoint), nodeName(t, taken.Node), taken.Addr)
	case is(ipam.ErrGateway, ipam.ErrAux):
		code = api.CodeTaken
	case is(ipam.ErrOutside, ipam.ErrReserved, ipam.ErrFamily, ipam.ErrMany):
		code = api.CodeInvalid
	case is(ipam.ErrExhausted):
		code = api.CodeExhausted
	case is(ipam.ErrLeased):
		code = api.CodeExists
	}
	return api.Errorf(code, "network %s: %w", n.Name, err)
}

func (a *Agent) serveFree(_ context.Context, r freeRequest) (freeAnswer, error) {
	n, err := a.ownNetwork(r.Network)
	if err != nil {
		return freeAnswer{}, err
	}
	return freeAnswer{}, a.addresses.Release(n.ID, r.Endpoint)
}

// ownNetwork returns a network that this node is the authority of.
func (a *Agent) ownNetwork(id string) (store.Network, error) { return a.networkOf(id, a.self.ID) }

// networkOf returns a network, if that node is its authority.
func (a *Agent) networkOf(id, authority string) (store.Network, error) {
	t := a.tables()
	n, ok := t.Networks[id]
	switch {
	case !ok:
		return store.Network{}, api.Errorf(api.CodeNotFound, "network %s does not exist", id)
	case n.Authority != authority:
		return store.Network{}, api.Errorf(api.CodeElsewhere, "addresses of network %s are handed out by node %s", n.Name, nodeName(t, n.Authority))
	}
	return n, nil
}

// takeOverRequest makes its receiver the authority of a network.
type takeOverRequest struct {
	Network string `json:"network"`
	// From is the node ID of the one who hands over.
	From string `json:"from"`
	// Leases are those that ipam.Allocator.Export returned.
	Leases json.RawMessage `json:"leases"`
}

type takeOverAnswer struct{}

// takeOverTime bounds one hand-over of a network.
const takeOverTime = 2 * time.Second

// handOver makes other nodes the authorities of this node's networks, so that
// those go on having addresses when this node is gone. From its begin on this
// one hands no more out.
func (a *Agent) handOver(ctx context.Context) error {
	a.granting.Lock() // waits for what is being handed out: it is in the leases then
	a.handingOver = true
	a.granting.Unlock()
	var errs []error
	for _, n := range a.tables().NetworksByAge() {
		if n.Authority == a.self.ID {
			errs = append(errs, a.handOverNetwork(ctx, n))
		}
	}
	return errors.Join(errs...)
}

// handOverNetwork asks the live peers in turn, those first that have the
// network. It is no failure that there is none where no other node has an
// endpoint on it.
func (a *Agent) handOverNetwork(ctx context.Context, n store.Network) error {
	heirs := a.heirs(n)
	if len(heirs) == 0 {
		for _, e := range a.tables().EndpointsByAge(n.ID) {
			if e.Node != a.self.ID {
				return fmt.Errorf("network %s: no other node is alive to hand out its addresses", n.Name)
			}
		}
		return nil
	}
	leases, err := a.addresses.Export(n.ID)
	if err != nil {
		return fmt.Errorf("leases of network %s: %w", n.Name, err)
	}
	var errs []error
	for _, p := range heirs {
		if now, ok := a.tables().Networks[n.ID]; !ok || now.Authority != a.self.ID {
			return nil // the answer of one that has taken over was lost
		}
		err := a.askTakeOver(ctx, p, takeOverRequest{Network: n.ID, From: a.self.ID, Leases: leases})
		if err == nil {
			a.log.Info("network handed over", "network", n.Name, "peer", p.Name)
			return nil
		}
		errs = append(errs, fmt.Errorf("node %s: %w", p.Name, err))
	}
	return fmt.Errorf("network %s: no other node has taken over its addresses: %w", n.Name, errors.Join(errs...))
}

func (a *Agent) askTakeOver(ctx context.Context, p cluster.Peer, r takeOverRequest) error {
	ctx, cancel := context.WithTimeout(ctx, takeOverTime)
	defer cancel()
	return a.cluster.Call(ctx, p.ID, callTakeOver, r, &takeOverAnswer{})
}

// heirs are the live peers, those with an endpoint on n first.
func (a *Agent) heirs(n store.Network) []cluster.Peer {
	has := make(map[string]bool)
	for _, e := range a.tables().EndpointsByAge(n.ID) {
		has[e.Node] = true
	}
	var with, without []cluster.Peer
	for _, p := range a.cluster.Peers() {
		switch {
		case p.Status != member.Alive:
		case has[p.ID]:
			with = append(with, p)
		default:
			without = append(without, p)
		}
	}
	return append(with, without...)
}

// serveTakeOver makes this node the authority of a network: the leases are on
// its disk before the row that says so.
func (a *Agent) serveTakeOver(ctx context.Context, r takeOverRequest) (takeOverAnswer, error) {
	done, err := a.gate.enter()
	if err != nil {
		return takeOverAnswer{}, err
	}
	defer done()
	a.reviewing.Lock()
	defer a.reviewing.Unlock()
	// A caller that has given up asks another.
	if err := ctx.Err(); err != nil {
		return takeOverAnswer{}, err
	}
	if _, err := a.networkOf(r.Network, r.From); err != nil {
		return takeOverAnswer{}, err
	}
	if err := a.addresses.Import(r.Network, r.Leases); err != nil {
		return takeOverAnswer{}, err
	}
	rows, _, err := a.update(func(tx *store.Tx) error {
		n, err := a.networkOf(r.Network, r.From)
		if err != nil {
			return err
		}
		n.Authority = a.self.ID
		return tx.Put(store.TableNetwork, n.ID, n)
	})
	if err != nil {
		return takeOverAnswer{}, err
	}
	a.log.Info("network taken over", "network", networkName(a.tables(), r.Network))
	a.spread(ctx, rows)
	return takeOverAnswer{}, nil
}

// leaseGrace is how long a lease may be without an endpoint's row: an attach
// is under way, or its row is.
const leaseGrace = 30 * time.Second

// reviewLeases frees the leases of endpoints and services that do not exist, and forgets
// those of networks that this node is not the authority of any more. A row that
// was here and is not any more was deleted, by its own node. One that never was
// here may be that of an attach under way: its lease has the grace, and stays as
// long as its node cannot be heard, since the row may be there, behind a
// partition.
func (a *Agent) reviewLeases() error {
	a.reviewing.Lock()
	defer a.reviewing.Unlock()
	// A network has its row before it has leases: asked in this order, those
	// of one that was created meanwhile are not taken for leftovers.
	leased := a.addresses.Networks()
	t := a.tables()
	heard := a.heard(t)
	before := a.hadRow
	a.hadRow = make(map[string]bool)
	var errs []error
	for _, id := range leased {
		n, ok := t.Networks[id]
		if !ok || n.Authority != a.self.ID {
			errs = append(errs, a.addresses.DropNetwork(id))
			continue
		}
		keep := make(map[string]bool)
		for _, l := range a.addresses.Leases(id) {
			exists := hasRow(t, l.Endpoint)
			if !exists && before[l.Endpoint] {
				errs = append(errs, a.addresses.Release(id, l.Endpoint))
				continue
			}
			a.hadRow[l.Endpoint] = exists
			keep[l.Endpoint] = exists || !heard(l.Node)
		}
		// A lease made since then is kept too, until the next review.
		live := func(endpoint string) bool {
			kept, seen := keep[endpoint]
			return kept || !seen
		}
		freed, err := a.addresses.Reconcile(id, live, cmp.Or(a.hooks.leaseGrace, leaseGrace))
		errs = append(errs, err)
		for _, endpoint := range freed {
			a.log.Info("lease freed, who had it does not exist", "network", n.Name, "endpoint", endpoint)
		}
	}
	return errors.Join(errs...)
}

// hasRow reports whether an endpoint or service with this ID exists.
func hasRow(t *reconcile.Tables, id string) bool {
	_, endpoint := t.Endpoints[id]
	return endpoint || t.Services[id] != nil
}

// heard returns whether this node knows all the rows of a node: it is this
// one, it is alive and nothing is known to be missing, or it has left.
func (a *Agent) heard(t *reconcile.Tables) func(node string) bool {
	converged := a.cluster.Converged()
	alive := map[string]bool{a.self.ID: true}
	for _, p := range a.cluster.Peers() {
		alive[p.ID] = p.Status == member.Alive && converged
	}
	return func(node string) bool {
		_, stays := t.Nodes[node]
		return alive[node] || !stays
	}
}
