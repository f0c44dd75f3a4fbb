package datapathtest

import (
	"strings"

	"github.com/ovlnet/ovl/datapath"
)

// vipPathCases are packets to a VIP that are too long for the path to the backend.
// Their senders are told by the gateway, of the packet as they have sent it.
func vipPathCases(s *Site) []Case {
	v := s.service(s.backends()...)
	const narrow = 1400
	narrowed := narrow - (s.InnerIP - s.OuterIP)
	var cases []Case
	for _, k := range kinds() {
		for _, client := range []Endpoint{s.A, s.TAP} {
			f := func() flow { return v.flow(k.family, k.protocol, client, s.C, vipPort) }
			name := func(name string) string { return name + " by " + k.String() + " from " + client.V4.String() }
			a := f()
			cases = append(cases, serviceCase(name("a packet as long as the MTU, and a byte longer"), v, append(a.begins(),
				a.forth(a.ofLength(s.MTU)), a.tooLong(a.ofLength(s.MTU+1), s.Gateway.on(k.family), s.MTU), a.forth(a.ofLength(s.MTU)))...))

			b := f()
			narrowPath := serviceCase(name("a path that takes less"), v, append(append([]Step{{Check: learned}}, b.begins()...),
				b.forth(b.ofLength(narrowed)), b.tooLong(b.ofLength(narrowed+1), s.Gateway.on(k.family), narrowed))...)
			narrowPath.State = func(st *datapath.State) {
				v.state(st)
				st.Peers = []datapath.Peer{{VTEP: s.Host2.Addr, MTU: narrow}}
			}
			wide := narrowPath
			e := v.flow(k.family, k.protocol, client, s.E, vipPort)
			wide.Name, wide.Steps = name("another path, that takes more"), append(e.begins(), e.forth(e.ofLength(s.MTU)))
			cases = append(cases, narrowPath, wide)

			c := f()
			nobody := serviceCase(name("without gateways"), v, append(append([]Step{{Check: learned}}, c.begins()...), c.tooLong(c.ofLength(s.MTU+1), c.to.Party, s.MTU))...)
			nobody.State = func(st *datapath.State) {
				v.state(st)
				Network(st, Red).Gateways = nil
			}
			cases = append(cases, nobody)
		}
		// To an endpoint here there is no tunnel.
		for _, backend := range []Endpoint{s.B, s.TAP} {
			f := v.flow(k.family, k.protocol, s.A, backend, vipPort)
			cases = append(cases, serviceCase("a long packet by "+k.String()+" to "+backend.V4.String(), v, append(f.begins(),
				f.forth(f.ofLength(s.MTU+1)), f.back(f.ofLength(s.MTU+1)))...))
		}
	}
	return cases
}

// ofLength builds packets of the flow of a length, IP header included.
func (f flow) ofLength(n int) build {
	least := len(f.ofPayload("")(f.from, f.to)) - OuterIPOffset
	return f.ofPayload(strings.Repeat("x", n-least))
}

func (f flow) ofPayload(payload string) build {
	if f.protocol == protoTCP {
		return segment(Segment{Flags: TCPACK, Seq: 1001, Ack: 5001, Window: 500, Payload: payload})
	}
	return datagram(payload)
}

// tooLong is a step in which the client is told that a packet does not fit, by
// who has that address.
func (f flow) tooLong(p build, by Party, mtu int) Step {
	by.MAC = f.to.MAC
	about := p(f.from, f.to)
	tell := FragmentationNeeded
	if f.family == IPv6 {
		tell = PacketTooBig
	}
	return f.refused(p, datapath.DropTooBig, tell(by, f.from.Party, mtu, about))
}
