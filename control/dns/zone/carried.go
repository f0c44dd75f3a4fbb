package zone

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/control/store"
)

// What follows is what reconcile.Build decides for a whole State, for one endpoint
// or service. Each function says why something is not carried, or "".

// refusesEndpoint is about e in n, and who has what in n.
func (v *View) refusesEndpoint(n *network, e *store.Endpoint) string {
	if n.macs.contested+n.addrs.contested == 0 {
		return v.refusesAnywhere(e)
	}
	return v.refusesAmong(n, e, make(map[string]string))
}

// refusesAnywhere is about e alone.
func (v *View) refusesAnywhere(e *store.Endpoint) string {
	if !v.reached[e.Node] {
		return "its node has left or cannot be reached"
	}
	if err := reconcile.CheckEndpoint(e); err != nil {
		return err.Error()
	}
	return ""
}

// refusesAmong is about e and those that are older and want what it wants: one of
// them has it unless it was itself refused. Known are those that it was asked
// about before.
func (v *View) refusesAmong(n *network, e *store.Endpoint, known map[string]string) (why string) {
	if why, again := known[e.ID]; again {
		return why
	}
	defer func() { known[e.ID] = why }()
	if why := v.refusesAnywhere(e); why != "" {
		return why
	}
	carried := func(id string) (string, bool) {
		o, there := v.tables.Endpoints[id]
		return o.Name, there && id != e.ID && reconcile.OlderEndpoint(&o, e) && v.refusesAmong(n, &o, known) == ""
	}
	for id := range n.macs.rows(e.MAC) {
		if name, ok := carried(id); ok {
			return fmt.Sprintf("MAC %v belongs to the older endpoint %s", e.MAC, name)
		}
	}
	for _, a := range e.Addrs {
		for id := range n.addrs.rows(a.Addr()) {
			if name, ok := carried(id); ok {
				return fmt.Sprintf("address %v belongs to the older endpoint %s", a.Addr(), name)
			}
		}
	}
	return ""
}

// refusesService is about s in n.
func (v *View) refusesService(n *network, s *reconcile.Service) string {
	var known map[string]string
	if n.vips.contested > 0 {
		known = make(map[string]string)
	}
	return v.refusesServiceAmong(n, s, known)
}

// refusesServiceAmong is refusesAmong for services.
func (v *View) refusesServiceAmong(n *network, s *reconcile.Service, known map[string]string) string {
	if why, again := known[s.ID]; again {
		return why
	}
	why := v.refusesName(n, s)
	if why == "" && !s.DNSRR {
		holder := func(a netip.Addr) string { return v.holder(n, s, a, known) }
		if err := reconcile.CheckService(s.Service, n.row, holder); err != nil {
			why = err.Error()
		}
	}
	if known != nil {
		known[s.ID] = why
	}
	return why
}

// refusesName is about the name of s alone.
func (v *View) refusesName(n *network, s *reconcile.Service) string {
	for id := range n.services.rows(strings.ToLower(s.Name)) {
		if o := v.tables.Services[id]; o != nil && o.Name == s.Name && o.OlderThan(s) {
			return fmt.Sprintf("the older service %s has this name", o.ID)
		}
	}
	return ""
}

// holder says who had a before s could have it.
func (v *View) holder(n *network, s *reconcile.Service, a netip.Addr, known map[string]string) string {
	for id := range n.addrs.rows(a) {
		if e, there := v.tables.Endpoints[id]; there && v.refusesEndpoint(n, &e) == "" {
			return "is the address of endpoint " + e.Name
		}
	}
	if n.vips.contested == 0 {
		return ""
	}
	for id := range n.vips.rows(a) {
		if o := v.tables.Services[id]; o != nil && o != s && o.OlderThan(s) && v.refusesServiceAmong(n, o, known) == "" {
			return "belongs to the older service " + o.Name
		}
	}
	return ""
}

// failed says why e is not answered though it is carried.
func (v *View) failed(e *store.Endpoint) string {
	if v.tables.Failed[e.Node] {
		return "its node has failed"
	}
	return ""
}

// refusesBackend says why e, an endpoint of n, gets no new flows of s.
func (v *View) refusesBackend(n *network, s *reconcile.Service, e *store.Endpoint) string {
	if e.Network != s.Network {
		return "it is on another network"
	}
	switch v.tables.BackendState(s, e) {
	case reconcile.Failed:
		return "its node has failed"
	case reconcile.Unhealthy:
		return "it is not healthy"
	case reconcile.Draining:
		return "it drains"
	}
	return v.refusesEndpoint(n, e)
}
