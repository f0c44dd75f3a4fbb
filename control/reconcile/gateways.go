package reconcile

import (
	"cmp"
	"slices"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// Gateways are the ports of the networks' gateways that a host has made
// (docs/adr/0018), by VNI. They come from the host and not from the tables, and
// are never changed: others take their place.
type Gateways struct {
	Ports map[encap.VNI]datapath.Port
}

// In returns a sorted State with the gateways of those networks that it has. s
// stays as it is. A nil g has none.
func (g *Gateways) In(s datapath.State) datapath.State {
	if g == nil || len(g.Ports) == 0 {
		return s
	}
	s.Networks = slices.Clone(s.Networks)
	for i := range s.Networks {
		n := &s.Networks[i]
		if p, there := g.Ports[n.VNI]; there {
			at, _ := slices.BinarySearchFunc(n.Ports, p, func(a, b datapath.Port) int { return cmp.Compare(a.Device, b.Device) })
			n.Ports = slices.Insert(slices.Clone(n.Ports), at, p)
		}
	}
	return s
}
