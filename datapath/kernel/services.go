package kernel

import (
	"errors"
	"fmt"
	"time"

	"github.com/ovlnet/ovl/bpf"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// serviceAnyPort is OVL_SERVICE_ANY_PORT of bpf/types.h.
const serviceAnyPort = 1

// serviceName tells services apart.
type serviceName struct {
	vni  encap.VNI
	name string
}

// serviceTables are the tables of services alone.
type serviceTables struct {
	vips     table[bpf.OvlVipKey, bpf.OvlVipEntry]
	targets  table[bpf.OvlTargetKey, bpf.OvlTargetEntry]
	backends table[bpf.OvlBackendKey, bpf.OvlBackendEntry]
	// shares are Maglev tables, by what is in them, which contents says.
	shares   table[bpf.OvlTableKey, contentKey]
	contents map[contentKey]content

	// Who has a number, and who a content.
	names     users[serviceName]
	endpoints users[string]
	shared    users[contentKey]
}

func newServiceTables(services int) serviceTables {
	return serviceTables{
		vips:      newTable[bpf.OvlVipKey, bpf.OvlVipEntry](services),
		targets:   newTable[bpf.OvlTargetKey, bpf.OvlTargetEntry](0),
		backends:  newTable[bpf.OvlBackendKey, bpf.OvlBackendEntry](services),
		shares:    newTable[bpf.OvlTableKey, contentKey](services),
		contents:  make(map[contentKey]content, services),
		names:     newUsers[serviceName](services),
		endpoints: newUsers[string](services),
		shared:    newUsers[contentKey](services),
	}
}

// adopt says that what has a number or a map already is idle until an object of
// t has it.
func (t *serviceTables) adopt(numbers *serviceNumbers, shares *shareMaps) {
	for name := range numbers.services {
		t.names.idle[name] = true
	}
	for id := range numbers.endpoints {
		t.endpoints.idle[id] = true
	}
	for key := range shares.made {
		t.shared.idle[key] = true
	}
}

func (t *serviceTables) clash() bool {
	return t.vips.clash || t.targets.clash || t.backends.clash || t.shares.clash
}

func (t *serviceTables) written(numbers *serviceNumbers, shares *shareMaps, now time.Time) {
	t.vips.written()
	t.targets.written()
	t.backends.written()
	t.shares.written()
	numbers.forget(t.names.idle, t.endpoints.idle, now)
	shares.release(t.shared.idle)
	clear(t.names.idle)
	clear(t.endpoints.idle)
	clear(t.shared.idle)
}

// syncers lists the maps of services in the order in which they may gain entries.
func (t *serviceTables) syncers(objs *bpf.OvlObjects, shares *shareMaps) ([]syncer, error) {
	var out [4]syncer
	var errs [4]error
	out[0], errs[0] = t.backends.syncer(bpf.OvlMapOvlBackends, objs.OvlBackends)
	out[1], errs[1] = t.targets.syncer(bpf.OvlMapOvlTargets, objs.OvlTargets)
	out[2], errs[2] = shares.syncer(objs.OvlTables, t)
	out[3], errs[3] = t.vips.syncer(bpf.OvlMapOvlServices, objs.OvlServices)
	return out[:], errors.Join(errs[:]...)
}

// addService makes ServiceMAC the neighbour that has the VIPs, marks the backends,
// and says what is behind each VIP. One that cannot be carried leaves nothing.
func (t *tables) addService(vni encap.VNI, of *datapath.Service, n numbers) error {
	if len(of.VIPs) == 0 {
		return nil
	}
	if err := checkTexts(of); err != nil {
		return err
	}
	name := serviceName{vni, of.Name}
	self := n.service(name)
	t.services.names.add(name)
	e := bpf.OvlVipEntry{Service: self, Affinity: uint32(of.Affinity.Seconds())}
	if len(of.Ports) == 0 {
		e.Flags |= serviceAnyPort
	}
	putText(e.Name[:], of.Name)
	for _, vip := range of.VIPs {
		t.services.vips.add(bpf.OvlVipKey{Vni: uint32(vni), Addr: vip.As16()}, e)
		if c, ok := newContent(of, vip.Is4(), n.endpoint); ok {
			t.services.shares.add(shareKey(self, vip.Is4()), c.key)
			if t.services.shared.add(c.key) {
				t.services.contents[c.key] = c
			}
		}
	}
	for _, p := range of.Ports {
		t.services.targets.add(targetKey(self, p), bpf.OvlTargetEntry{Port: p.Target})
	}
	for i := range of.Backends {
		b := &of.Backends[i]
		e := bpf.OvlBackendEntry{Addr4: firstIPv4(b.Addrs), Addr6: firstIPv6(b.Addrs), Mac: b.MAC}
		if b.Draining {
			e.Draining = 1
		}
		putText(e.Id[:], b.ID)
		t.services.endpoints.add(b.ID)
		t.services.backends.add(bpf.OvlBackendKey{Service: self, Endpoint: n.endpoint(b.ID)}, e)
		if k := fdbKey(vni, b.MAC); t.led.add(k) {
			t.markBackend(k)
		}
	}
	t.addNeighbours(vni, datapath.ServiceMAC, of.VIPs)
	return nil
}

func (t *tables) removeService(vni encap.VNI, of *datapath.Service, n numbers) {
	if len(of.VIPs) == 0 {
		return
	}
	name := serviceName{vni, of.Name}
	self := n.service(name)
	t.services.names.drop(name)
	for _, vip := range of.VIPs {
		t.services.vips.delete(bpf.OvlVipKey{Vni: uint32(vni), Addr: vip.As16()})
		k := shareKey(self, vip.Is4())
		if c, ok := t.services.shares.now[k]; ok && t.services.shared.drop(c) {
			delete(t.services.contents, c)
		}
		t.services.shares.delete(k)
	}
	for _, p := range of.Ports {
		t.services.targets.delete(targetKey(self, p))
	}
	for i := range of.Backends {
		b := &of.Backends[i]
		t.services.endpoints.drop(b.ID)
		t.services.backends.delete(bpf.OvlBackendKey{Service: self, Endpoint: n.endpoint(b.ID)})
		if k := fdbKey(vni, b.MAC); t.led.drop(k) {
			t.markBackend(k)
		}
	}
	t.removeNeighbours(vni, of.VIPs)
}

// backendFlag is that of an endpoint which services lead to.
func (t *tables) backendFlag(k bpf.OvlFdbKey) uint16 {
	if t.led.count[k] > 0 {
		return fdbBackend
	}
	return 0
}

// markBackend writes down that services lead to an endpoint, or do not any more.
func (t *tables) markBackend(k bpf.OvlFdbKey) {
	e, ok := t.fdb.now[k]
	if !ok {
		return
	}
	flag := t.backendFlag(k)
	e.Flags = e.Flags&^fdbBackend | flag
	t.fdb.put(k, e)
	if p, ok := t.ports.now[e.Ifindex]; ok {
		p.Flags = p.Flags&^fdbBackend | uint32(flag)
		t.ports.put(e.Ifindex, p)
	}
}

func shareKey(service uint32, ipv4 bool) bpf.OvlTableKey {
	if ipv4 {
		return bpf.OvlTableKey{Service: service, Family: 4}
	}
	return bpf.OvlTableKey{Service: service, Family: 6}
}

func targetKey(service uint32, p datapath.ServicePort) bpf.OvlTargetKey {
	return bpf.OvlTargetKey{Service: service, Port: p.Port, Protocol: p.Protocol}
}

// checkTexts refuses names that the maps have no room for.
func checkTexts(v *datapath.Service) error {
	const room = len(bpf.OvlVipEntry{}.Name)
	if len(v.Name) > room {
		return fmt.Errorf("%q has more than %d bytes", v.Name, room)
	}
	for i := range v.Backends {
		if id := v.Backends[i].ID; len(id) > len(bpf.OvlBackendEntry{}.Id) {
			return fmt.Errorf("%q has more than %d bytes", id, len(bpf.OvlBackendEntry{}.Id))
		}
	}
	return nil
}

// putText writes s into zeros, which it fits in.
func putText(to []int8, s string) {
	for i := range len(s) {
		to[i] = int8(s[i])
	}
}

// text is what putText has written.
func text(from []int8) string {
	out := make([]byte, 0, len(from))
	for _, c := range from {
		if c == 0 {
			break
		}
		out = append(out, byte(c))
	}
	return string(out)
}
