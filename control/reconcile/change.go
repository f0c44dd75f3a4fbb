package reconcile

import (
	"cmp"
	"slices"

	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// endpointChange is what has gone from a network that was built, and what comes to
// it. What has changed is among both.
type endpointChange struct {
	gone, come []*store.Endpoint
}

// changes returns, by network, what is to be done for those of these endpoints that
// the host carries or is to carry. It is false if more than the endpoints themselves
// has to be decided again: which networks are here, or who of several has what they
// all want.
func (b *builder) changes(t *Tables, ids map[string]bool) (map[*building]*endpointChange, bool) {
	if b.refused {
		return nil, false
	}
	out := make(map[*building]*endpointChange)
	of := func(e *store.Endpoint) *endpointChange {
		n := b.byID[e.Network]
		if out[n] == nil {
			out[n] = new(endpointChange)
		}
		return out[n]
	}
	here := make(map[*building]int) // as many more than there were
	for id := range ids {
		if was, ok := b.tables.Endpoints[id]; ok && was.Node == b.local.Node {
			if b.byID[was.Network] == nil {
				return nil, false
			}
			here[b.byID[was.Network]]--
		}
		if was := b.byEndpoint[id]; was != nil {
			of(was).gone = append(of(was).gone, was)
		}
		e, ok := t.Endpoints[id]
		if !ok {
			continue
		}
		if e.Node == b.local.Node {
			if b.byID[e.Network] == nil {
				return nil, false
			}
			here[b.byID[e.Network]]++
		}
		if b.carries(&e) {
			of(&e).come = append(of(&e).come, &e)
		}
	}
	for n, more := range here {
		if n.here == 0 || n.here+more == 0 {
			return nil, false
		}
		n.here += more
	}
	return out, true
}

// change does it. It is false, and has done some of it, if one cannot have what it
// wants.
func (b *builder) change(changes map[*building]*endpointChange) bool {
	for n, c := range changes { // all before any comes: one may go to another network
		for _, e := range c.gone {
			b.release(n, e)
		}
	}
	for n, c := range changes {
		gone := make(map[encap.MAC]bool, len(c.gone))
		for _, e := range c.gone {
			gone[e.MAC] = true
		}
		var ports []datapath.Port
		var remotes []datapath.Remote
		for _, e := range c.come {
			if !b.claim(n, e) {
				return false
			}
			if port, remote, here := b.made(e); here {
				ports = append(ports, port)
			} else {
				remotes = append(remotes, remote)
			}
		}
		n.network.Ports = merge(n.network.Ports, func(p *datapath.Port) bool { return gone[p.MAC] }, ports,
			func(x, y datapath.Port) int { return cmp.Compare(x.Device, y.Device) })
		n.network.Remotes = merge(n.network.Remotes, func(r *datapath.Remote) bool { return gone[r.MAC] }, remotes,
			func(x, y datapath.Remote) int { return slices.Compare(x.MAC[:], y.MAC[:]) })
	}
	return true
}

// release takes back what claim has given.
func (b *builder) release(n *building, e *store.Endpoint) {
	delete(b.byEndpoint, e.ID)
	delete(n.macs, e.MAC)
	for _, a := range e.Addrs {
		delete(n.addrs, a.Addr())
	}
}

// merge returns a sorted list without what is gone and with what comes: in memory of
// its own if there is any of that, for States have the list.
func merge[E any](list []E, gone func(*E) bool, come []E, compare func(x, y E) int) []E {
	if len(come) == 0 && !slices.ContainsFunc(list, func(e E) bool { return gone(&e) }) {
		return list
	}
	slices.SortFunc(come, compare)
	out := make([]E, 0, len(list)+len(come))
	for i := range list {
		if gone(&list[i]) {
			continue
		}
		for len(come) > 0 && compare(come[0], list[i]) < 0 {
			out, come = append(out, come[0]), come[1:]
		}
		out = append(out, list[i])
	}
	return append(out, come...)
}
