package datapathtest

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/balance"
	"github.com/ovlnet/ovl/encap"
)

// perHost is how many endpoints a host of a Crowd has.
const perHost = 100

// Crowd returns one network with that many endpoints on other hosts, a hundred
// a host, and none on this one. It is what tables look like that have grown:
// for benchmarks and for tests of size. It takes 400 000 endpoints at most.
func Crowd(vni encap.VNI, endpoints int) datapath.State {
	n := datapath.Network{VNI: vni, MTU: 1450, Remotes: make([]datapath.Remote, endpoints)}
	for i := range n.Remotes {
		n.Remotes[i] = CrowdMember(i)
	}
	return datapath.State{Networks: []datapath.Network{n}}
}

// CrowdServices is a Crowd with three endpoints for each of that many services,
// which are its backends. It takes 65 000 services at most.
func CrowdServices(vni encap.VNI, services int) datapath.State {
	s := Crowd(vni, 3*services)
	n := &s.Networks[0]
	n.Services = make([]datapath.Service, services)
	for i := range n.Services {
		v := datapath.Service{
			Name: fmt.Sprintf("service-%05d", i), VIPs: []netip.Addr{after(netip.AddrFrom4([4]byte{10, 128}), i)}, TableSize: balance.DefaultSize,
		}
		for k := range 3 {
			r := n.Remotes[3*i+k]
			v.Backends = append(v.Backends, datapath.Backend{ID: fmt.Sprintf("endpoint-%06d", 3*i+k), MAC: r.MAC, Addrs: r.Addrs, Weight: 1})
		}
		n.Services[i] = v
	}
	return s
}

// WithDrained returns s, which it shares what it can with, and there the first
// backend of a service of its first network drained or not.
func WithDrained(s datapath.State, service int, drained bool) datapath.State {
	s.Networks = slices.Clone(s.Networks)
	n := &s.Networks[0]
	n.Services = slices.Clone(n.Services)
	v := &n.Services[service]
	v.Backends = slices.Clone(v.Backends)
	v.Backends[0].Draining = drained
	return s
}

// CrowdMember returns the endpoint of that index in a Crowd: its MAC ends in
// the index, its address is 10.64.0.0 and the index, and its host's VTEP one of
// 198.18.0.0/15, the range that RFC 2544 has set aside for benchmarks.
func CrowdMember(i int) datapath.Remote {
	r := datapath.Remote{MAC: encap.MAC{2, 0xc}}
	binary.BigEndian.PutUint32(r.MAC[2:], uint32(i))
	r.Addrs = []netip.Addr{after(netip.AddrFrom4([4]byte{10, 64}), i)}
	r.VTEP = after(netip.AddrFrom4([4]byte{198, 18, 0, 1}), i/perHost)
	return r
}

// after returns the IPv4 address n places after first.
func after(first netip.Addr, n int) netip.Addr {
	b := first.As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+uint32(n))
	return netip.AddrFrom4(b)
}
