package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/encap"
)

// NetworkCreate makes a network whose addresses this node hands out. Its row
// is on disk here and, where they can be told in time, known to the peers.
func (a *Agent) NetworkCreate(ctx context.Context, r api.NetworkRequest) (api.Network, error) {
	done, err := a.gate.enter()
	if err != nil {
		return api.Network{}, err
	}
	defer done()
	if err := r.Validate(); err != nil {
		return api.Network{}, err
	}
	mtu, err := a.networkMTU(r)
	if err != nil {
		return api.Network{}, err
	}
	if !r.Force {
		for _, p := range r.Subnets {
			if err := a.checkRoute(p); err != nil {
				return api.Network{}, err
			}
		}
	}
	from, err := a.pools(r)
	if err != nil {
		return api.Network{}, err
	}
	var n store.Network
	rows, _, err := a.update(func(tx *store.Tx) error {
		n, err = a.planNetwork(r, mtu, from)
		if err != nil {
			return err
		}
		return tx.Put(store.TableNetwork, n.ID, n)
	})
	if err != nil {
		return api.Network{}, err
	}
	a.spread(ctx, rows)
	a.log.Info("network created", "network", n.Name, "vni", n.VNI, "id", n.ID)
	return networkObject(a.tables(), n), nil
}

// planNetwork picks what the request leaves open, among what no network has
// at this moment: the VNI, and a subnet of each pool.
func (a *Agent) planNetwork(r api.NetworkRequest, mtu int, from []pool) (store.Network, error) {
	t := a.tables()
	for _, n := range t.Networks {
		if strings.EqualFold(n.Name, r.Name) { // they are one to DNS
			return store.Network{}, api.Errorf(api.CodeExists, "network %s exists already", n.Name)
		}
	}
	vni, ok := t.FreeVNI()
	if !ok {
		return store.Network{}, api.Errorf(api.CodeExhausted, "no VNI is left of %v to %v", encap.MinVNI, encap.MaxVNI)
	}
	r.Subnets = slices.Clone(r.Subnets)
	for _, p := range from {
		s, err := p.next(t)
		if err != nil {
			return store.Network{}, err
		}
		r.Subnets = append(r.Subnets, s)
	}
	return store.Network{
		ID:        newID(),
		Name:      r.Name,
		VNI:       vni,
		Created:   a.now(),
		Authority: a.self.ID,
		Subnets:   planSubnets(r),
		MTU:       mtu,
		Internal:  r.Internal,
		Multicast: r.Multicast,
		Labels:    r.Labels,
	}, nil
}

// networkMTU returns the MTU of a network to be: what is asked for if the
// underlay carries it here, else the most that every known underlay carries.
func (a *Agent) networkMTU(r api.NetworkRequest) (int, error) {
	most := a.maxMTU
	if r.MTU > most {
		return 0, api.Errorf(api.CodeInvalid, "MTU %d is more than the underlay carries: %s has %d, which leaves %d..%d",
			r.MTU, a.underlay.Name, a.underlay.MTU, encap.MinMTU, most)
	}
	if r.MTU != 0 {
		return r.MTU, nil
	}
	for _, n := range a.tables().Nodes {
		if there, err := encap.InnerMTU(n.MTU, n.VTEP); err == nil {
			most = min(most, there)
		}
	}
	if err := encap.ValidateMTU(most, r.HasIPv6()); err != nil {
		return 0, api.Errorf(api.CodeInvalid, "what every host's underlay carries is too little for network %s: %w", r.Name, err)
	}
	return most, nil
}

// checkRoute refuses a subnet that this host reaches by a route of its own.
func (a *Agent) checkRoute(p netip.Prefix) error {
	route, found, err := a.host.OverlappingRoute(p)
	if err != nil {
		return fmt.Errorf("routes of this host: %w", err)
	}
	if found {
		return api.Errorf(api.CodeInvalid, "subnet %v overlaps this host's route %s: --force takes it nevertheless", p, route)
	}
	return nil
}

// NetworkRemove removes a network that has no endpoints and services, on any
// host. Its
// leases are dropped by its authority when that sees the row gone.
func (a *Agent) NetworkRemove(ctx context.Context, ref string) error {
	done, err := a.gate.enter()
	if err != nil {
		return err
	}
	defer done()
	var n store.Network
	rows, _, err := a.update(func(tx *store.Tx) error {
		t := a.tables()
		n, err = findNetwork(t, ref)
		if err != nil {
			return err
		}
		switch es := t.EndpointsByAge(n.ID); len(es) {
		case 0:
		case 1:
			return api.Errorf(api.CodeInUse, "network %s has an endpoint, %s on node %s: detach it first", n.Name, es[0].Name, nodeName(t, es[0].Node))
		default:
			return api.Errorf(api.CodeInUse, "network %s has %d endpoints, one of them %s on node %s: detach them first",
				n.Name, len(es), es[0].Name, nodeName(t, es[0].Node))
		}
		if vs := t.ServicesOf(n.ID); len(vs) > 0 {
			return api.Errorf(api.CodeInUse, "network %s has %s: remove what it has first", n.Name, countServices(vs))
		}
		return tx.Delete(store.TableNetwork, n.ID)
	})
	if err != nil {
		return err
	}
	a.spread(ctx, rows)
	a.log.Info("network removed", "network", n.Name, "vni", n.VNI, "id", n.ID)
	return nil
}

// countServices says how many there are, and names one.
func countServices(vs []*reconcile.Service) string {
	if len(vs) == 1 {
		return "a service, " + vs[0].Name
	}
	return fmt.Sprintf("%d services, one of them %s", len(vs), vs[0].Name)
}

// NetworkList returns every network of the cluster.
func (a *Agent) NetworkList(context.Context) ([]api.NetworkSummary, error) {
	return networkSummaries(a.tables()), nil
}

// NetworkInspect returns one network.
func (a *Agent) NetworkInspect(_ context.Context, ref string) (api.Network, error) {
	t := a.tables()
	n, err := findNetwork(t, ref)
	if err != nil {
		return api.Network{}, err
	}
	return networkObject(t, n), nil
}

// renumber gives the networks of this authority whose VNI an older network
// has, which two partitions or two creations at once can bring about, VNIs
// that are free.
func (a *Agent) renumber(ctx context.Context) error {
	var mine bool
	for _, n := range a.tables().VNILosers() {
		mine = mine || n.Authority == a.self.ID
	}
	if !mine {
		return nil
	}
	rows, _, err := a.update(func(tx *store.Tx) error {
		t := a.tables()
		for _, n := range t.VNILosers() {
			if n.Authority != a.self.ID {
				continue
			}
			vni, ok := t.FreeVNI()
			if !ok {
				return errors.New("no VNI is left")
			}
			a.log.Warn("network gets another VNI, an older network has it", "network", n.Name, "vni", vni, "before", n.VNI)
			n.VNI = vni
			if err := tx.Put(store.TableNetwork, n.ID, n); err != nil {
				return err
			}
			t = t.WithNetwork(n)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("renumber networks: %w", err)
	}
	a.spread(ctx, rows)
	return nil
}
