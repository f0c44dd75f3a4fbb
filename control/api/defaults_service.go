package api

import (
	"cmp"
	"slices"
	"time"

	"github.com/ovlnet/ovl/datapath/balance"
)

// What a health check has that is not told otherwise.
const (
	defaultInterval = Duration(10 * time.Second)
	defaultTimeout  = Duration(2 * time.Second)
	defaultRise     = 2
	defaultFall     = 3
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
	h.Interval = cmp.Or(h.Interval, defaultInterval)
	h.Timeout = cmp.Or(h.Timeout, min(defaultTimeout, h.Interval))
	h.Rise = cmp.Or(h.Rise, defaultRise)
	h.Fall = cmp.Or(h.Fall, defaultFall)
	return h
}
