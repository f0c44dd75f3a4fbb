package datapathtest

import "github.com/ovlnet/ovl/datapath"

// collisionCases are flows of one client's port that lead to one port of a
// backend: it sees them from different ports, and the client cannot tell.
func collisionCases(s *Site) []Case {
	var cases []Case
	for _, k := range kinds() {
		for _, backend := range []Endpoint{s.C, s.B, s.TAP} {
			name := func(name string) string { return name + ", " + k.String() + " to " + backend.V4.String() }
			// Ports that a datapath has chosen are of no other case if the backend's
			// port is not.
			leads := func(v *vip) {
				target := s.nextPort()
				v.Ports = []datapath.ServicePort{
					{Protocol: k.protocol, Port: vipPort, Target: target}, {Protocol: k.protocol, Port: 81, Target: target},
					{Protocol: k.protocol, Port: 82, Target: target},
				}
			}
			pair := func() (v, w *vip, both func(*datapath.State)) {
				v, w = s.service(s.backend(backend)), s.service(s.backend(backend))
				leads(v)
				w.Ports = v.Ports
				return v, w, func(st *datapath.State) {
					v.state(st)
					w.state(st)
				}
			}
			second := func(f flow, w *vip) flow { return w.flowFrom(k.family, k.protocol, f.client, f.from.Port, vipPort) }

			v, w, both := pair()
			f := v.flow(k.family, k.protocol, s.A, backend, vipPort)
			g := second(f, w)
			cases = append(cases, Case{Name: name("two VIPs"), State: both, Steps: []Step{
				f.forth(f.first()), g.late(func(g flow) Step { return g.forth(g.first()) }),
				g.late(func(g flow) Step { return g.back(g.reply()) }), f.back(f.reply()),
				f.forth(f.more()), g.late(func(g flow) Step { return g.forth(g.more()) }),
				g.late(func(g flow) Step { return g.back(g.reply()) }), f.back(f.reply()),
			}})

			// Errors, in both directions, and about packets that are too long.
			e := icmpErrors(k.family)[0]
			tell := func(from, to Party, about []byte) []byte { return ICMPError(from, to, e.typ, e.code, e.rest, about) }
			v, w, both = pair()
			f = v.flow(k.family, k.protocol, s.A, backend, vipPort)
			g = second(f, w)
			told := []Step{
				f.forth(f.first()), g.late(func(g flow) Step { return g.forth(g.first()) }), f.back(f.reply()),
				g.late(func(g flow) Step { return g.back(g.reply()) }),
				g.late(func(g flow) Step { return g.tells(tell, g.reply()) }), f.tells(tell, f.reply()),
				g.late(func(g flow) Step { return g.isTold(tell, g.first()) }), f.isTold(tell, f.first()),
			}
			if backend == s.C {
				told = append(told, g.tooLong(g.ofLength(s.MTU+1), s.Gateway.on(k.family), s.MTU))
			}
			cases = append(cases, Case{Name: name("errors of two VIPs"), State: both, Steps: told})

			// Two ports of one VIP that lead to one port.
			v = s.service(s.backend(backend))
			leads(v)
			f = v.flow(k.family, k.protocol, s.A, backend, vipPort)
			g = v.flowFrom(k.family, k.protocol, s.A, f.from.Port, 81)
			h := v.flowFrom(k.family, k.protocol, s.A, f.from.Port, 82)
			cases = append(cases, serviceCase(name("three ports of a VIP"), v,
				f.forth(f.first()), g.late(func(g flow) Step { return g.forth(g.first()) }), h.late(func(h flow) Step { return h.forth(h.first()) }),
				h.late(func(h flow) Step { return h.back(h.reply()) }), g.late(func(g flow) Step { return g.back(g.reply()) }), f.back(f.reply()),
				f.forth(f.more()), g.late(func(g flow) Step { return g.forth(g.more()) }), h.late(func(h flow) Step { return h.forth(h.more()) })))

			// Of two clients, and of two protocols, it is no collision.
			v = s.service(s.backend(backend))
			f = v.flow(k.family, k.protocol, s.A, backend, vipPort)
			client := s.B
			if backend == s.B {
				client = s.TAP
			}
			g = v.flowFrom(k.family, k.protocol, client, f.from.Port, vipPort)
			cases = append(cases, serviceCase(name("two clients"), v,
				f.forth(f.first()), g.forth(g.first()), f.back(f.reply()), g.back(g.reply()), f.forth(f.more()), g.forth(g.more())))
		}

		// To itself, the VIPs tell them apart.
		v, w := s.service(s.backend(s.A)), s.service(s.backend(s.A))
		f := v.flow(k.family, k.protocol, s.A, s.A, vipPort)
		g := w.flowFrom(k.family, k.protocol, s.A, f.from.Port, vipPort)
		c := serviceCase("two VIPs of a client that is their backend, "+k.String(), v,
			f.forth(f.first()), g.forth(g.first()), g.back(g.reply()), f.back(f.reply()), f.forth(f.more()), g.forth(g.more()))
		c.State = func(st *datapath.State) {
			v.state(st)
			w.state(st)
		}
		cases = append(cases, c)
	}
	return cases
}

// late is a step about the flow as it is when the datapath has chosen the client's
// port that the backend sees.
func (f flow) late(step func(flow) Step) Step {
	return Step{Late: func(listed []datapath.Flow) (in, out []Frame) {
		chosen := f
		chosen.seen.Port = f.sourcePort(listed)
		s := step(chosen)
		return s.In, s.Out
	}}
}
