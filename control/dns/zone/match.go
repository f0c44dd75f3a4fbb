package zone

import (
	"net/netip"
	"strings"

	"github.com/ovlnet/ovl/control/reconcile"
)

// form is which of the forms of names one has.
type form int

const (
	formNone     form = iota
	formService       // SERVICE
	formTasks         // tasks.SERVICE
	formPort          // _PORT._PROTO.SERVICE
	formEndpoint      // an endpoint's name or alias
	formAddress       // the reverse name of an address
	formNetwork       // the network's own name
)

// match is what of a network a name means, whether there is an answer or not.
type match struct {
	form form
	n    *network
	// zone is the network's name if the name ends in it.
	zone string
	// service is that of the first three forms.
	service *reconcile.Service
	srv     srv
	// name is that of the endpoints.
	name string
	addr netip.Addr
}

// find returns what s means in n; formNone if nothing.
func (v *View) find(n *network, s string) match {
	if about, whole, ok := parseReverse(s); ok {
		if !whole || !n.owns(about.Addr()) {
			return match{}
		}
		return match{form: formAddress, n: n, addr: about.Addr()}
	}
	bare, below := n.cut(s)
	m := v.findBare(n, s)
	switch {
	case m.form != formNone:
	case below:
		m = v.findBare(n, bare)
	case n.suffix != "" && s == n.suffix[1:]:
		m = match{form: formNetwork, n: n}
		below = true
	}
	if below {
		m.zone = n.row.Name
	}
	return m
}

// cut takes the network's name off the end of a name; false if it is not there.
func (n *network) cut(s string) (string, bool) {
	bare, ok := strings.CutSuffix(s, n.suffix)
	return bare, ok && n.suffix != "" && !strings.HasSuffix(bare, "\\") // else the dot is part of a label
}

// findBare is find for names without the network's, and not reverse ones.
func (v *View) findBare(n *network, s string) match {
	if service := v.service(n, s); service != nil {
		return match{form: formService, n: n, service: service}
	}
	if name, ok := strings.CutPrefix(s, tasks); ok {
		if service := v.service(n, name); service != nil {
			return match{form: formTasks, n: n, service: service}
		}
	}
	if asked, ok := parseSRV(s); ok {
		if service := v.service(n, asked.service); service != nil && offers(service, asked) {
			return match{form: formPort, n: n, service: service, srv: asked}
		}
	}
	if n.names.has(s) {
		return match{form: formEndpoint, n: n, name: s}
	}
	return match{}
}

// service returns the one that a name in lower case is of: the oldest.
func (v *View) service(n *network, name string) *reconcile.Service {
	var oldest *reconcile.Service
	for id := range n.services.rows(name) {
		if s := v.tables.Services[id]; oldest == nil || s.OlderThan(oldest) {
			oldest = s
		}
	}
	return oldest
}

// offers reports whether a service has this port: its VIPs have all, unless it
// lists some, and so have the backends of one without.
func offers(s *reconcile.Service, asked srv) bool {
	for _, p := range s.Ports {
		if p.Port == asked.port && p.Protocol == asked.protocol {
			return true
		}
	}
	return len(s.Ports) == 0
}

// owns reports whether an address is of one of n's subnets.
func (n *network) owns(a netip.Addr) bool {
	for _, s := range n.row.Subnets {
		if s.Prefix.Contains(a) {
			return true
		}
	}
	return false
}

// ours reports whether a name that means nothing in the networks that it was looked
// for in is the cluster's nevertheless, so that nobody else is to be asked for it.
func (v *View) ours(s string) bool {
	if about, _, ok := parseReverse(s); ok {
		for _, n := range v.networks {
			for _, subnet := range n.row.Subnets {
				if subnet.Prefix.Bits() <= about.Bits() && subnet.Prefix.Contains(about.Addr()) {
					return true
				}
			}
		}
		return false
	}
	if s == "" {
		return false // the root
	}
	if single(underService(s)) {
		return true
	}
	for rest := s; rest != ""; _, rest = cutLabel(rest) {
		if v.named[rest] != "" {
			return true
		}
	}
	return false
}
