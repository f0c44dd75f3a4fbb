package api

import (
	"net/netip"
	"strings"
	"time"

	"github.com/ovlnet/ovl/control/health"
	"github.com/ovlnet/ovl/control/name"
	"github.com/ovlnet/ovl/datapath/balance"
)

// Bounds of a service's times; health.MinInterval is another.
const (
	minAffinity = time.Second
	maxAffinity = 24 * time.Hour
	maxInterval = time.Hour
)

// maxTries bounds Rise and Fall, and maxPath the path of a health check, in
// bytes.
const (
	maxTries = 100
	maxPath  = 1024
)

// Validate returns an Error that names the first field out of its range.
func (r ServiceRequest) Validate() error {
	if err := name.ValidateAnswered("service", r.Name); err != nil {
		return invalid(err)
	}
	if err := ValidateRef("network", r.Network); err != nil {
		return err
	}
	if err := r.validateMode(); err != nil {
		return err
	}
	if err := validateVIPs(r.VIPs); err != nil {
		return err
	}
	if err := validatePorts(r.Ports); err != nil {
		return err
	}
	if err := validateAffinity(r.Affinity); err != nil {
		return err
	}
	if r.TableSize != 0 {
		if err := balance.CheckSize(r.TableSize); err != nil {
			return invalid(err)
		}
	}
	if r.Health != nil {
		if err := r.Health.Validate(); err != nil {
			return err
		}
	}
	return validateLabels(r.Labels)
}

func (r ServiceRequest) validateMode() error {
	switch r.Mode {
	case "", ServiceVIP:
		return nil
	case ServiceDNSRR:
	default:
		return Errorf(CodeInvalid, "mode %q of service %s is neither %s nor %s", r.Mode, r.Name, ServiceVIP, ServiceDNSRR)
	}
	for _, f := range []struct {
		what  string
		given bool
	}{
		{"VIPs", len(r.VIPs) > 0},
		{"ports", len(r.Ports) > 0},
		{"affinity", r.Affinity != 0},
		{"a table size", r.TableSize != 0},
	} {
		if f.given {
			return Errorf(CodeInvalid, "service %s cannot have %s in mode %s: its clients connect to the backends themselves", r.Name, f.what, r.Mode)
		}
	}
	return nil
}

func validateVIPs(vips []netip.Addr) error {
	if err := validateAddresses(vips); err != nil {
		return err
	}
	var four, six int
	for _, v := range vips {
		if v.Is4() {
			four++
		} else {
			six++
		}
	}
	if four > 1 || six > 1 {
		return Errorf(CodeInvalid, "%d VIPs are too many: one of each address family at most", len(vips))
	}
	return nil
}

func validatePorts(ports []ServicePort) error {
	if len(ports) > maxList {
		return Errorf(CodeInvalid, "%d ports are too many: %d at most", len(ports), maxList)
	}
	type key struct {
		protocol string
		port     uint16
	}
	seen := make(map[key]bool)
	for _, p := range ports {
		p = p.WithDefaults()
		if p.Protocol != ProtocolTCP && p.Protocol != ProtocolUDP {
			return Errorf(CodeInvalid, "protocol %q of port %d is neither %s nor %s", p.Protocol, p.Port, ProtocolTCP, ProtocolUDP)
		}
		if p.Port == 0 {
			return Errorf(CodeInvalid, "port 0 is not in 1..65535")
		}
		k := key{p.Protocol, p.Port}
		if seen[k] {
			return Errorf(CodeInvalid, "port %d/%s is given twice", p.Port, p.Protocol)
		}
		seen[k] = true
	}
	return nil
}

func validateAffinity(d Duration) error {
	v := time.Duration(d)
	if v != 0 && (v < minAffinity || v > maxAffinity || v%time.Second != 0) {
		return Errorf(CodeInvalid, "affinity %s is not in whole seconds of %s..%s", d, minAffinity, maxAffinity)
	}
	return nil
}

// Validate returns an Error that names the first field out of its range.
func (h HealthCheck) Validate() error {
	d := h.WithDefaults()
	switch {
	case h.Type != HealthTCP && h.Type != HealthHTTP:
		return Errorf(CodeInvalid, "health check %q is neither %s nor %s", h.Type, HealthTCP, HealthHTTP)
	case h.Port == 0:
		return Errorf(CodeInvalid, "port 0 of the health check is not in 1..65535")
	case h.Type != HealthHTTP && h.Path != "":
		return Errorf(CodeInvalid, "path %q does not go with a health check of type %s", h.Path, h.Type)
	case h.Path != "" && !isPath(h.Path):
		return Errorf(CodeInvalid, "path %q of the health check is not at most %d printable characters that begin with / and have no space", h.Path, maxPath)
	case time.Duration(d.Interval) < health.MinInterval || time.Duration(d.Interval) > maxInterval:
		return Errorf(CodeInvalid, "interval %s of the health check is not in %s..%s", d.Interval, health.MinInterval, maxInterval)
	case d.Timeout <= 0 || d.Timeout > d.Interval:
		return Errorf(CodeInvalid, "time-out %s of the health check is not more than 0 and at most its interval, %s", d.Timeout, d.Interval)
	case d.Rise < 1 || d.Rise > maxTries:
		return Errorf(CodeInvalid, "rise %d of the health check is not in 1..%d", d.Rise, maxTries)
	case d.Fall < 1 || d.Fall > maxTries:
		return Errorf(CodeInvalid, "fall %d of the health check is not in 1..%d", d.Fall, maxTries)
	}
	return nil
}

func isPath(s string) bool {
	bad := func(r rune) bool { return r <= ' ' || r > '~' }
	return len(s) <= maxPath && strings.HasPrefix(s, "/") && !strings.ContainsFunc(s, bad)
}

// Validate returns an Error unless r can name a service.
func (r ServiceRef) Validate() error {
	if err := ValidateRef("service", r.Service); err != nil {
		return err
	}
	if r.Network != "" {
		return ValidateRef("network", r.Network)
	}
	return nil
}

// Validate returns an Error that names the first field out of its range.
func (r ServiceUpdate) Validate() error {
	if err := r.ServiceRef.Validate(); err != nil {
		return err
	}
	if r.Ports != nil {
		if err := validatePorts(*r.Ports); err != nil {
			return err
		}
	}
	if r.Affinity != nil {
		if err := validateAffinity(*r.Affinity); err != nil {
			return err
		}
	}
	if r.Health != nil {
		if r.NoHealth {
			return Errorf(CodeInvalid, "service %s cannot both have a health check and have none", r.Service)
		}
		if err := r.Health.Validate(); err != nil {
			return err
		}
	}
	if r.Labels != nil {
		if err := validateLabels(*r.Labels); err != nil {
			return err
		}
	}
	return r.validateMembers()
}

func (r ServiceUpdate) validateMembers() error {
	if n := len(r.Add) + len(r.Remove); n > MaxMembers {
		return Errorf(CodeInvalid, "%d endpoints are too many for one update: %d at most", n, MaxMembers)
	}
	seen := make(map[string]bool)
	refs := append([]string{}, r.Remove...)
	for _, m := range r.Add {
		refs = append(refs, m.Endpoint)
	}
	for _, ref := range refs {
		if err := ValidateRef("endpoint", ref); err != nil {
			return err
		}
		if seen[ref] {
			return Errorf(CodeInvalid, "endpoint %s is given twice", ref)
		}
		seen[ref] = true
	}
	return nil
}

// validateServices is for those that an endpoint is to be a backend of.
func validateServices(refs []string) error {
	if len(refs) > maxList {
		return Errorf(CodeInvalid, "%d services are too many: %d at most", len(refs), maxList)
	}
	seen := make(map[string]bool)
	for _, ref := range refs {
		if err := ValidateRef("service", ref); err != nil {
			return err
		}
		if seen[ref] {
			return Errorf(CodeInvalid, "service %s is given twice", ref)
		}
		seen[ref] = true
	}
	return nil
}

// Validate returns an Error that names the first field out of its range.
func (r ServiceDrain) Validate() error {
	if err := r.ServiceRef.Validate(); err != nil {
		return err
	}
	return ValidateRef("endpoint", r.Endpoint)
}

// Validate returns an Error that names the first field out of its range.
func (r FlowsRequest) Validate() error {
	if r.Network != "" {
		if err := ValidateRef("network", r.Network); err != nil {
			return err
		}
	}
	if r.Service != "" {
		if err := ValidateRef("service", r.Service); err != nil {
			return err
		}
	}
	if r.Limit < 0 || r.Limit > MaxFlows {
		return Errorf(CodeInvalid, "limit %d is not in 0..%d", r.Limit, MaxFlows)
	}
	return nil
}
