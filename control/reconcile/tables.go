package reconcile

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/encap"
)

// Tables is one snapshot of the replicated tables, decoded. It is never
// changed after it was made, so that any number of readers may share it.
type Tables struct {
	// Version is that of the snapshot.
	Version   uint64
	Nodes     map[string]store.Node
	Networks  map[string]store.Network
	Endpoints map[string]store.Endpoint
	// Services are those with a row, by ID, and Strays what is said of backends
	// of those without.
	Services map[string]*Service
	Strays   map[string]*Service
	// Failed are the nodes that are known not to be alive. It comes from the
	// gossip, not from the snapshot.
	Failed map[string]bool
	// Alarms are the rows that could not be decoded.
	Alarms []Alarm

	// base is the version in which a node or network last changed; 0 for tables
	// that no Reader has made. Those of one base differ in what the snapshots do.
	base uint64
	// snapshot is what a Reader decoded.
	snapshot *store.Snapshot
}

// ChangedSince returns the names of the rows that t may have others of than the
// tables of that version, which the same Reader made; false if it is not known.
func (t *Tables) ChangedSince(version uint64) ([]store.RowName, bool) {
	if t.snapshot == nil {
		return nil, false
	}
	return t.snapshot.ChangedSince(version)
}

// Service is a service and all that is known of its backends. A change of any
// of it makes another one, which shares what has not changed.
type Service struct {
	// Service is the row; nil in Strays.
	*store.Service
	// Backends are by endpoint ID, and so is Checked, what their health was
	// found to be. The endpoints need not exist.
	Backends map[string]store.Backend
	Checked  map[string]store.Health
}

// OlderThan reports whether v keeps what both v and o claim.
func (v *Service) OlderThan(o *Service) bool { return older(v.Created, v.ID, o.Created, o.ID) < 0 }

// Healthy reports whether an endpoint may serve as a backend of v, as far as
// its health goes. What another node than its own says of it does not count.
func (v *Service) Healthy(e store.Endpoint) bool {
	if v.Health == nil {
		return true
	}
	if h, known := v.Checked[e.ID]; known && h.Node == e.Node {
		return h.Healthy
	}
	return !v.Backends[e.ID].AwaitsHealth
}

// endpointsSince returns the IDs of the endpoints that are not what they are in
// other tables of the same base; false if that is not known.
func (t *Tables) endpointsSince(before *Tables) (map[string]bool, bool) {
	names, ok := t.ChangedSince(before.Version)
	ids := make(map[string]bool)
	for _, n := range names {
		if n.Table == store.TableEndpoint {
			ids[n.Key] = true
		}
	}
	return ids, ok
}

// Alarm is something that the cluster's state should not hold, and what was
// done about it.
type Alarm struct {
	// Object is what it is about, for example "network blue".
	Object string
	Text   string
}

// older orders objects by age: when they were created, then their IDs.
func older(created time.Time, id string, otherCreated time.Time, otherID string) int {
	return cmp.Or(created.Compare(otherCreated), strings.Compare(id, otherID))
}

func olderNetwork(a, b store.Network) int { return older(a.Created, a.ID, b.Created, b.ID) }

func olderEndpoint(a, b store.Endpoint) int { return older(a.Created, a.ID, b.Created, b.ID) }

// NetworksByAge returns all networks, the oldest first.
func (t *Tables) NetworksByAge() []store.Network {
	return slices.SortedFunc(maps.Values(t.Networks), olderNetwork)
}

// EndpointsByAge returns the endpoints of a network, the oldest first; of all
// networks when the ID is "".
func (t *Tables) EndpointsByAge(network string) []store.Endpoint {
	return t.endpoints(func(e store.Endpoint) bool { return network == "" || e.Network == network })
}

// ServicesOf returns the services of a network, the oldest first; of all
// networks when the ID is "".
func (t *Tables) ServicesOf(network string) []*Service {
	var out []*Service
	for _, v := range t.Services {
		if network == "" || v.Network == network {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(x, y *Service) int { return older(x.Created, x.ID, y.Created, y.ID) })
	return out
}

// EndpointsOf returns the endpoints of a node, the oldest first.
func (t *Tables) EndpointsOf(node string) []store.Endpoint {
	return t.endpoints(func(e store.Endpoint) bool { return e.Node == node })
}

// endpoints returns those that are wanted, the oldest first.
func (t *Tables) endpoints(wanted func(store.Endpoint) bool) []store.Endpoint {
	var out []store.Endpoint
	for _, e := range t.Endpoints {
		if wanted(e) {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, olderEndpoint)
	return out
}

// WithNetwork returns t with n in the place of the network of that ID.
func (t *Tables) WithNetwork(n store.Network) *Tables {
	next := *t
	next.snapshot = nil
	next.Networks = maps.Clone(t.Networks)
	next.Networks[n.ID] = n
	return &next
}

// FreeVNI returns the lowest VNI that no network has, and false when there is
// none.
func (t *Tables) FreeVNI() (encap.VNI, bool) {
	taken := make(map[encap.VNI]bool, len(t.Networks))
	for _, n := range t.Networks {
		taken[n.VNI] = true
	}
	for v := encap.MinVNI; v <= encap.MaxVNI; v++ {
		if !taken[v] {
			return v, true
		}
	}
	return 0, false
}

// VNILosers returns the networks whose VNI belongs to an older one, the
// oldest first. They are carried by no host until their authority has given
// them another.
func (t *Tables) VNILosers() []store.Network {
	owner := make(map[encap.VNI]bool, len(t.Networks))
	var out []store.Network
	for _, n := range t.NetworksByAge() {
		if owner[n.VNI] {
			out = append(out, n)
		}
		owner[n.VNI] = true
	}
	return out
}
