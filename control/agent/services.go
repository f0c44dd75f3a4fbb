package agent

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/control/store"
)

// ServiceCreate makes a service: the network's authority writes the lease of its
// VIPs to its disk, the row is on this host's disk, its datapath carries it, and
// then the peers' do.
func (a *Agent) ServiceCreate(ctx context.Context, r api.ServiceRequest) (api.Service, error) {
	done, err := a.gate.enter()
	if err != nil {
		return api.Service{}, err
	}
	defer done()
	if err := r.Validate(); err != nil {
		return api.Service{}, err
	}
	n, err := findNetwork(a.tables(), r.Network)
	if err != nil {
		return api.Service{}, err
	}
	if err := checkServiceName(a.tables(), n, r.Name); err != nil {
		return api.Service{}, err
	}
	unclaim, err := a.claims.claim(fmt.Sprintf("service %s of network %s", strings.ToLower(r.Name), n.Name))
	if err != nil {
		return api.Service{}, err
	}
	defer unclaim()
	row := serviceRow(r, n)
	row.ID, row.Created = newID(), a.now()
	leasedUntil := time.Now().Add(leaseGrace / 2)
	if !row.DNSRR {
		addrs, err := a.takeAddresses(ctx, n, row.ID, r.Name, r.VIPs)
		if err != nil {
			return api.Service{}, err
		}
		if row.VIPs, err = vips(addrs); err != nil {
			a.freeVIPs(n, row)
			return api.Service{}, err
		}
	}
	rows, err := a.store.Update(func(tx *store.Tx) error {
		t := a.tables()
		switch _, there := t.Networks[n.ID]; {
		case time.Now().After(leasedUntil):
			return api.Errorf(api.CodeTimeout, "service %s took too long to make, its VIPs may be another's by now: try again", row.Name)
		case !there:
			return api.Errorf(api.CodeNotFound, "network %s was removed meanwhile", n.Name)
		}
		if err := checkServiceName(t, n, row.Name); err != nil {
			return err
		}
		return tx.Put(store.TableService, row.ID, row)
	})
	if err != nil {
		a.freeVIPs(n, row)
		return api.Service{}, err
	}
	a.settle(ctx, rows)
	a.log.Info("service created", "service", row.Name, "network", n.Name, "vips", row.VIPs, "id", row.ID)
	return a.serviceNow(row.ID)
}

// serviceNow returns the service with that ID, without counting its flows.
func (a *Agent) serviceNow(id string) (api.Service, error) {
	t := a.tables()
	v, there := t.Services[id]
	if !there {
		return api.Service{}, api.Errorf(api.CodeNotFound, "service %s does not exist any more", id)
	}
	return serviceObject(t, v, nil), nil
}

// serviceRow is what a request makes of a service, but for what is taken from
// elsewhere.
func serviceRow(r api.ServiceRequest, n store.Network) store.Service {
	r = r.WithDefaults()
	return store.Service{
		Name:      r.Name,
		Network:   n.ID,
		DNSRR:     r.Mode == api.ServiceDNSRR,
		Ports:     storePorts(r.Ports),
		Affinity:  time.Duration(r.Affinity),
		TableSize: r.TableSize,
		Health:    storeHealth(r.Health),
		Labels:    r.Labels,
	}
}

// vips returns addresses that were handed out, one of each family, IPv4 first.
func vips(addrs []netip.Prefix) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, p := range addrs {
		out = append(out, p.Addr())
	}
	slices.SortFunc(out, netip.Addr.Compare)
	if len(out) > 2 || len(out) == 2 && out[0].Is4() == out[1].Is4() {
		return nil, fmt.Errorf("addresses %v are more than one of a family", out)
	}
	return out, nil
}

// checkServiceName refuses a name that a service of the network has, but for its
// case: DNS tells them apart by no more.
func checkServiceName(t *reconcile.Tables, n store.Network, name string) error {
	for _, v := range t.Services {
		if v.Network == n.ID && strings.EqualFold(v.Name, name) {
			return api.Errorf(api.CodeExists, "service %s exists already on network %s", v.Name, n.Name)
		}
	}
	return nil
}

// freeVIPs gives the lease of a service back. An authority that cannot be
// reached finds out by itself that there is no row.
func (a *Agent) freeVIPs(n store.Network, v store.Service) {
	if v.DNSRR {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), undoTime)
	defer cancel()
	if err := a.releaseAddresses(ctx, n, v.ID); err != nil {
		a.log.Info("lease left to its authority to free", "service", v.Name, "network", n.Name, "err", err)
	}
}

// ServiceRemove removes a service and all that is said of its backends.
func (a *Agent) ServiceRemove(ctx context.Context, r api.ServiceRef) (api.Service, error) {
	done, err := a.gate.enter()
	if err != nil {
		return api.Service{}, err
	}
	defer done()
	id, err := a.findServiceRef(r)
	if err != nil {
		return api.Service{}, err
	}
	was, err := a.serviceNow(id)
	if err != nil {
		return api.Service{}, err
	}
	var row store.Service
	rows, err := a.store.Update(func(tx *store.Tx) error {
		v, there := a.tables().Services[id]
		if !there {
			return api.Errorf(api.CodeNotFound, "service %s does not exist any more", was.Name)
		}
		row = *v.Service
		for endpoint := range v.Backends {
			if err := tx.Delete(store.TableBackend, store.BackendKey(id, endpoint)); err != nil {
				return err
			}
		}
		for endpoint, h := range v.Checked {
			if h.Node != a.self.ID {
				continue // it is for its node to delete
			}
			if err := tx.Delete(store.TableHealth, store.BackendKey(id, endpoint)); err != nil {
				return err
			}
		}
		return tx.Delete(store.TableService, id)
	})
	if err != nil {
		return api.Service{}, err
	}
	a.settle(ctx, rows)
	if n, there := a.tables().Networks[row.Network]; there {
		a.freeVIPs(n, row)
	}
	a.log.Info("service removed", "service", was.Name, "network", was.Network, "id", id)
	return was, nil
}

// findServiceRef returns the ID of the service that a request names.
func (a *Agent) findServiceRef(r api.ServiceRef) (string, error) {
	if err := r.Validate(); err != nil {
		return "", err
	}
	t := a.tables()
	network := ""
	if r.Network != "" {
		n, err := findNetwork(t, r.Network)
		if err != nil {
			return "", err
		}
		network = n.ID
	}
	v, err := findService(t, network, r.Service)
	if err != nil {
		return "", err
	}
	return v.ID, nil
}

// ServiceList returns the services of one network, or of all.
func (a *Agent) ServiceList(_ context.Context, network string) ([]api.ServiceSummary, error) {
	t := a.tables()
	id := ""
	if network != "" {
		n, err := findNetwork(t, network)
		if err != nil {
			return nil, err
		}
		id = n.ID
	}
	out := []api.ServiceSummary{}
	for _, v := range t.ServicesOf(id) {
		s := api.ServiceSummary{
			Name: v.Name, ID: v.ID, Network: networkName(t, v.Network), NetworkID: v.Network, Mode: serviceMode(v),
			VIPs: orNone(v.VIPs), Ports: apiPorts(v), Created: v.Created, Labels: orEmpty(v.Labels),
		}
		for _, e := range backendsOf(t, v) {
			s.Backends++
			if backendState(t, v, e) == api.BackendServing {
				s.Serving++
			}
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(x, y api.ServiceSummary) int {
		return cmp.Or(cmp.Compare(x.Network, y.Network), cmp.Compare(x.Name, y.Name), cmp.Compare(x.ID, y.ID))
	})
	return out, nil
}

// ServiceInspect returns one service, with the flows that clients on this host
// have.
func (a *Agent) ServiceInspect(ctx context.Context, r api.ServiceRef) (api.Service, error) {
	id, err := a.findServiceRef(r)
	if err != nil {
		return api.Service{}, err
	}
	flows, err := a.datapath.Flows(ctx)
	if err != nil {
		return api.Service{}, fmt.Errorf("flows of the datapath: %w", err)
	}
	t := a.tables()
	v, there := t.Services[id]
	if !there {
		return api.Service{}, api.Errorf(api.CodeNotFound, "service %s does not exist any more", r.Service)
	}
	return serviceObject(t, v, flows), nil
}
