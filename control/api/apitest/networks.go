package apitest

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strconv"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/encap"
)

// NetworkCreate implements api.Backend.
func (f *Fake) NetworkCreate(_ context.Context, r api.NetworkRequest) (api.Network, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.networks {
		if n.Name == r.Name {
			return api.Network{}, api.Errorf(api.CodeExists, "network %s exists already", r.Name)
		}
	}
	four, six := r.Picks()
	if four {
		r.Subnets = append(r.Subnets, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(f.made), 0}), 24))
	}
	if six {
		r.Subnets = append(r.Subnets, netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 7: byte(f.made)}), 64))
	}
	r.MTU = cmp.Or(r.MTU, 1450)
	n := network{NetworkRequest: r, id: id("e", f.made), vni: encap.MinVNI + encap.VNI(f.made)}
	f.made++
	f.networks = append(f.networks, n)
	slices.SortFunc(f.networks, func(a, b network) int { return cmp.Compare(a.Name, b.Name) })
	return f.describe(n), nil
}

// NetworkList implements api.Backend.
func (f *Fake) NetworkList(context.Context) ([]api.NetworkSummary, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := []api.NetworkSummary{}
	for _, n := range f.networks {
		out = append(out, api.NetworkSummary{
			Name: n.Name, ID: n.id, VNI: uint32(n.vni), Subnets: n.Subnets, MTU: n.MTU, Internal: n.Internal, Multicast: n.Multicast,
			Endpoints: len(f.on(n.id)), Created: Epoch, Labels: n.Labels,
		})
	}
	return out, nil
}

// NetworkInspect implements api.Backend.
func (f *Fake) NetworkInspect(_ context.Context, ref string) (api.Network, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.network(ref)
	if err != nil {
		return api.Network{}, err
	}
	return f.describe(n), nil
}

// NetworkRemove implements api.Backend.
func (f *Fake) NetworkRemove(_ context.Context, ref string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.network(ref)
	if err != nil {
		return err
	}
	if eps := f.on(n.id); len(eps) > 0 {
		return api.Errorf(api.CodeInUse, "network %s has %d endpoints, %s among them: detach them first", n.Name, len(eps), eps[0].Name)
	}
	if vs := f.of(n.id); len(vs) > 0 {
		return api.Errorf(api.CodeInUse, "network %s has %d services, %s among them: remove them first", n.Name, len(vs), vs[0].Name)
	}
	f.networks = slices.DeleteFunc(f.networks, func(o network) bool { return o.id == n.id })
	return nil
}

func (f *Fake) network(ref string) (network, error) {
	found := find(f.networks, ref, func(n network) (string, string) { return n.Name, n.id })
	switch len(found) {
	case 0:
		return network{}, api.Errorf(api.CodeNotFound, "network %s does not exist", ref)
	case 1:
		return found[0], nil
	default:
		return network{}, api.Errorf(api.CodeAmbiguous, "%s begins the IDs of networks %s and %s", ref, found[0].Name, found[1].Name)
	}
}

func (f *Fake) describe(n network) api.Network {
	out := api.Network{
		Name: n.Name, ID: n.id, Created: Epoch, Scope: api.NetworkScope, Driver: api.NetworkDriver, Internal: n.Internal,
		EnableIPv6: n.HasIPv6(), IPAM: api.IPAM{Config: n.Layout()},
		Containers: map[string]api.Container{}, Services: map[string]api.NetworkService{},
		Options: map[string]string{api.OptionVNI: n.vni.String(), api.OptionMTU: strconv.Itoa(n.MTU)},
		Labels:  map[string]string{}, Peers: []api.NetworkPeer{},
	}
	if n.Multicast {
		out.Options[api.OptionMulticast] = "true"
	}
	for k, v := range n.Labels {
		out.Labels[k] = v
	}
	for _, v := range f.of(n.id) {
		out.Services[v.Name] = api.NetworkService{VIPs: v.VIPs, Ports: v.Ports, Backends: len(v.Backends)}
	}
	for _, e := range f.on(n.id) {
		c := api.Container{Name: e.Name, EndpointID: e.ID, MacAddress: e.MacAddress, Node: e.Node}
		for _, a := range slices.Backward(e.Addresses) {
			if a.Addr().Is4() {
				c.IPv4Address = a
			} else {
				c.IPv6Address = a
			}
		}
		out.Containers[e.ID] = c
		out.Peers = []api.NetworkPeer{{Name: Node, IP: netip.MustParseAddr("192.0.2.1")}}
	}
	return out
}
