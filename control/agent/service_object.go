package agent

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/balance"
)

// IP protocol numbers.
const (
	protocolTCP = 6
	protocolUDP = 17
)

// serviceObject returns v as `service inspect` shows it; flows are those of this
// host.
func serviceObject(t *reconcile.Tables, v *reconcile.Service, flows []datapath.Flow) api.Service {
	out := api.Service{
		Name:      v.Name,
		ID:        v.ID,
		Network:   networkName(t, v.Network),
		NetworkID: v.Network,
		Created:   v.Created,
		Mode:      serviceMode(v),
		VIPs:      orNone(v.VIPs),
		Ports:     apiPorts(v),
		Affinity:  api.Duration(v.Affinity),
		TableSize: v.TableSize,
		Health:    apiHealth(v.Health),
		Labels:    orEmpty(v.Labels),
		Backends:  []api.ServiceBackend{},
	}
	share := shares(t, v)
	for _, e := range backendsOf(t, v) {
		b := api.ServiceBackend{
			Name:       e.Name,
			EndpointID: e.ID,
			Node:       nodeName(t, e.Node),
			Weight:     max(v.Backends[e.ID].Weight, 1),
			State:      backendState(t, v, e),
			Share:      share[e.ID],
		}
		for _, p := range e.Addrs {
			b.Addresses = append(b.Addresses, p.Addr())
		}
		slices.SortFunc(b.Addresses, netip.Addr.Compare)
		for _, f := range flows {
			if f.BackendID == e.ID && f.VNI == t.Networks[v.Network].VNI && slices.Contains(v.VIPs, f.VIP.Addr()) {
				if f.State != datapath.FlowClosing {
					b.Flows++
				}
				b.Sent, b.Received = sum(b.Sent, f.Sent), sum(b.Received, f.Received)
			}
		}
		out.Backends = append(out.Backends, b)
	}
	return out
}

func sum(t api.Traffic, c datapath.Counter) api.Traffic {
	return api.Traffic{Packets: t.Packets + c.Packets, Bytes: t.Bytes + c.Bytes}
}

// backendsOf returns the endpoints that are backends of v, whatever their state,
// by name.
func backendsOf(t *reconcile.Tables, v *reconcile.Service) []store.Endpoint {
	var out []store.Endpoint
	for id := range v.Backends {
		if e, there := t.Endpoints[id]; there && e.Network == v.Network {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(x, y store.Endpoint) int { return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.ID, y.ID)) })
	return out
}

func backendState(t *reconcile.Tables, v *reconcile.Service, e store.Endpoint) api.BackendState {
	_, member := t.Nodes[e.Node]
	switch {
	case t.Failed[e.Node] || !member:
		return api.BackendFailed
	case v.Backends[e.ID].Draining:
		return api.BackendDraining
	case !v.Healthy(e):
		return api.BackendUnhealthy
	}
	return api.BackendServing
}

// shares returns which part of v's table leads to each endpoint.
func shares(t *reconcile.Tables, v *reconcile.Service) map[string]float64 {
	out := make(map[string]float64)
	if len(v.VIPs) == 0 || balance.CheckSize(v.TableSize) != nil {
		return out
	}
	ofFamily := func(p netip.Prefix) bool { return p.Addr().Is4() == v.VIPs[0].Is4() }
	var serving []balance.Backend
	for _, e := range backendsOf(t, v) {
		if backendState(t, v, e) == api.BackendServing && slices.ContainsFunc(e.Addrs, ofFamily) {
			serving = append(serving, balance.Backend{Name: e.ID, Weight: max(v.Backends[e.ID].Weight, 1)})
		}
	}
	for _, i := range balance.Table(serving, v.TableSize) {
		out[serving[i].Name] += 1 / float64(v.TableSize)
	}
	return out
}

func serviceMode(v *reconcile.Service) api.ServiceMode {
	if v.DNSRR {
		return api.ServiceDNSRR
	}
	return api.ServiceVIP
}

func storePorts(ports []api.ServicePort) []store.ServicePort {
	var out []store.ServicePort
	for _, p := range ports {
		protocol := uint8(protocolTCP)
		if p.Protocol == api.ProtocolUDP {
			protocol = protocolUDP
		}
		out = append(out, store.ServicePort{Protocol: protocol, Port: p.Port, Target: p.Target})
	}
	return out
}

func apiPorts(v *reconcile.Service) []api.ServicePort {
	out := []api.ServicePort{}
	for _, p := range v.Ports {
		out = append(out, api.ServicePort{Protocol: protocolName(p.Protocol), Port: p.Port, Target: p.Target})
	}
	return out
}

func protocolName(p uint8) string {
	switch p {
	case protocolTCP:
		return api.ProtocolTCP
	case protocolUDP:
		return api.ProtocolUDP
	}
	return fmt.Sprint(p)
}

func storeHealth(h *api.HealthCheck) *store.HealthCheck {
	if h == nil {
		return nil
	}
	return &store.HealthCheck{
		Type: string(h.Type), Port: h.Port, Path: h.Path, Interval: time.Duration(h.Interval), Timeout: time.Duration(h.Timeout), Rise: h.Rise, Fall: h.Fall,
	}
}

func apiHealth(h *store.HealthCheck) *api.HealthCheck {
	if h == nil {
		return nil
	}
	return &api.HealthCheck{
		Type: api.HealthType(h.Type), Port: h.Port, Path: h.Path,
		Interval: api.Duration(h.Interval), Timeout: api.Duration(h.Timeout), Rise: h.Rise, Fall: h.Fall,
	}
}

// orNone makes an absent list an empty one, so that JSON shows [] and not null.
func orNone[T any](list []T) []T { return append([]T{}, list...) }
