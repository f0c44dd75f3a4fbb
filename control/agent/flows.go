package agent

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// Flows returns the flows to VIPs that endpoints on this host have, with the names
// of who takes part.
func (a *Agent) Flows(ctx context.Context, r api.FlowsRequest) (api.FlowList, error) {
	if err := r.Validate(); err != nil {
		return api.FlowList{}, err
	}
	t := a.tables()
	network, service := "", ""
	if r.Network != "" {
		n, err := findNetwork(t, r.Network)
		if err != nil {
			return api.FlowList{}, err
		}
		network = n.ID
	}
	if r.Service != "" {
		v, err := findService(t, network, r.Service)
		if err != nil {
			return api.FlowList{}, err
		}
		service = v.ID
	}
	flows, err := a.datapath.Flows(ctx)
	if err != nil {
		return api.FlowList{}, fmt.Errorf("flows of the datapath: %w", err)
	}
	names := newNames(t)
	out := []api.Flow{}
	for _, f := range flows {
		at := place{names.networks[f.VNI], f.VIP.Addr()}
		if network != "" && at.network != network || service != "" && names.services[at] != service {
			continue
		}
		out = append(out, names.flow(t, f))
	}
	slices.SortFunc(out, func(x, y api.Flow) int {
		return cmp.Or(cmp.Compare(x.Network, y.Network), cmp.Compare(x.Service, y.Service), cmp.Compare(x.Protocol, y.Protocol),
			x.Client.Compare(y.Client), x.VIP.Compare(y.VIP))
	})
	return api.FlowList{Total: len(out), Flows: out[:min(len(out), cmp.Or(r.Limit, api.MaxFlows))]}, nil
}

// names say whose the addresses in flows are.
type names struct {
	networks  map[encap.VNI]string
	services  map[place]string
	endpoints map[place]string
}

// place is an address in the network with that ID.
type place struct {
	network string
	addr    netip.Addr
}

func newNames(t *reconcile.Tables) names {
	n := names{networks: make(map[encap.VNI]string), services: make(map[place]string), endpoints: make(map[place]string)}
	for _, network := range slices.Backward(t.NetworksByAge()) { // the oldest has the VNI
		n.networks[network.VNI] = network.ID
	}
	for _, v := range slices.Backward(t.ServicesOf("")) {
		for _, a := range v.VIPs {
			n.services[place{v.Network, a}] = v.ID
		}
	}
	for id, e := range t.Endpoints {
		for _, p := range e.Addrs {
			n.endpoints[place{e.Network, p.Addr()}] = id
		}
	}
	return n
}

func (n names) flow(t *reconcile.Tables, f datapath.Flow) api.Flow {
	id := n.networks[f.VNI]
	out := api.Flow{
		Network:     t.Networks[id].Name,
		Protocol:    protocolName(f.Protocol),
		Client:      f.Client,
		ClientName:  t.Endpoints[n.endpoints[place{id, f.Client.Addr()}]].Name,
		VIP:         f.VIP,
		Backend:     f.Backend,
		BackendName: t.Endpoints[f.BackendID].Name,
		BackendID:   f.BackendID,
		SourcePort:  f.SourcePort,
		State:       f.State.String(),
		Idle:        int64(f.Idle.Seconds()),
		Sent:        traffic(f.Sent),
		Received:    traffic(f.Received),
	}
	if v := t.Services[n.services[place{id, f.VIP.Addr()}]]; v != nil {
		out.Service = v.Name
	}
	return out
}
