package datapathtest

import (
	"slices"

	"github.com/ovlnet/ovl/datapath"
)

// Clone returns a copy of a State that shares no memory with it: a test may hand it
// over and go on changing its own.
func Clone(s datapath.State) datapath.State {
	out := datapath.State{Networks: slices.Clone(s.Networks), Peers: slices.Clone(s.Peers)}
	for i := range out.Networks {
		n := &out.Networks[i]
		n.Gateways, n.Ports, n.Remotes, n.Services = slices.Clone(n.Gateways), slices.Clone(n.Ports), slices.Clone(n.Remotes), slices.Clone(n.Services)
		for j := range n.Ports {
			n.Ports[j].Addrs = slices.Clone(n.Ports[j].Addrs)
		}
		for j := range n.Remotes {
			n.Remotes[j].Addrs = slices.Clone(n.Remotes[j].Addrs)
		}
		for j := range n.Services {
			v := &n.Services[j]
			v.VIPs, v.Ports, v.Backends = slices.Clone(v.VIPs), slices.Clone(v.Ports), slices.Clone(v.Backends)
			for k := range v.Backends {
				v.Backends[k].Addrs = slices.Clone(v.Backends[k].Addrs)
			}
		}
	}
	return out
}
