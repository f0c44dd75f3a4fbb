package apitest

import (
	"cmp"
	"context"
	"net/netip"
	"slices"

	"github.com/ovlnet/ovl/control/api"
)

// ServiceCreate implements api.Backend.
func (f *Fake) ServiceCreate(_ context.Context, r api.ServiceRequest) (api.Service, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.network(r.Network)
	if err != nil {
		return api.Service{}, err
	}
	if slices.ContainsFunc(f.of(n.id), func(o *api.Service) bool { return o.Name == r.Name }) {
		return api.Service{}, api.Errorf(api.CodeExists, "service %s exists already on network %s", r.Name, n.Name)
	}
	r = r.WithDefaults()
	v := &api.Service{
		Name: r.Name, ID: id("d", f.made), Network: n.Name, NetworkID: n.id, Created: Epoch, Mode: r.Mode, VIPs: []netip.Addr{},
		Ports: r.Ports, Affinity: r.Affinity, TableSize: r.TableSize, Health: r.Health, Labels: map[string]string{},
		Backends: []api.ServiceBackend{},
	}
	for k, l := range r.Labels {
		v.Labels[k] = l
	}
	if r.Mode == api.ServiceVIP {
		for _, p := range n.Subnets {
			ip, err := f.pick(n, p, r.VIPs)
			if err != nil {
				return api.Service{}, err
			}
			v.VIPs = append(v.VIPs, ip)
		}
	}
	f.made++
	f.services = append(f.services, v)
	slices.SortFunc(f.services, func(a, b *api.Service) int {
		return cmp.Or(cmp.Compare(a.Network, b.Network), cmp.Compare(a.Name, b.Name))
	})
	return show(v), nil
}

// ServiceList implements api.Backend.
func (f *Fake) ServiceList(_ context.Context, ref string) ([]api.ServiceSummary, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := f.services
	if ref != "" {
		n, err := f.network(ref)
		if err != nil {
			return nil, err
		}
		all = f.of(n.id)
	}
	out := []api.ServiceSummary{}
	for _, v := range all {
		s := api.ServiceSummary{
			Name: v.Name, ID: v.ID, Network: v.Network, NetworkID: v.NetworkID, Mode: v.Mode, VIPs: v.VIPs, Ports: v.Ports,
			Backends: len(v.Backends), Created: v.Created, Labels: v.Labels,
		}
		for _, b := range v.Backends {
			if b.State == api.BackendServing {
				s.Serving++
			}
		}
		out = append(out, s)
	}
	return out, nil
}

// ServiceInspect implements api.Backend.
func (f *Fake) ServiceInspect(_ context.Context, r api.ServiceRef) (api.Service, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v, err := f.service(r)
	if err != nil {
		return api.Service{}, err
	}
	return show(v), nil
}

// ServiceUpdate implements api.Backend.
func (f *Fake) ServiceUpdate(_ context.Context, r api.ServiceUpdate) (api.Service, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v, err := f.service(r.ServiceRef)
	if err != nil {
		return api.Service{}, err
	}
	next := show(v)
	for _, m := range r.Add {
		e, err := f.endpoint(m.Endpoint, v.NetworkID)
		if err != nil {
			return api.Service{}, err
		}
		join(&next, e, m.Weight)
	}
	for _, ref := range r.Remove {
		b, err := f.backend(&next, ref)
		if err != nil {
			return api.Service{}, err
		}
		part(&next, api.Endpoint{ID: b.EndpointID})
	}
	if r.Ports != nil {
		next.Ports = api.SortPorts(*r.Ports)
	}
	if r.Affinity != nil {
		next.Affinity = *r.Affinity
	}
	if r.Labels != nil {
		next.Labels = *r.Labels
	}
	switch {
	case r.NoHealth:
		next.Health = nil
	case r.Health != nil:
		h := r.Health.WithDefaults()
		next.Health = &h
	}
	*v = next
	return show(v), nil
}

// ServiceDrain implements api.Backend.
func (f *Fake) ServiceDrain(_ context.Context, r api.ServiceDrain) (api.Service, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v, err := f.service(r.ServiceRef)
	if err != nil {
		return api.Service{}, err
	}
	b, err := f.backend(v, r.Endpoint)
	if err != nil {
		return api.Service{}, err
	}
	b.State = api.BackendDraining
	if r.Undo {
		b.State = api.BackendServing
	}
	return show(v), nil
}

// ServiceRemove implements api.Backend.
func (f *Fake) ServiceRemove(_ context.Context, r api.ServiceRef) (api.Service, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v, err := f.service(r)
	if err != nil {
		return api.Service{}, err
	}
	f.services = slices.DeleteFunc(f.services, func(o *api.Service) bool { return o == v })
	return show(v), nil
}

// Flows implements api.Backend: each backend has one flow, from the network's
// first endpoint.
func (f *Fake) Flows(_ context.Context, r api.FlowsRequest) (api.FlowList, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := f.services
	if r.Network != "" {
		n, err := f.network(r.Network)
		if err != nil {
			return api.FlowList{}, err
		}
		all = f.of(n.id)
	}
	if r.Service != "" {
		v, err := f.service(api.ServiceRef{Service: r.Service, Network: r.Network})
		if err != nil {
			return api.FlowList{}, err
		}
		all = []*api.Service{v}
	}
	out := api.FlowList{Flows: []api.Flow{}}
	for _, v := range all {
		for i, b := range v.Backends {
			if len(v.VIPs) == 0 {
				continue
			}
			client := f.on(v.NetworkID)[0]
			port := uint16(40000 + i)
			out.Flows = append(out.Flows, api.Flow{
				Network: v.Network, Service: v.Name, Protocol: api.ProtocolTCP,
				Client: netip.AddrPortFrom(client.Addresses[0].Addr(), port), ClientName: client.Name,
				VIP: netip.AddrPortFrom(v.VIPs[0], 80), Backend: netip.AddrPortFrom(b.Addresses[0], 80),
				BackendName: b.Name, BackendID: b.EndpointID, SourcePort: port, State: "established", Idle: 3,
				Sent: b.Sent, Received: b.Received,
			})
		}
	}
	out.Total = len(out.Flows)
	if r.Limit > 0 && r.Limit < out.Total {
		out.Flows = out.Flows[:r.Limit]
	}
	return out, nil
}

// of returns the services of the network with this ID.
func (f *Fake) of(networkID string) []*api.Service {
	return slices.DeleteFunc(slices.Clone(f.services), func(v *api.Service) bool { return v.NetworkID != networkID })
}

func (f *Fake) service(r api.ServiceRef) (*api.Service, error) {
	all := f.services
	if r.Network != "" {
		n, err := f.network(r.Network)
		if err != nil {
			return nil, err
		}
		all = f.of(n.id)
	}
	found := find(all, r.Service, func(v *api.Service) (string, string) { return v.Name, v.ID })
	switch len(found) {
	case 0:
		return nil, api.Errorf(api.CodeNotFound, "service %s does not exist", r.Service)
	case 1:
		return found[0], nil
	default:
		return nil, api.Errorf(api.CodeAmbiguous,
			"service %s is on networks %s and %s: say which with --network or give its ID", r.Service, found[0].Network, found[1].Network)
	}
}

// backend returns the one of v that ref names.
func (f *Fake) backend(v *api.Service, ref string) (*api.ServiceBackend, error) {
	for i := range v.Backends {
		if b := &v.Backends[i]; b.Name == ref || b.EndpointID == ref {
			return b, nil
		}
	}
	return nil, api.Errorf(api.CodeNotFound, "endpoint %s is no backend of service %s", ref, v.Name)
}

// join makes e a backend of v, or gives it the weight if it is one.
func join(v *api.Service, e api.Endpoint, weight uint16) {
	for i := range v.Backends {
		if b := &v.Backends[i]; b.EndpointID == e.ID {
			b.Weight = cmp.Or(weight, b.Weight)
			return
		}
	}
	b := api.ServiceBackend{
		Name: e.Name, EndpointID: e.ID, Node: e.Node, Weight: cmp.Or(weight, 1), State: api.BackendServing,
		Flows: 1, Sent: Counters.Sent, Received: Counters.Received,
	}
	for _, a := range e.Addresses {
		b.Addresses = append(b.Addresses, a.Addr())
	}
	v.Backends = append(v.Backends, b)
	slices.SortFunc(v.Backends, func(a, b api.ServiceBackend) int { return cmp.Compare(a.Name, b.Name) })
}

// part ends that e is a backend of v.
func part(v *api.Service, e api.Endpoint) {
	v.Backends = slices.DeleteFunc(v.Backends, func(b api.ServiceBackend) bool { return b.EndpointID == e.ID })
}

// show returns a copy of v in which those that serve share the table by their
// weights.
func show(v *api.Service) api.Service {
	out := *v
	out.Backends = slices.Clone(v.Backends)
	var all float64
	for i := range out.Backends {
		b := &out.Backends[i]
		b.Share = 0
		if b.State == api.BackendServing && v.Mode == api.ServiceVIP {
			all += float64(b.Weight)
		}
	}
	for i := range out.Backends {
		if b := &out.Backends[i]; b.State == api.BackendServing && all > 0 {
			b.Share = float64(b.Weight) / all
		}
	}
	return out
}

// pick returns an address of p that is free: the wanted one in p, or the one
// after all others.
func (f *Fake) pick(n network, p netip.Prefix, wanted []netip.Addr) (netip.Addr, error) {
	owner := make(map[netip.Addr]string)
	for _, e := range f.on(n.id) {
		for _, a := range e.Addresses {
			owner[a.Addr()] = "endpoint " + e.Name + " on " + e.Node
		}
	}
	for _, v := range f.of(n.id) {
		for _, a := range v.VIPs {
			owner[a] = "service " + v.Name
		}
	}
	ip := p.Addr().Next().Next()
	for a := range owner {
		if p.Contains(a) && ip.Compare(a) <= 0 {
			ip = a.Next()
		}
	}
	for _, w := range wanted {
		if p.Contains(w) {
			ip = w
		}
	}
	if who, taken := owner[ip]; taken {
		return ip, api.Errorf(api.CodeTaken, "address %s belongs to %s", ip, who)
	}
	return ip, nil
}
