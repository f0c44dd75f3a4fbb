package reconcile

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/balance"
)

// What the State of a host carries and what it leaves out. Names are answered by
// the same rules, so that they lead to nothing that is not carried.

// BackendState is what becomes of flows to a backend.
type BackendState int

// The states of a backend.
const (
	// Serving backends get new flows.
	Serving BackendState = iota
	// Draining backends keep the flows that they have.
	Draining
	// Unhealthy backends lose theirs.
	Unhealthy
	// Failed backends do as well: their node is known not to be alive.
	Failed
)

// BackendState returns that of e, a backend of v that is carried.
func (t *Tables) BackendState(v *Service, e *store.Endpoint) BackendState {
	switch {
	case t.Failed[e.Node]:
		return Failed
	case !v.Healthy(*e):
		return Unhealthy
	case v.Backends[e.ID].Draining:
		return Draining
	}
	return Serving
}

// Reached returns the nodes whose endpoints the host l carries, its own among
// them, by ID.
func Reached(t *Tables, l Local) map[string]bool {
	b := builder{tables: t, local: l}
	b.peers()
	out := map[string]bool{l.Node: true}
	for node := range b.vteps {
		out[node] = true
	}
	return out
}

// CheckEndpoint returns why no host carries e, whoever else is on its network.
func CheckEndpoint(e *store.Endpoint) error {
	if !e.MAC.IsUnicast() {
		return fmt.Errorf("%v is not the MAC of one interface", e.MAC)
	}
	switch e.MAC {
	case datapath.ServiceMAC:
		return fmt.Errorf("MAC %v is that of every VIP", e.MAC)
	case datapath.GatewayMAC:
		return fmt.Errorf("MAC %v is that of every gateway", e.MAC)
	}
	return nil
}

// CheckService returns why no host carries v, a service of n with VIPs. Of an
// address that somebody else has, holder says who: "is the address of …"; else "".
func CheckService(v *store.Service, n store.Network, holder func(netip.Addr) string) error {
	if err := balance.CheckSize(v.TableSize); err != nil {
		return err
	}
	if v.Affinity < 0 {
		return fmt.Errorf("affinity %v is negative", v.Affinity)
	}
	for i, p := range v.Ports {
		if p.Protocol != 6 && p.Protocol != 17 || p.Port == 0 || p.Target == 0 {
			return fmt.Errorf("port %d to %d of protocol %d is none that a service can have", p.Port, p.Target, p.Protocol)
		}
		if i > 0 && cmp.Or(cmp.Compare(v.Ports[i-1].Protocol, p.Protocol), cmp.Compare(v.Ports[i-1].Port, p.Port)) >= 0 {
			return fmt.Errorf("its ports are not in order: %d of protocol %d", p.Port, p.Protocol)
		}
	}
	if len(v.VIPs) == 0 {
		return errors.New("it has no VIP")
	}
	for i, a := range v.VIPs {
		if i > 0 && (v.VIPs[0].Is6() || a.Is4() || i > 1) {
			return fmt.Errorf("its VIPs are not one of each family, IPv4 first: %v", v.VIPs)
		}
		if err := checkVIP(a, n); err != nil {
			return err
		}
		if other := holder(a); other != "" {
			return fmt.Errorf("VIP %v %s", a, other)
		}
	}
	return nil
}

func checkVIP(a netip.Addr, n store.Network) error {
	in := func(s store.Subnet) bool { return s.Prefix.Contains(a) }
	if !slices.ContainsFunc(n.Subnets, in) {
		return fmt.Errorf("VIP %v is in none of the network's subnets", a)
	}
	if slices.ContainsFunc(n.Subnets, func(s store.Subnet) bool { return s.Gateway == a }) {
		return fmt.Errorf("VIP %v is a gateway of the network", a)
	}
	return nil
}

// OlderEndpoint reports whether a keeps what both a and b claim.
func OlderEndpoint(a, b *store.Endpoint) bool { return olderEndpoint(*a, *b) < 0 }
