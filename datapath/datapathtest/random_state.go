package datapathtest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/balance"
	"github.com/ovlnet/ovl/encap"
)

// RandomStates are States of one host, each a few changes away from the one before,
// and of the same memory where nothing has changed: mostly, as from a control plane.
// They are the same for the same seed.
type RandomStates struct {
	random   *rand.Rand
	devices  []string
	clashes  bool
	networks [3]randomNetwork
	last     datapath.State
}

// NewRandomStates has ports at these devices, which there may be in any network;
// with clashes two endpoints, or a service, may want one address.
func NewRandomStates(seed uint64, devices []string, clashes bool) *RandomStates {
	return &RandomStates{random: rand.New(rand.NewPCG(seed, 0)), devices: devices, clashes: clashes}
}

// randomNetwork is what can change in one.
type randomNetwork struct {
	there, multicast bool
	mtu, gateways    int
	endpoints        [12]randomEndpoint
	services         [5]randomService
}

// randomEndpoint is nowhere, at the device of that number less one, or at a VTEP.
type randomEndpoint struct{ device, vtep, addrs int }

type randomService struct {
	there, withoutVIP             bool
	vips, ports, affinity, weight int
	backends, draining            [12]bool
}

// Next makes a few changes.
func (s *RandomStates) Next() datapath.State {
	for range 1 + s.random.IntN(4) {
		s.change(s.random.IntN(len(s.networks)))
	}
	var out datapath.State
	for i := range s.networks {
		if s.networks[i].there {
			out.Networks = append(out.Networks, s.networks[i].network(encap.MinVNI+encap.VNI(i), s.devices))
		}
	}
	for i := range s.random.IntN(3) {
		out.Peers = append(out.Peers, datapath.Peer{VTEP: randomVTEP(i), MTU: 1400 - s.random.IntN(2)})
	}
	out.Sort()
	if s.random.IntN(3) > 0 {
		s.share(&out)
	}
	s.last = out
	return out
}

func (s *RandomStates) change(i int) {
	n := &s.networks[i]
	e := &n.endpoints[s.random.IntN(len(n.endpoints))]
	v := &n.services[s.random.IntN(len(n.services))]
	k := s.random.IntN(len(v.backends))
	switch s.random.IntN(16) {
	case 0:
		n.there = !n.there || s.random.IntN(4) > 0
	case 1:
		n.mtu = s.random.IntN(2)
	case 2:
		n.multicast = !n.multicast
	case 3:
		n.gateways = s.random.IntN(3)
	case 4, 5:
		*e = randomEndpoint{vtep: 1 + s.random.IntN(4), addrs: e.addrs}
	case 6:
		*e = randomEndpoint{addrs: e.addrs}
	case 7:
		s.plug(e)
	case 8:
		if e.addrs = s.random.IntN(3); s.clashes && s.random.IntN(3) == 0 {
			e.addrs = 3
		}
	case 9, 10:
		v.there, n.there = !v.there, true
	case 11:
		v.vips, v.withoutVIP = s.random.IntN(3), s.random.IntN(5) == 0
		if s.clashes && s.random.IntN(3) == 0 {
			v.vips = 3
		}
	case 12:
		v.ports, v.affinity = s.random.IntN(3), s.random.IntN(2)
	case 13, 14:
		v.backends[k] = !v.backends[k]
	case 15:
		v.draining[k], v.weight = !v.draining[k], s.random.IntN(2)
	}
}

// plug puts an endpoint to a device, and who is there to nowhere.
func (s *RandomStates) plug(e *randomEndpoint) {
	if len(s.devices) == 0 {
		return
	}
	device := 1 + s.random.IntN(len(s.devices))
	for i := range s.networks {
		for j := range s.networks[i].endpoints {
			if o := &s.networks[i].endpoints[j]; o.device == device {
				o.device = 0
			}
		}
	}
	*e = randomEndpoint{device: device, addrs: e.addrs}
}

func randomVTEP(i int) netip.Addr { return after(netip.AddrFrom4([4]byte{198, 18, 0, 1}), i) }

func (n *randomNetwork) network(vni encap.VNI, devices []string) datapath.Network {
	out := datapath.Network{VNI: vni, MTU: 1400 + n.mtu, Multicast: n.multicast}
	for i := range n.gateways {
		out.Gateways = append(out.Gateways, netip.AddrFrom4([4]byte{10, 0, byte(i), 254}))
	}
	for i, e := range n.endpoints {
		mac, addrs := encap.MAC{2, 5: byte(i)}, endpointAddrs(i, e.addrs)
		switch {
		case e.device > 0:
			out.Ports = append(out.Ports, datapath.Port{Device: devices[e.device-1], MAC: mac, Addrs: addrs})
		case e.vtep > 0:
			out.Remotes = append(out.Remotes, datapath.Remote{MAC: mac, Addrs: addrs, VTEP: randomVTEP(e.vtep)})
		}
	}
	for i, v := range n.services {
		if v.there {
			out.Services = append(out.Services, v.service(i, n))
		}
	}
	return out
}

// endpointAddrs are one endpoint's alone, but for those of variant 3.
func endpointAddrs(i, variant int) []netip.Addr {
	four := netip.AddrFrom4([4]byte{10, 0, byte(variant), byte(i)})
	switch variant {
	case 1:
		return []netip.Addr{four, netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(i)})}
	case 2:
		return []netip.Addr{netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(i)})}
	case 3:
		return []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, 99}), four}
	}
	return []netip.Addr{four}
}

func (v *randomService) service(i int, n *randomNetwork) datapath.Service {
	out := datapath.Service{
		Name: fmt.Sprint("service-", i), TableSize: balance.Sizes[0], Affinity: time.Duration(v.affinity) * time.Minute,
	}
	if !v.withoutVIP {
		four, six := netip.AddrFrom4([4]byte{10, 0, 9, byte(i)}), netip.AddrFrom16([16]byte{0: 0xfd, 14: 9, 15: byte(i)})
		out.VIPs = [][]netip.Addr{{four}, {six}, {four, six}, {netip.AddrFrom4([4]byte{10, 0, 0, 99})}}[v.vips]
	}
	for p := range v.ports {
		out.Ports = append(out.Ports, datapath.ServicePort{Protocol: 6, Port: uint16(80 + p), Target: 8080})
	}
	for k, is := range v.backends {
		if is {
			out.Backends = append(out.Backends, datapath.Backend{
				ID: fmt.Sprintf("endpoint-%02d", k), MAC: encap.MAC{2, 5: byte(k)}, Addrs: endpointAddrs(k, n.endpoints[k].addrs),
				Weight: uint16(1 + v.weight), Draining: v.draining[k],
			})
		}
	}
	return out
}

// share has a State use what memory of the last one it can.
func (s *RandomStates) share(now *datapath.State) {
	for i := range now.Networks {
		n := &now.Networks[i]
		at := slices.IndexFunc(s.last.Networks, func(o datapath.Network) bool { return o.VNI == n.VNI })
		if at < 0 {
			continue
		}
		was := &s.last.Networks[at]
		n.Ports, n.Remotes = sameMemory(was.Ports, n.Ports), sameMemory(was.Remotes, n.Remotes)
		n.Services = sameMemory(was.Services, n.Services)
	}
	now.Networks = sameMemory(s.last.Networks, now.Networks)
}

func sameMemory[E any](was, now []E) []E {
	if reflect.DeepEqual(was, now) {
		return was
	}
	return now
}
