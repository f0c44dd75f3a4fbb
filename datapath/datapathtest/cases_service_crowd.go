package datapathtest

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// crowdCases are services that are very many, and one of very many backends.
func crowdCases(s *Site) []Case {
	if s.Family == IPv6 {
		return nil // it takes its time, and has nothing to do with the tunnel
	}
	return []Case{manyBackends(s), manyServices(s)}
}

// crowdMAC is what the MACs of endpoints on Host3 begin with of which there are many.
var crowdMAC = [4]byte{2, 0, 0xcc}

func inCrowd(e Endpoint) bool { return [4]byte(e.MAC[:4]) == crowdMAC }

// crowdBackend is the endpoint of that number as a backend.
func crowdBackend(n int) datapath.Backend {
	high, low := byte(n>>8), byte(n)
	return datapath.Backend{
		ID: fmt.Sprintf("crowd-%d", n), MAC: encap.MAC{2, 0, 0xcc, 0, high, low}, Weight: 1,
		Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0x40 | high, low}), netip.AddrFrom16([16]byte{0xfd, 13: 0x40, 14: high, 15: low})},
	}
}

func crowdEndpoint(b datapath.Backend) Endpoint {
	return Endpoint{MAC: b.MAC, V4: ofFamily(b.Addrs, IPv4), V6: ofFamily(b.Addrs, IPv6)}
}

// manyBackends is a service of a thousand backends, of which some are taken away.
func manyBackends(s *Site) Case {
	const most, fewer = 1000, 900
	v := s.service()
	v.TableSize = 65521
	var remotes []datapath.Remote
	for n := range most {
		b := crowdBackend(n)
		v.Backends = append(v.Backends, b)
		remotes = append(remotes, datapath.Remote{MAC: b.MAC, Addrs: b.Addrs, VTEP: s.Host3.Addr})
	}
	state := func(v *vip) func(*datapath.State) {
		return func(st *datapath.State) {
			v.state(st)
			n := Network(st, Red)
			n.Remotes = slices.Concat(n.Remotes, remotes)
		}
	}
	rest := v.with(slices.Clone(v.Backends[:fewer])...)
	var steps, kept, cut []Step
	for _, k := range kinds() {
		for range 12 {
			f := v.anyFlow(k.family, k.protocol, s.A, vipPort)
			steps = append(steps, f.begins()...)
			if slices.ContainsFunc(rest.Backends, func(b datapath.Backend) bool { return b.ID == f.backendID }) {
				kept = append(kept, f.forth(f.more()), f.back(f.reply()))
				continue
			}
			again := f.again(rest)
			cut = slices.Concat(cut, f.refusedOnce(), []Step{again.forth(f.more()), again.back(f.reply())})
		}
	}
	c := serviceCase("a service of a thousand backends", v, slices.Concat(steps, []Step{{State: state(rest)}}, kept, cut)...)
	c.State = state(v)
	return c
}

// manyServices are ten thousand, each of which leads to ports of its own.
func manyServices(s *Site) Case {
	const most = 10_000
	all := make([]*vip, most)
	like := s.service(s.backends()...)
	for n := range all {
		v := like.with(like.Backends...)
		v.Name = fmt.Sprintf("service-%d-of-many", n)
		v.VIPs = []netip.Addr{netip.AddrFrom4([4]byte{10, 1, byte(n >> 8), byte(n)})}
		v.Ports = []datapath.ServicePort{{Protocol: protoUDP, Port: vipPort, Target: uint16(20000 + n)}}
		all[n] = v
	}
	state := func(services []*vip) func(*datapath.State) {
		return func(st *datapath.State) {
			n := Network(st, Red)
			for _, v := range services {
				n.Services = append(n.Services, v.Service)
			}
		}
	}
	var steps, kept []Step
	some := []int{0, 1, 255, 256, 4095, 4096, 5000, most - 2, most - 1}
	for _, n := range some {
		f := all[n].flow(IPv4, protoUDP, s.A, s.C, vipPort)
		steps = append(steps, f.begins()...)
		kept = append(kept, f.forth(f.more()), f.back(f.reply()))
	}
	// One backend less of one of them, and one service less.
	changed := slices.Clone(all)
	const one, gone = 5000, 4096
	changed[one] = all[one].without(s.C)
	f := all[one].flow(IPv4, protoUDP, s.A, s.C, vipPort)
	g := all[gone].flow(IPv4, protoUDP, s.A, s.C, vipPort)
	next := f.again(changed[one])
	changed = slices.Delete(changed, gone, gone+1)
	steps = slices.Concat(steps, f.begins(), g.begins(), kept, []Step{
		{State: state(changed)}, next.forth(f.more()), next.back(f.reply()),
		g.ignored(g.more(), datapath.DropUnknownDestination),
	})
	last := all[most-1].flow(IPv4, protoUDP, s.A, s.C, vipPort)
	c := serviceCase("ten thousand services", all[0], append(steps, last.begins()...)...)
	c.State = state(all)
	return c
}
