package kernel

import (
	"fmt"
	"slices"

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

// service is one as the maps have it.
type service struct {
	of       datapath.Service
	vips     map[bpf.OvlVipKey]bpf.OvlVipEntry
	targets  map[bpf.OvlTargetKey]bpf.OvlTargetEntry
	backends map[bpf.OvlBackendKey]bpf.OvlBackendEntry
	tables   map[bpf.OvlTableKey]tableContent
}

// buildService turns a service into entries; number gives endpoints theirs.
func buildService(name serviceName, of datapath.Service, self uint32, number func(id string) uint32) (*service, error) {
	v := &service{
		of:       of,
		vips:     make(map[bpf.OvlVipKey]bpf.OvlVipEntry, len(of.VIPs)),
		targets:  make(map[bpf.OvlTargetKey]bpf.OvlTargetEntry, len(of.Ports)),
		backends: make(map[bpf.OvlBackendKey]bpf.OvlBackendEntry, len(of.Backends)),
		tables:   make(map[bpf.OvlTableKey]tableContent, len(of.VIPs)),
	}
	e := bpf.OvlVipEntry{Service: self, Affinity: uint32(of.Affinity.Seconds())}
	if len(of.Ports) == 0 {
		e.Flags |= serviceAnyPort
	}
	if err := putText(e.Name[:], of.Name); err != nil {
		return nil, err
	}
	for _, vip := range of.VIPs {
		v.vips[bpf.OvlVipKey{Vni: uint32(name.vni), Addr: vip.As16()}] = e
		family := uint32(6)
		if vip.Is4() {
			family = 4
		}
		if c, ok := newTableContent(of, vip.Is4(), number); ok {
			v.tables[bpf.OvlTableKey{Service: self, Family: family}] = c
		}
	}
	for _, p := range of.Ports {
		v.targets[bpf.OvlTargetKey{Service: self, Port: p.Port, Protocol: p.Protocol}] = bpf.OvlTargetEntry{Port: p.Target}
	}
	for _, b := range of.Backends {
		e := bpf.OvlBackendEntry{Addr4: firstIPv4(b.Addrs), Addr6: firstIPv6(b.Addrs), Mac: b.MAC}
		if b.Draining {
			e.Draining = 1
		}
		if err := putText(e.Id[:], b.ID); err != nil {
			return nil, err
		}
		v.backends[bpf.OvlBackendKey{Service: self, Endpoint: number(b.ID)}] = e
	}
	return v, nil
}

// putText writes s, and zeros behind it.
func putText(to []int8, s string) error {
	if len(s) > len(to) {
		return fmt.Errorf("%q has more than %d bytes", s, len(to))
	}
	for i := range len(s) {
		to[i] = int8(s[i])
	}
	return nil
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

func sameService(a, b datapath.Service) bool {
	return a.Affinity == b.Affinity && a.TableSize == b.TableSize &&
		slices.Equal(a.VIPs, b.VIPs) && slices.Equal(a.Ports, b.Ports) &&
		slices.EqualFunc(a.Backends, b.Backends, func(x, y datapath.Backend) bool {
			return x.ID == y.ID && x.MAC == y.MAC && x.Weight == y.Weight && x.Draining == y.Draining &&
				slices.Equal(x.Addrs, y.Addrs)
		})
}
