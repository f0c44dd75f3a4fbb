package agent

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/datapath"
)

// networkObject returns n as `network inspect` shows it.
func networkObject(t *reconcile.Tables, n store.Network) api.Network {
	out := api.Network{
		Name:       n.Name,
		ID:         n.ID,
		Created:    n.Created,
		Scope:      api.NetworkScope,
		Driver:     api.NetworkDriver,
		EnableIPv6: hasIPv6(n),
		IPAM:       api.IPAM{Config: []api.IPAMConfig{}},
		Internal:   n.Internal,
		Containers: make(map[string]api.Container),
		Services:   make(map[string]api.NetworkService),
		Options: map[string]string{
			api.OptionVNI: n.VNI.String(),
			api.OptionMTU: strconv.Itoa(n.MTU),
		},
		Labels: orEmpty(n.Labels),
		Peers:  []api.NetworkPeer{},
	}
	if n.Multicast {
		out.Options[api.OptionMulticast] = "true"
	}
	for _, s := range n.Subnets {
		out.IPAM.Config = append(out.IPAM.Config, api.IPAMConfig{
			Subnet: s.Prefix, Gateway: s.Gateway, IPRange: s.Range, AuxiliaryAddresses: s.Aux,
		})
	}
	for _, v := range t.ServicesOf(n.ID) {
		if _, taken := out.Services[v.Name]; taken {
			continue // an older one has the name
		}
		out.Services[v.Name] = api.NetworkService{VIPs: orNone(v.VIPs), Ports: apiPorts(v), Backends: len(backendsOf(t, v))}
	}
	hosts := make(map[string]bool)
	for _, e := range t.EndpointsByAge(n.ID) {
		c := api.Container{Name: e.Name, EndpointID: e.ID, MacAddress: e.MAC, Node: nodeName(t, e.Node)}
		for _, a := range e.Addrs {
			switch {
			case a.Addr().Is4() && !c.IPv4Address.IsValid():
				c.IPv4Address = a
			case a.Addr().Is6() && !c.IPv6Address.IsValid():
				c.IPv6Address = a
			}
		}
		out.Containers[e.ID] = c
		if h, ok := t.Nodes[e.Node]; ok && !hosts[h.ID] {
			hosts[h.ID] = true
			out.Peers = append(out.Peers, api.NetworkPeer{Name: h.Name, IP: h.VTEP})
		}
	}
	slices.SortFunc(out.Peers, func(a, b api.NetworkPeer) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), a.IP.Compare(b.IP))
	})
	return out
}

// networkSummaries returns all networks as `network ls` shows them.
func networkSummaries(t *reconcile.Tables) []api.NetworkSummary {
	count := make(map[string]int)
	for _, e := range t.Endpoints {
		count[e.Network]++
	}
	out := make([]api.NetworkSummary, 0, len(t.Networks))
	for _, n := range t.Networks {
		s := api.NetworkSummary{
			Name: n.Name, ID: n.ID, VNI: uint32(n.VNI), Subnets: []netip.Prefix{}, MTU: n.MTU,
			Internal: n.Internal, Multicast: n.Multicast, Endpoints: count[n.ID], Created: n.Created, Labels: orEmpty(n.Labels),
		}
		for _, subnet := range n.Subnets {
			s.Subnets = append(s.Subnets, subnet.Prefix)
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b api.NetworkSummary) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// endpointObject returns e as `endpoint inspect` shows it.
func endpointObject(t *reconcile.Tables, e store.Endpoint, state api.PeerState) api.Endpoint {
	n := t.Networks[e.Network]
	out := api.Endpoint{
		Name:       e.Name,
		ID:         e.ID,
		Network:    networkName(t, e.Network),
		NetworkID:  e.Network,
		Node:       nodeName(t, e.Node),
		NodeID:     e.Node,
		NodeState:  state,
		Kind:       api.EndpointVeth,
		Interface:  e.IfName,
		Device:     e.Device,
		NetNS:      e.Netns,
		PID:        e.PID,
		MacAddress: e.MAC,
		Addresses:  slices.Clone(e.Addrs),
		Gateways:   []netip.Addr{},
		MTU:        e.MTU,
		Aliases:    append([]string{}, e.Aliases...),
		Labels:     orEmpty(e.Labels),
		Created:    e.Created,
		ResolvConf: e.ResolvConf,
	}
	if e.Kind == datapath.TAP {
		out.Kind, out.Interface = api.EndpointTAP, e.Device
	}
	slices.SortFunc(out.Addresses, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	for _, a := range out.Addresses {
		for _, s := range n.Subnets {
			if s.Prefix.Contains(a.Addr()) && s.Gateway.IsValid() {
				out.Gateways = append(out.Gateways, s.Gateway)
			}
		}
	}
	return out
}

// orEmpty makes an absent map an empty one, so that JSON shows {} and not
// null.
func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return maps.Clone(m)
}
