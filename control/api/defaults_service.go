package api

import (
	"cmp"
	"slices"

	"github.com/ovlnet/ovl/control/health"
	"github.com/ovlnet/ovl/datapath/balance"
)

// WithDefaults returns r with what was left out, but for VIPs, and its ports in
// order.
func (r ServiceRequest) WithDefaults() ServiceRequest {
	r.Mode = cmp.Or(r.Mode, ServiceVIP)
	r.Ports = SortPorts(r.Ports)
	if r.Mode == ServiceVIP {
		r.TableSize = cmp.Or(r.TableSize, balance.DefaultSize)
	}
	if r.Health != nil {
		h := r.Health.WithDefaults()
		r.Health = &h
	}
	return r
}

// SortPorts returns ports with what was left out, by protocol and port. It is
// never nil.
func SortPorts(ports []ServicePort) []ServicePort {
	out := make([]ServicePort, 0, len(ports))
	for _, p := range ports {
		out = append(out, p.WithDefaults())
	}
	slices.SortFunc(out, func(a, b ServicePort) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
	})
	return out
}

// WithDefaults returns p with what was left out.
func (p ServicePort) WithDefaults() ServicePort {
	p.Protocol = cmp.Or(p.Protocol, ProtocolTCP)
	p.Target = cmp.Or(p.Target, p.Port)
	return p
}

// WithDefaults returns h with what was left out.
func (h HealthCheck) WithDefaults() HealthCheck {
	if h.Type == HealthHTTP {
		h.Path = cmp.Or(h.Path, "/")
	}
	h.Interval = cmp.Or(h.Interval, Duration(health.DefaultInterval))
	h.Timeout = cmp.Or(h.Timeout, min(Duration(health.DefaultTimeout), h.Interval))
	h.Rise = cmp.Or(h.Rise, health.DefaultRise)
	h.Fall = cmp.Or(h.Fall, health.DefaultFall)
	return h
}
