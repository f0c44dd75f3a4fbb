package datapathtest

import "github.com/ovlnet/ovl/datapath"

// connectionCases are flows from their beginning to their end, and what a
// datapath lists of them.
func connectionCases(s *Site) []Case {
	const isNew, established, closing = datapath.FlowNew, datapath.FlowEstablished, datapath.FlowClosing
	var cases []Case
	for _, family := range []Family{IPv4, IPv6} {
		for _, where := range []struct {
			name    string
			client  Endpoint
			backend Endpoint
		}{{" to another host", s.A, s.C}, {" on this host", s.A, s.B}, {" to a TAP", s.A, s.TAP}, {" from a TAP", s.TAP, s.E}} {
			v := s.service(s.backends()...)
			tcp := func() flow { return v.flow(family, protoTCP, where.client, where.backend, vipPort) }
			name := func(name string) string { return name + " over " + string(family) + where.name }
			list := []build{syn}
			life := tcp()
			cases = append(cases, serviceCase(name("a connection"), v,
				life.forth(syn), v.lists(life.known(isNew, list, nil)),
				life.forth(syn), v.lists(life.known(isNew, []build{syn, syn}, nil)),
				life.back(synAck), v.lists(life.known(established, []build{syn, syn}, []build{synAck})),
				life.forth(ack, request), life.back(ack, response), life.forth(ack),
				v.lists(life.known(established, []build{syn, syn, ack, request, ack}, []build{synAck, ack, response})),
				life.forth(fin), life.back(finBack), life.forth(lastAck),
				v.lists(life.known(closing, []build{syn, syn, ack, request, ack, fin, lastAck}, []build{synAck, ack, response, finBack})),
				life.forth(syn), v.lists(life.known(isNew, list, nil)),
				life.back(synAck), v.lists(life.known(established, list, []build{synAck})),
			))

			ended := func(what string, end func(flow) Step, forth, back []build) {
				v = s.service(s.backends()...)
				f := tcp()
				steps := append(f.begins(), end(f))
				cases = append(cases, serviceCase(name(what), v, append(steps, v.lists(f.known(closing, append([]build{syn}, forth...), append([]build{synAck}, back...))),
					// What is still under way goes where it went.
					f.forth(ack), f.back(ack),
					v.lists(f.known(closing, append([]build{syn, ack}, forth...), append([]build{synAck, ack}, back...))))...))
			}
			ended("the client finishes", func(f flow) Step { return f.forth(fin) }, []build{fin}, nil)
			ended("the backend finishes", func(f flow) Step { return f.back(finBack) }, nil, []build{finBack})
			ended("the client resets", func(f flow) Step { return f.forth(reset) }, []build{reset}, nil)
			ended("the backend resets", func(f flow) Step { return f.back(resetBack) }, nil, []build{resetBack})

			v = s.service(s.backends()...)
			midway := tcp()
			cases = append(cases, serviceCase(name("a connection that is not known"), v,
				midway.forth(request), v.lists(midway.known(isNew, []build{request}, nil)),
				midway.back(response), v.lists(midway.known(established, []build{request}, []build{response}))))

			v = s.service(s.backends()...)
			again := tcp()
			cases = append(cases, serviceCase(name("a SYN on a connection that is there"), v,
				again.forth(syn), again.back(synAck), again.forth(request, syn), again.back(response),
				v.lists(again.known(established, []build{syn, request, syn}, []build{synAck, response}))))

			v = s.service(s.backends()...)
			f := v.flow(family, protoUDP, where.client, where.backend, vipPort)
			q, a := datagram("a request"), datagram("the answer")
			cases = append(cases, serviceCase(name("a flow of UDP"), v,
				f.forth(q), f.forth(q), v.lists(f.known(isNew, []build{q, q}, nil)),
				f.back(a), v.lists(f.known(established, []build{q, q}, []build{a}))))

			// The same ports, by another protocol, are another flow.
			v = s.service(s.backends()...)
			t := tcp()
			u := v.flowFrom(family, protoUDP, where.client, t.from.Port, vipPort)
			if u.backend != where.client {
				cases = append(cases, serviceCase(name("TCP and UDP of the same ports"), v,
					t.forth(syn), u.forth(q), t.back(synAck), u.back(a), t.forth(request), u.forth(q),
					v.lists(t.known(established, []build{syn, request}, []build{synAck}), u.known(established, []build{q, q}, []build{a}))))
			}
		}

		// What nobody has asked for is no reply.
		for _, backend := range []Endpoint{s.B, s.TAP, s.C} {
			for _, protocol := range []uint8{protoTCP, protoUDP} {
				v := s.service(s.backends()...)
				f := v.flow(family, protocol, s.A, backend, vipPort)
				g := f
				g.seen.Port = s.nextPort()
				h := f
				h.target.Port++
				cases = append(cases, serviceCase("packets from a backend that are no reply, "+kind{family, protocol}.String()+" from "+backend.V4.String(), v,
					f.unknown(f.reply()), f.forth(f.first()), f.back(f.reply()),
					g.unknown(f.reply()), h.unknown(f.reply()), v.lists(f.known(established, []build{f.first()}, []build{f.reply()}))))
			}
		}
	}
	return cases
}
