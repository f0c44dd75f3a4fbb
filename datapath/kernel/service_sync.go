package kernel

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/cilium/ebpf"

	"github.com/ovlnet/ovl/bpf"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// serviceTable is what this process knows of the maps of services: numbers that
// were given out, and what was written last. There may be very many services, of
// which few change at a time: only those are compared, with what is remembered.
// All are compared with what the maps hold at first, after a failure, and when a
// State comes again.
type serviceTable struct {
	numbers   bpf.OvlNumbers // the last that were given out
	services  map[serviceName]uint32
	endpoints map[string]uint32
	left      map[string]time.Time // those that are no backends any more, since when
	tables    tableMaps

	now     map[serviceName]*service // as the maps have them
	checked bool                     // that they do
	next    map[serviceName]*service // once changes are made
	stale   bool                     // numbers have to be written
}

// readServices finds the numbers that an earlier process has given out.
func readServices(objs *bpf.OvlObjects) (*serviceTable, error) {
	spec, err := bpf.LoadOvl()
	if err != nil {
		return nil, err
	}
	t := &serviceTable{
		services: map[serviceName]uint32{}, endpoints: map[string]uint32{}, left: map[string]time.Time{},
		tables: tableMaps{spec: spec.Maps[bpf.OvlMapOvlTables].InnerMap, made: map[[sha256.Size]byte]ebpf.MapID{}},
	}
	if err := objs.OvlNumbers.Lookup(uint32(0), &t.numbers); err != nil {
		return nil, fmt.Errorf("read map ovl_numbers: %w", err)
	}
	vips, err := readAll[bpf.OvlVipKey, bpf.OvlVipEntry](objs.OvlServices)
	if err != nil {
		return nil, fmt.Errorf("read map ovl_services: %w", err)
	}
	for k, e := range vips {
		t.services[serviceName{encap.VNI(k.Vni), text(e.Name[:])}] = e.Service
	}
	backends, err := readAll[bpf.OvlBackendKey, bpf.OvlBackendEntry](objs.OvlBackends)
	if err != nil {
		return nil, fmt.Errorf("read map ovl_backends: %w", err)
	}
	for k, e := range backends {
		t.endpoints[text(e.Id[:])] = k.Endpoint
	}
	return t, nil
}

// service and endpoint return the number of one, a new one if it has none. None
// is ever given out twice.
func (t *serviceTable) service(name serviceName) uint32 {
	n, ok := t.services[name]
	if !ok {
		t.numbers.Service++
		t.stale = true
		n = t.numbers.Service
		t.services[name] = n
	}
	return n
}

func (t *serviceTable) endpoint(id string) uint32 {
	n, ok := t.endpoints[id]
	if !ok {
		t.numbers.Endpoint++
		t.stale = true
		n = t.numbers.Endpoint
		t.endpoints[id] = n
	}
	return n
}

// nextEpoch is not zero, as that of entries is that were never made.
func (t *serviceTable) nextEpoch() uint32 {
	t.stale = true
	t.numbers.Epoch = max(t.numbers.Epoch+1, 1)
	return t.numbers.Epoch
}

// write keeps the numbers that were given out, before anything has them.
func (t *serviceTable) write(m *ebpf.Map) error {
	if !t.stale {
		return nil
	}
	if err := m.Put(uint32(0), t.numbers); err != nil {
		return fmt.Errorf("write map ovl_numbers: %w", err)
	}
	t.stale = false
	return nil
}

// plan builds the services of s that have changed. Those that cannot be are left
// out and reported.
func (t *serviceTable) plan(s datapath.State) (errs []error) {
	t.next = make(map[serviceName]*service, len(t.now))
	for _, n := range s.Networks {
		for _, v := range n.Services {
			if len(v.VIPs) == 0 {
				continue
			}
			name := serviceName{n.VNI, v.Name}
			if old, ok := t.now[name]; ok && sameService(old.of, v) {
				t.next[name] = old
				continue
			}
			built, err := buildService(name, v, t.service(name), t.endpoint)
			if err != nil {
				errs = append(errs, &datapath.ObjectError{Object: fmt.Sprintf("service %s of VNI %s", v.Name, n.VNI), Err: err})
				continue
			}
			t.next[name] = built
		}
	}
	return errs
}

// syncers lists the maps of services in the order in which they may gain entries.
// all: what the maps hold is read.
func (t *serviceTable) syncers(objs *bpf.OvlObjects, all bool) ([]syncer, error) {
	all = all || !t.checked
	have, want := serviceMaps{}, serviceMaps{}
	for name, v := range t.next {
		if all || t.now[name] != v {
			want.add(v)
		}
	}
	if all {
		return t.allSyncers(objs, want)
	}
	for name, v := range t.now {
		if t.next[name] != v {
			have.add(v)
		}
	}
	return t.syncersOf(objs, have, want, t.tables.numbers(have.tables)), nil
}

func (t *serviceTable) allSyncers(objs *bpf.OvlObjects, want serviceMaps) ([]syncer, error) {
	var have serviceMaps
	var errs [4]error
	var tables map[bpf.OvlTableKey]uint32
	have.vips, errs[0] = readAll[bpf.OvlVipKey, bpf.OvlVipEntry](objs.OvlServices)
	have.targets, errs[1] = readAll[bpf.OvlTargetKey, bpf.OvlTargetEntry](objs.OvlTargets)
	have.backends, errs[2] = readAll[bpf.OvlBackendKey, bpf.OvlBackendEntry](objs.OvlBackends)
	tables, errs[3] = readAll[bpf.OvlTableKey, uint32](objs.OvlTables)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("read maps of services: %w", err)
	}
	return t.syncersOf(objs, have, want, tables), nil
}

func (t *serviceTable) syncersOf(objs *bpf.OvlObjects, have, want serviceMaps, tables map[bpf.OvlTableKey]uint32) []syncer {
	return []syncer{
		syncerOf(bpf.OvlMapOvlBackends, objs.OvlBackends, have.backends, want.backends),
		syncerOf(bpf.OvlMapOvlTargets, objs.OvlTargets, have.targets, want.targets),
		t.tables.syncer(objs.OvlTables, tables, want.tables),
		syncerOf(bpf.OvlMapOvlServices, objs.OvlServices, have.vips, want.vips),
	}
}

// numbers are the inner maps that tables are in.
func (t *tableMaps) numbers(tables map[bpf.OvlTableKey]tableContent) map[bpf.OvlTableKey]uint32 {
	out := make(map[bpf.OvlTableKey]uint32, len(tables))
	for k, c := range tables {
		out[k] = uint32(t.made[c.key])
	}
	return out
}

// done takes the plan for what the maps have.
func (t *serviceTable) done(ok bool) {
	changed := len(t.now) != len(t.next)
	for name, v := range t.next {
		changed = changed || t.now[name] != v
	}
	t.now, t.checked = t.next, ok
	if !changed || !ok {
		return
	}
	endpoints, tables := map[string]bool{}, map[[sha256.Size]byte]bool{}
	for _, v := range t.now {
		for _, b := range v.of.Backends {
			endpoints[b.ID] = true
		}
		for _, c := range v.tables {
			tables[c.key] = true
		}
	}
	maps.DeleteFunc(t.services, func(name serviceName, _ uint32) bool { return t.now[name] == nil })
	t.forget(endpoints, time.Now())
	t.tables.release(tables)
}

// forget lets go of the numbers of endpoints that are backends no more, once no
// flow can have them: one that returns before that is the one it was.
func (t *serviceTable) forget(used map[string]bool, now time.Time) {
	for id := range t.endpoints {
		since, left := t.left[id]
		switch {
		case used[id]:
			delete(t.left, id)
		case !left:
			t.left[id] = now
		case now.Sub(since) > datapath.FlowTimeEstablishedTCP:
			delete(t.left, id)
			delete(t.endpoints, id)
		}
	}
}

// serviceMaps is the content of several services' maps.
type serviceMaps struct {
	vips     map[bpf.OvlVipKey]bpf.OvlVipEntry
	targets  map[bpf.OvlTargetKey]bpf.OvlTargetEntry
	backends map[bpf.OvlBackendKey]bpf.OvlBackendEntry
	tables   map[bpf.OvlTableKey]tableContent
}

func (m *serviceMaps) add(v *service) {
	if m.vips == nil {
		m.vips, m.targets = map[bpf.OvlVipKey]bpf.OvlVipEntry{}, map[bpf.OvlTargetKey]bpf.OvlTargetEntry{}
		m.backends, m.tables = map[bpf.OvlBackendKey]bpf.OvlBackendEntry{}, map[bpf.OvlTableKey]tableContent{}
	}
	maps.Copy(m.vips, v.vips)
	maps.Copy(m.targets, v.targets)
	maps.Copy(m.backends, v.backends)
	maps.Copy(m.tables, v.tables)
}
