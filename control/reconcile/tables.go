package reconcile

import (
	"cmp"
	"iter"
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
	// Alarms are the rows that could not be decoded.
	Alarms []Alarm
}

// Alarm is something that the cluster's state should not hold, and what was
// done about it.
type Alarm struct {
	// Object is what it is about, for example "network blue".
	Object string
	Text   string
}

// Reader decodes snapshots. It remembers what it decoded, so that a snapshot
// costs only the rows that are new in it. It is not safe for concurrent use.
type Reader struct {
	nodes     decoder[store.Node]
	networks  decoder[store.Network]
	endpoints decoder[store.Endpoint]
}

// Read decodes s.
func (r *Reader) Read(s *store.Snapshot) *Tables {
	t := &Tables{Version: s.Version()}
	t.Nodes = r.nodes.read(t, s.All(store.TableNode))
	t.Networks = r.networks.read(t, s.All(store.TableNetwork))
	t.Endpoints = r.endpoints.read(t, s.All(store.TableEndpoint))
	return t
}

// decoder decodes the rows of one table.
type decoder[T any] struct {
	known map[string]*decoded[T]
	pass  uint64
}

type decoded[T any] struct {
	stamp store.Stamp
	value T
	err   error
	pass  uint64 // that the row was last seen in
}

func (d *decoder[T]) read(t *Tables, rows iter.Seq[store.Row]) map[string]T {
	if d.known == nil {
		d.known = make(map[string]*decoded[T])
	}
	d.pass++
	out := make(map[string]T, len(d.known))
	for row := range rows {
		v := d.known[row.Key]
		if v == nil || v.stamp != row.Stamp {
			v = &decoded[T]{stamp: row.Stamp}
			v.err = row.Decode(&v.value)
			d.known[row.Key] = v
		}
		v.pass = d.pass
		if v.err != nil {
			t.Alarms = append(t.Alarms, Alarm{
				Object: row.Table + " " + row.Key,
				Text:   "row of node " + row.Stamp.Origin + " is ignored: " + v.err.Error(),
			})
			continue
		}
		out[row.Key] = v.value
	}
	maps.DeleteFunc(d.known, func(_ string, v *decoded[T]) bool { return v.pass != d.pass })
	return out
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
