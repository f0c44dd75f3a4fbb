package reconcile

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"

	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/datapath"
)

// balanced are the services of one network.
type balanced struct {
	// slots by ascending name, list what was made of them; nil: it has to be.
	slots []slot
	list  []datapath.Service
	// led are the numbers of the slots that lead to an endpoint, by its ID.
	led map[string][]int
	// vips are the addresses of all.
	vips map[netip.Addr]bool
	// alarms are about services that have none.
	alarms []Alarm
}

// slot is a service that its network has, and what was made of it.
type slot struct {
	row   *Service
	built datapath.Service
}

// services is the same list as long as nothing in it changes.
func (b *balanced) services() []datapath.Service {
	if b.list == nil {
		b.list = make([]datapath.Service, 0, len(b.slots))
		for i := range b.slots {
			b.list = append(b.list, b.slots[i].built)
		}
	}
	return b.list
}

// buildServices brings b.services to what t says, from what they were: where none
// has come, gone or changed itself, it builds only those whose backends have, or
// with an endpoint that has moved.
func (b *Builder) buildServices(t *Tables, moved map[string]bool) {
	all := b.services == nil || !sameServices(t.Services, b.tables.Services)
	if all {
		b.placeServices(t)
	} else {
		b.base.addTurned(moved, difference(t.Failed, b.tables.Failed))
	}
	for _, of := range b.services {
		stale := make(map[int]bool)
		for id := range moved {
			for _, i := range of.led[id] {
				stale[i] = true
			}
		}
		for i := range of.slots {
			s := &of.slots[i]
			if now := t.Services[s.row.ID]; all || now != s.row || stale[i] {
				of.lead(i, s.row, now)
				s.row = now
				s.built.Backends = b.base.backends(t, now)
				of.list = nil
			}
		}
	}
}

// lead notes whom slot i leads to now.
func (b *balanced) lead(i int, was, now *Service) {
	if was == now {
		return
	}
	for id := range was.Backends {
		if _, stays := now.Backends[id]; stays {
			continue
		}
		if b.led[id] = slices.DeleteFunc(b.led[id], func(o int) bool { return o == i }); len(b.led[id]) == 0 {
			delete(b.led, id)
		}
	}
	for id := range now.Backends {
		if _, was := was.Backends[id]; !was {
			b.led[id] = append(b.led[id], i)
		}
	}
}

// keepsPlaces reports whether the services that were placed with the base before
// would be so again: the networks are what they were, and nobody has come by a VIP.
func (b *Builder) keepsPlaces(before *builder) bool {
	if len(b.base.present) != len(before.present) {
		return false
	}
	for i, n := range b.base.present {
		o := before.present[i]
		if n.row.ID != o.row.ID || n.row.Name != o.row.Name || !reflect.DeepEqual(n.row.Subnets, o.row.Subnets) {
			return false
		}
		of := b.services[n.row.ID]
		if of == nil {
			continue
		}
		if len(of.alarms) > 0 {
			return false // what was in the way may be gone
		}
		for a := range of.vips {
			if _, taken := n.addrs[a]; taken {
				return false
			}
		}
	}
	return true
}

// keepsPlacesAfter is keepsPlaces where no more has changed than these.
func (b *Builder) keepsPlacesAfter(changes map[*building]*endpointChange) bool {
	for n, c := range changes {
		of := b.services[n.row.ID]
		if of == nil {
			continue
		}
		if len(of.alarms) > 0 {
			return false
		}
		for _, e := range c.come {
			if slices.ContainsFunc(e.Addrs, func(a netip.Prefix) bool { return of.vips[a.Addr()] }) {
				return false
			}
		}
	}
	return true
}

// addTurned adds the endpoints on these nodes, which have turned from failed to
// alive or the other way, to those that have moved.
func (b *builder) addTurned(moved, turned map[string]bool) {
	if len(turned) == 0 {
		return
	}
	for id, e := range b.byEndpoint {
		if turned[e.Node] {
			moved[id] = true
		}
	}
}

// moved returns the endpoints that have come, gone, or changed what backends have
// of them, by ID.
func (b *builder) moved(before *builder) map[string]bool {
	out := make(map[string]bool)
	if before == nil {
		return out
	}
	for id, e := range b.byEndpoint {
		o := before.byEndpoint[id]
		if o == nil || o.MAC != e.MAC || o.Node != e.Node || o.Network != e.Network || !slices.Equal(o.Addrs, e.Addrs) {
			out[id] = true
		}
	}
	for id := range before.byEndpoint {
		if b.byEndpoint[id] == nil {
			out[id] = true
		}
	}
	return out
}

// difference returns the nodes that are in one of two sets.
func difference(x, y map[string]bool) map[string]bool {
	out := make(map[string]bool)
	for node := range x {
		out[node] = x[node] != y[node]
	}
	for node := range y {
		out[node] = x[node] != y[node]
	}
	maps.DeleteFunc(out, func(_ string, differs bool) bool { return !differs })
	return out
}

// sameServices reports whether two tables have the same services, whatever
// their backends.
func sameServices(x, y map[string]*Service) bool {
	if len(x) != len(y) {
		return false
	}
	for id, v := range x {
		if o := y[id]; o == nil || o.Service != v.Service {
			return false
		}
	}
	return true
}

// placeServices gives names and VIPs to services, oldest first, so that of two
// with one of them the oldest has it.
func (b *Builder) placeServices(t *Tables) {
	b.services = make(map[string]*balanced)
	byNetwork := make(map[string][]*Service)
	for _, v := range t.Services {
		if n := b.base.byID[v.Network]; n != nil && len(n.network.Ports) > 0 {
			byNetwork[v.Network] = append(byNetwork[v.Network], v)
		}
	}
	for _, n := range b.base.present {
		all := byNetwork[n.row.ID]
		if len(all) == 0 {
			continue
		}
		slices.SortFunc(all, func(x, y *Service) int { return older(x.Created, x.ID, y.Created, y.ID) })
		b.services[n.row.ID] = n.place(all)
	}
}

// place makes slots of a network's services, the oldest of which comes first.
func (n *building) place(all []*Service) *balanced {
	out := &balanced{slots: make([]slot, 0, len(all)), led: make(map[string][]int, len(all)), vips: make(map[netip.Addr]bool, len(all))}
	named := make(map[string]*Service, len(all))
	owner := make(map[netip.Addr]*Service, len(all))
	for _, v := range all {
		refuse := func(format string, args ...any) {
			out.alarms = append(out.alarms, Alarm{
				Object: "service " + v.Name + " of network " + n.row.Name, Text: "is left out: " + fmt.Sprintf(format, args...),
			})
		}
		if o, taken := named[v.Name]; taken {
			refuse("the older service %s has this name: this one is %s", o.ID, v.ID)
			continue
		}
		named[v.Name] = v
		if v.DNSRR {
			continue
		}
		if err := CheckService(v.Service, n.row, func(a netip.Addr) string { return n.holder(a, owner) }); err != nil {
			refuse("%v", err)
			continue
		}
		for _, a := range v.VIPs {
			owner[a], out.vips[a] = v, true
		}
		out.slots = append(out.slots, slot{row: v, built: datapath.Service{
			Name: v.Name, VIPs: v.VIPs, Ports: servicePorts(v.Service), Affinity: v.Affinity, TableSize: v.TableSize,
		}})
	}
	slices.SortFunc(out.slots, func(x, y slot) int { return cmp.Compare(x.row.Name, y.row.Name) })
	for i, s := range out.slots {
		out.lead(i, new(Service), s.row)
	}
	return out
}

// holder says who has an address of the network, for CheckService.
func (n *building) holder(a netip.Addr, owner map[netip.Addr]*Service) string {
	if e, taken := n.addrs[a]; taken {
		return "is the address of endpoint " + e.Name
	}
	if v, taken := owner[a]; taken {
		return "belongs to the older service " + v.Name
	}
	return ""
}

func servicePorts(v *store.Service) []datapath.ServicePort {
	var out []datapath.ServicePort
	for _, p := range v.Ports {
		out = append(out, datapath.ServicePort(p))
	}
	return out
}

// backends returns those of a service that are there, whose node is not known to
// have failed, and which are not known to be unhealthy; by ascending ID.
func (b *builder) backends(t *Tables, v *Service) []datapath.Backend {
	if len(v.Backends) == 0 {
		return nil
	}
	out := make([]datapath.Backend, 0, len(v.Backends))
	for id, row := range v.Backends {
		e := b.byEndpoint[id]
		if e == nil || e.Network != v.Network {
			continue
		}
		state := t.BackendState(v, e)
		if state != Serving && state != Draining {
			continue
		}
		k := datapath.Backend{ID: id, MAC: e.MAC, Addrs: make([]netip.Addr, 0, len(e.Addrs)), Weight: max(row.Weight, 1), Draining: state == Draining}
		for _, a := range e.Addrs {
			k.Addrs = append(k.Addrs, a.Addr())
		}
		slices.SortFunc(k.Addrs, netip.Addr.Compare)
		out = append(out, k)
	}
	slices.SortFunc(out, func(x, y datapath.Backend) int { return cmp.Compare(x.ID, y.ID) })
	return out
}
