package kernel

import (
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/ovlnet/ovl/bpf"
	"github.com/ovlnet/ovl/datapath"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
)

// held are maps that are brought to tables by what these say has changed.
type held struct {
	ports    map[uint32]bpf.OvlPort
	fdb      map[bpf.OvlFdbKey]bpf.OvlFdbEntry
	neigh    map[bpf.OvlNeighKey]bpf.OvlNeighEntry
	members  map[bpf.OvlMemberKey]bpf.OvlMemberEntry
	networks map[uint32]bpf.OvlNetworkEntry
	flood    map[bpf.OvlFloodKey]bpf.OvlFloodEntry
	vips     map[bpf.OvlVipKey]bpf.OvlVipEntry
	targets  map[bpf.OvlTargetKey]bpf.OvlTargetEntry
	backends map[bpf.OvlBackendKey]bpf.OvlBackendEntry
	shares   map[bpf.OvlTableKey]contentKey
}

func (h *held) bring(t *testing.T, to *tables) {
	t.Helper()
	h.ports = brought(t, h.ports, &to.ports)
	h.fdb = brought(t, h.fdb, &to.fdb)
	h.neigh = brought(t, h.neigh, &to.neigh)
	h.members = brought(t, h.members, &to.members)
	h.networks = brought(t, h.networks, &to.networks)
	h.flood = brought(t, h.flood, &to.flood)
	h.vips = brought(t, h.vips, &to.services.vips)
	h.targets = brought(t, h.targets, &to.services.targets)
	h.backends = brought(t, h.backends, &to.services.backends)
	h.shares = brought(t, h.shares, &to.services.shares)
}

// brought is what a map becomes, which must be what the table says.
func brought[K, V comparable](t *testing.T, m map[K]V, to *table[K, V]) map[K]V {
	t.Helper()
	if to.all {
		return maps.Clone(to.now)
	}
	m = maps.Clone(m)
	have, want := to.changes()
	for k, v := range have {
		if m[k] != v {
			t.Errorf("%T: entry %v is said to have been %v, it was %v", m, k, v, m[k])
		}
		delete(m, k)
	}
	maps.Copy(m, want)
	if !maps.Equal(m, to.now) {
		t.Errorf("%T: by the changes it is\n%v\nwant\n%v", m, m, to.now)
	}
	return m
}

// checkSame wants tables that have gone from State to State to be those that are
// made of the last one alone. Only the places of copies are a matter of history.
func checkSame(t *testing.T, got, want *tables) {
	t.Helper()
	same(t, "ports", got.ports.now, want.ports.now)
	same(t, "fdb", got.fdb.now, want.fdb.now)
	same(t, "neigh", got.neigh.now, want.neigh.now)
	same(t, "members", got.members.now, want.members.now)
	same(t, "services", got.services.vips.now, want.services.vips.now)
	same(t, "targets", got.services.targets.now, want.services.targets.now)
	same(t, "backends", got.services.backends.now, want.services.backends.now)
	same(t, "shares", got.services.shares.now, want.services.shares.now)
	same(t, "devices", got.devices, want.devices)
	same(t, "indexes", got.indexes, want.indexes)
	same(t, "who leads to whom", got.led.count, want.led.count)
	same(t, "remotes", got.remotes.count, want.remotes.count)
	same(t, "names", got.services.names.count, want.services.names.count)
	same(t, "endpoints", got.services.endpoints.count, want.services.endpoints.count)
	same(t, "shared", got.services.shared.count, want.services.shared.count)
	if a, b := len(got.services.contents), len(want.services.contents); a != b {
		t.Errorf("%d contents, want %d", a, b)
	}
	same(t, "copies", targetsOf(got), targetsOf(want))
	for vni, e := range got.networks.now {
		o := want.networks.now[vni]
		if e.Targets < o.Targets {
			t.Errorf("network %d: %d places of copies, want %d", vni, e.Targets, o.Targets)
		}
		e.Targets = o.Targets
		if e != o {
			t.Errorf("network %d: %+v, want %+v", vni, e, o)
		}
	}
	if len(got.networks.now) != len(want.networks.now) {
		t.Errorf("networks %v, want %v", got.networks.now, want.networks.now)
	}
}

func same[K, V comparable](t *testing.T, what string, got, want map[K]V) {
	t.Helper()
	if !maps.Equal(got, want) {
		t.Errorf("%s\n%v\nwant\n%v", what, got, want)
	}
}

// flooded is who gets copies in a network.
type flooded struct {
	vni uint32
	to  bpf.OvlFloodEntry
}

func targetsOf(t *tables) map[flooded]int {
	out := map[flooded]int{}
	for k, e := range t.flood.now {
		out[flooded{k.Vni, e}]++
		if k.Index >= uint32(t.networks.now[k.Vni].Targets) {
			out[flooded{k.Vni, e}] += 100 // nobody looks there
		}
	}
	return out
}

// TestTablesChange: from State to State, tables become what they are when made of
// one alone, and say what has changed; numbers are let go with what has them.
func TestTablesChange(t *testing.T) {
	devices := []string{"a", "b", "c", "d"}
	for _, clashes := range []bool{false, true} {
		clean, clashed := 0, 0
		for seed := range uint64(30) {
			states := dt.NewRandomStates(seed, devices, clashes)
			services := &serviceNumbers{services: map[serviceName]uint32{}, endpoints: map[string]uint32{}, left: map[string]time.Time{}}
			shares := &shareMaps{made: map[contentKey]ebpf.MapID{}}
			n := numbers{
				ifindex:  func(device string) (uint32, error) { return 10 + uint32(slices.Index(devices, device)), nil },
				peer:     func(vtep netip.Addr) (uint16, error) { return uint16(vtep.As4()[3]), nil },
				slot:     func(o slotOwner) uint32 { return o.vni<<8 + o.ifindex<<4 + uint32(o.mac[5]) },
				service:  services.service,
				endpoint: services.endpoint,
			}
			got, maps := newTables(datapath.State{}), held{}
			for range 60 {
				s := states.Next()
				if errs := got.update(s, n); len(errs) > 0 {
					t.Fatal(errs)
				}
				if got.clash() {
					if clashed++; !clashes {
						t.Fatalf("seed %d: a clash without cause", seed)
					}
					got = newTables(s) // as Apply does
					got.services.adopt(services, shares)
					got.update(s, n)
				} else {
					clean++
				}
				maps.bring(t, got)
				for key := range got.services.contents {
					shares.made[key] = 1
				}
				got.written(services, shares, time.Now())
				fresh := newTables(s)
				fresh.update(s, n)
				checkSame(t, got, fresh)
				if a, b := len(services.services), len(fresh.services.names.count); a != b {
					t.Errorf("%d services have numbers, want %d", a, b)
				}
				if a, b := len(services.endpoints)-len(services.left), len(fresh.services.endpoints.count); a != b {
					t.Errorf("%d endpoints have numbers and have not left, want %d", a, b)
				}
				if a, b := len(shares.made), len(fresh.services.contents); a != b {
					t.Errorf("%d tables of shares, want %d", a, b)
				}
				if t.Failed() {
					t.Fatalf("seed %d, clashes %v", seed, clashes)
				}
			}
		}
		if clean == 0 || clashes && clashed == 0 {
			t.Errorf("%d changes, %d with clashes", clean, clashed)
		}
	}
}

// TestForgetNumbers: an endpoint that is a backend no more keeps its number for as
// long as flows may know it by that, from when it left.
func TestForgetNumbers(t *testing.T) {
	n := &serviceNumbers{services: map[serviceName]uint32{}, endpoints: map[string]uint32{}, left: map[string]time.Time{}}
	a, b := n.endpoint("a"), n.endpoint("b")
	start := time.Unix(1000, 0)
	idle := map[string]bool{"a": true, "b": true}
	n.forget(nil, idle, start)
	late := start.Add(datapath.FlowTimeEstablishedTCP)
	n.forget(nil, idle, late) // all is looked at again, which does not make it younger
	if n.endpoint("b") != b || len(n.left) != 1 {
		t.Errorf("b has another number, or %v have left", n.left)
	}
	n.forget(nil, nil, late.Add(time.Second))
	if again := n.endpoint("a"); again == a || n.endpoint("b") != b {
		t.Errorf("numbers %d and %d: %d is given out twice, or %d is not kept", again, n.endpoint("b"), a, b)
	}
}
