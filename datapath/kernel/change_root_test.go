package kernel

import (
	"context"
	"fmt"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/ovlnet/ovl/bpf"
	"github.com/ovlnet/ovl/datapath"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/datapath/link/linktest"
	"github.com/ovlnet/ovl/encap"
)

// TestStatesInARow applies States one after the other, which are written as what
// differs from the last. Each then comes again, which makes all of it anew and
// compares it with the maps: they must be as it would make them. What somebody has
// changed by hand is put right then, and counted.
func TestStatesInARow(t *testing.T) {
	for name, hook := range hooksToTest {
		t.Run(name, func(t *testing.T) {
			h := newBed(t, linktest.Options{Hosts: 1}, hook).hosts[0]
			var devices []string
			for i := range 4 {
				devices = append(devices, fmt.Sprint("port", i))
				run(t, h.Namespace, "ip", "link", "add", devices[i], "type", "veth", "peer", "name", fmt.Sprint("peer", i))
			}
			apply := func(s datapath.State) {
				t.Helper()
				if err := h.Do(func() error { return h.dp.Apply(context.Background(), s) }); err != nil {
					t.Fatal(err)
				}
			}
			for seed, clashes := range []bool{false, true} {
				states := dt.NewRandomStates(uint64(seed), devices, clashes)
				for i := range 20 {
					s := states.Next()
					apply(s)
					before := h.stats(t).Drift
					if i%4 == 0 {
						h.damage(t, i)
					}
					after := dt.Clone(s) // the same, and not by its memory
					apply(after)
					drift := h.stats(t).Drift - before
					if damaged := i%4 == 0; damaged && !h.dp.tables.clash() != (drift > 0) || !damaged && drift > 0 {
						t.Errorf("seed %d, State %d: %d entries were not as a State alone makes them (damaged: %v)\n%s", seed, i, drift, damaged, h.tables(t))
					}
					apply(after)
					if again := h.stats(t).Drift - before - drift; again > 0 {
						t.Errorf("seed %d, State %d: repaired %d entries a second time", seed, i, again)
					}
					h.checkMaps(t)
					if t.Failed() {
						t.FailNow()
					}
				}
				apply(datapath.State{Networks: []datapath.Network{{VNI: testVNI, MTU: 1400, Ports: []datapath.Port{{Device: devices[0], MAC: mac(1)}}}}})
				apply(datapath.State{})
				for a := range attachedTo(t, h) {
					if a.program == fromEndpoint {
						t.Errorf("%s is still attached to device #%d", a.program, a.ifindex)
					}
				}
			}
		})
	}
}

// damage changes maps as nobody should.
func (h *bedHost) damage(t *testing.T, i int) {
	t.Helper()
	o := &h.dp.objs
	stray := fdbKey(testVNI, encap.MAC{2, 9, 9, 9, 9, byte(i)})
	if err := o.OvlFdb.Put(stray, bpf.OvlFdbEntry{Ifindex: 1}); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*ebpf.Map{o.OvlNeigh, o.OvlFdb, o.OvlMembers, o.OvlServices, o.OvlTables, o.OvlBackends, o.OvlTargets} {
		key, err := m.NextKeyBytes(nil)
		if err != nil {
			t.Fatal(err)
		}
		if key == nil {
			continue
		}
		if err := m.Delete(key); err != nil {
			t.Fatal(err)
		}
	}
}

// checkMaps compares the maps with the tables, entry by entry.
func (h *bedHost) checkMaps(t *testing.T) {
	t.Helper()
	o, want := &h.dp.objs, h.dp.tables
	checkMap(t, o.OvlPorts, want.ports.now)
	checkMap(t, o.OvlFdb, want.fdb.now)
	checkMap(t, o.OvlNeigh, want.neigh.now)
	checkMap(t, o.OvlMembers, want.members.now)
	checkMap(t, o.OvlNetworks, want.networks.now)
	checkMap(t, o.OvlFlood, want.flood.now)
	checkMap(t, o.OvlServices, want.services.vips.now)
	checkMap(t, o.OvlTargets, want.services.targets.now)
	checkMap(t, o.OvlBackends, want.services.backends.now)
	shares := map[bpf.OvlTableKey]uint32{}
	for k, c := range want.services.shares.now {
		shares[k] = uint32(h.dp.shares.made[c])
	}
	checkMap(t, o.OvlTables, shares)
}

func checkMap[K, V comparable](t *testing.T, m *ebpf.Map, want map[K]V) {
	t.Helper()
	have, err := readAll[K, V](m)
	if err != nil {
		t.Fatal(err)
	}
	same(t, m.String(), have, want)
}
