package kernel

import (
	"fmt"
	"time"

	"github.com/cilium/ebpf"

	"github.com/ovlnet/ovl/bpf"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// serviceNumbers are what services and endpoints are called in the maps.
type serviceNumbers struct {
	last      bpf.OvlNumbers // that were given out
	services  map[serviceName]uint32
	endpoints map[string]uint32
	left      map[string]time.Time // those that are no backends any more, since when
	stale     bool                 // last has to be written
}

// readNumbers finds the numbers that an earlier process has given out.
func readNumbers(objs *bpf.OvlObjects) (*serviceNumbers, error) {
	t := &serviceNumbers{services: map[serviceName]uint32{}, endpoints: map[string]uint32{}, left: map[string]time.Time{}}
	if err := objs.OvlNumbers.Lookup(uint32(0), &t.last); err != nil {
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
func (t *serviceNumbers) service(name serviceName) uint32 {
	n, ok := t.services[name]
	if !ok {
		t.last.Service++
		t.stale = true
		n = t.last.Service
		t.services[name] = n
	}
	return n
}

func (t *serviceNumbers) endpoint(id string) uint32 {
	n, ok := t.endpoints[id]
	if !ok {
		t.last.Endpoint++
		t.stale = true
		n = t.last.Endpoint
		t.endpoints[id] = n
	}
	delete(t.left, id)
	return n
}

// nextEpoch is not zero, as that of entries is that were never made.
func (t *serviceNumbers) nextEpoch() uint32 {
	t.stale = true
	t.last.Epoch = max(t.last.Epoch+1, 1)
	return t.last.Epoch
}

// write keeps the numbers that were given out, before anything has them.
func (t *serviceNumbers) write(m *ebpf.Map) error {
	if !t.stale {
		return nil
	}
	if err := m.Put(uint32(0), t.last); err != nil {
		return fmt.Errorf("write map ovl_numbers: %w", err)
	}
	t.stale = false
	return nil
}

// forget lets go of the numbers of services that are gone, and of those of endpoints
// that are backends no more, once no flow can have them: one that returns before
// that is the one it was.
func (t *serviceNumbers) forget(services map[serviceName]bool, endpoints map[string]bool, now time.Time) {
	for name := range services {
		delete(t.services, name)
	}
	for id := range endpoints {
		if _, left := t.left[id]; !left {
			t.left[id] = now
		}
	}
	for id, since := range t.left {
		if now.Sub(since) > datapath.FlowTimeEstablishedTCP {
			delete(t.left, id)
			delete(t.endpoints, id)
		}
	}
}
