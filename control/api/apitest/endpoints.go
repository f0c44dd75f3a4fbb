package apitest

import (
	"cmp"
	"context"
	"net/netip"
	"slices"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/encap"
)

// Attach implements api.Backend. Namespaces, processes and interfaces whose
// name is "gone" or whose number is 999999 do not exist.
func (f *Fake) Attach(_ context.Context, r api.AttachRequest) (api.Endpoint, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.network(r.Network)
	if err != nil {
		return api.Endpoint{}, err
	}
	if r.NetNS == "gone" || r.TAP == "gone" || r.PID == 999999 {
		return api.Endpoint{}, api.Errorf(api.CodeNotFound, "network namespace, process or interface does not exist")
	}
	eid := id("f", f.made)
	e := api.Endpoint{
		Name: r.Name, ID: eid, Network: n.Name, NetworkID: n.id, Node: Node, NodeID: id("a", 0), NodeState: api.PeerAlive,
		Kind: api.EndpointVeth, Interface: cmp.Or(r.IfName, "eth0"), Device: "ovl" + eid[:10], NetNS: r.NetNS, PID: r.PID,
		MacAddress: r.MAC, MTU: n.MTU, Aliases: r.Aliases, Labels: r.Labels, Created: Epoch,
	}
	if r.TAP != "" {
		e.Kind, e.Interface, e.Device = api.EndpointTAP, r.TAP, r.TAP
	}
	e.Name = cmp.Or(e.Name, r.NetNS, r.TAP, "ep-"+eid[:8])
	if e.MacAddress == (encap.MAC{}) {
		e.MacAddress = encap.MAC{2, 0, 0, 0, 0, byte(f.made)}
	}
	if slices.ContainsFunc(f.on(n.id), func(o api.Endpoint) bool { return o.Name == e.Name }) {
		return api.Endpoint{}, api.Errorf(api.CodeExists, "endpoint %s exists already on network %s", e.Name, n.Name)
	}
	services := make([]*api.Service, 0, len(r.Services))
	for _, ref := range r.Services {
		v, err := f.service(api.ServiceRef{Service: ref, Network: n.id})
		if err != nil {
			return api.Endpoint{}, err
		}
		services = append(services, v)
	}
	for _, p := range n.Subnets {
		ip, err := f.pick(n, p, r.IPs)
		if err != nil {
			return api.Endpoint{}, err
		}
		e.Addresses = append(e.Addresses, netip.PrefixFrom(ip, p.Bits()))
		e.Gateways = append(e.Gateways, p.Addr().Next())
	}
	for _, v := range services {
		join(v, e, 1)
	}
	f.made++
	if r.EnteredInode != 0 {
		f.unfinished = append(f.unfinished, e)
		return e, nil
	}
	f.add(e)
	return e, nil
}

func (f *Fake) add(e api.Endpoint) {
	f.endpoints = append(f.endpoints, e)
	slices.SortFunc(f.endpoints, func(a, b api.Endpoint) int {
		return cmp.Or(cmp.Compare(a.Network, b.Network), cmp.Compare(a.Name, b.Name))
	})
}

// AttachFinish implements api.Backend. It waits for ever.
func (f *Fake) AttachFinish(_ context.Context, eid string) (api.Endpoint, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.unfinished, func(e api.Endpoint) bool { return e.ID == eid })
	if i < 0 {
		return api.Endpoint{}, api.Errorf(api.CodeNotFound, "endpoint %s does not wait to be finished", eid)
	}
	e := f.unfinished[i]
	f.unfinished = slices.Delete(f.unfinished, i, i+1)
	f.add(e)
	return e, nil
}

// Detach implements api.Backend.
func (f *Fake) Detach(_ context.Context, r api.DetachRequest) (api.Endpoint, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e, err := f.endpoint(r.Endpoint, r.Network)
	if err != nil {
		return api.Endpoint{}, err
	}
	f.endpoints = slices.DeleteFunc(f.endpoints, func(o api.Endpoint) bool { return o.ID == e.ID })
	for _, v := range f.services {
		part(v, e)
	}
	return e, nil
}

// EndpointList implements api.Backend.
func (f *Fake) EndpointList(_ context.Context, ref string) ([]api.Endpoint, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ref == "" {
		return append([]api.Endpoint{}, f.endpoints...), nil
	}
	n, err := f.network(ref)
	if err != nil {
		return nil, err
	}
	return append([]api.Endpoint{}, f.on(n.id)...), nil
}

// EndpointInspect implements api.Backend.
func (f *Fake) EndpointInspect(_ context.Context, ref string) (api.Endpoint, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e, err := f.endpoint(ref, "")
	if err == nil && e.NodeID == id("a", 0) {
		c := Counters
		e.Counters = &c
	}
	return e, err
}

func (f *Fake) endpoint(ref, networkRef string) (api.Endpoint, error) {
	eps := f.endpoints
	if networkRef != "" {
		n, err := f.network(networkRef)
		if err != nil {
			return api.Endpoint{}, err
		}
		eps = f.on(n.id)
	}
	eps = find(eps, ref, func(e api.Endpoint) (string, string) { return e.Name, e.ID })
	switch len(eps) {
	case 0:
		return api.Endpoint{}, api.Errorf(api.CodeNotFound, "endpoint %s does not exist", ref)
	case 1:
		return eps[0], nil
	default:
		return api.Endpoint{}, api.Errorf(api.CodeAmbiguous,
			"endpoint %s is on networks %s and %s: say which with --network or give its ID", ref, eps[0].Network, eps[1].Network)
	}
}
