package datapathtest

import (
	"slices"

	"github.com/ovlnet/ovl/datapath"
)

// directCases are connections from a client straight to a backend, by the ports of a
// flow of that client through a VIP: the backend answers both alike.
func directCases(s *Site) []Case {
	var cases []Case
	for _, family := range []Family{IPv4, IPv6} {
		for _, where := range []struct {
			name    string
			client  Endpoint
			backend Endpoint
		}{{" to another host", s.A, s.C}, {" on this host", s.A, s.B}, {" to a TAP", s.A, s.TAP}, {" from a TAP", s.TAP, s.E}} {
			name := func(name string) string { return name + " over " + string(family) + where.name }
			begin := func() (*vip, flow, []Step) {
				v := s.service(s.backends()...)
				f := v.flow(family, protoTCP, where.client, where.backend, vipPort)
				return v, f, f.begins()
			}
			cases = slices.Concat(cases, afterEndCases(begin, name), besideCases(begin, name), otherTupleCases(s, begin, name))
		}
		cases = append(cases, directCollisionCase(s, family), directDatagramCase(s, family))
	}
	return cases
}

// afterEndCases are direct connections by the ports of one that is over: nothing of
// them is the VIP's.
func afterEndCases(begin func() (*vip, flow, []Step), name func(string) string) []Case {
	var cases []Case
	for _, end := range []struct {
		name  string
		steps func(flow) []Step
	}{
		{"both finish, the client first", func(f flow) []Step { return []Step{f.forth(fin), f.back(finBack), f.forth(lastAck)} }},
		{"both finish, the backend first", func(f flow) []Step { return []Step{f.back(finBack), f.forth(fin), f.back(lastAck)} }},
		{"the client resets", func(f flow) []Step { return []Step{f.forth(reset)} }},
		{"the backend resets", func(f flow) []Step { return []Step{f.back(resetBack)} }},
		{"the client finishes, the backend resets", func(f flow) []Step { return []Step{f.forth(fin), f.back(resetBack)} }},
		{"the client finishes, and resets", func(f flow) []Step { return []Step{f.forth(fin), f.forth(reset)} }},
	} {
		v, f, steps := begin()
		cases = append(cases, serviceCase(name("a direct connection when "+end.name), v, slices.Concat(steps, end.steps(f), []Step{
			f.direct(syn), v.lists(), f.unknown(synAck), f.direct(ack, request), f.unknown(response),
			f.direct(fin), f.unknown(finBack), f.direct(lastAck), v.lists(),
		})...))
	}

	v, f, _ := begin()
	cases = append(cases, serviceCase(name("a direct connection when the backend has refused one"), v,
		f.forth(syn), f.back(resetBack), f.direct(syn), v.lists(), f.unknown(synAck), f.direct(request)))

	// The next by the VIP is one like any other: what is direct, nobody remembers.
	v, f, steps := begin()
	cases = append(cases, serviceCase(name("a connection after a direct one"), v, slices.Concat(steps, []Step{
		f.forth(reset), f.direct(syn), f.unknown(synAck), f.direct(reset),
	}, f.begins(), []Step{v.lists(f.known(datapath.FlowEstablished, []build{syn}, []build{synAck}))})...))
	return cases
}

// besideCases are direct packets while there is a flow that is not over, or that
// begin nothing: they pass, and it stays as it is.
func besideCases(begin func() (*vip, flow, []Step), name func(string) string) []Case {
	const established, closing = datapath.FlowEstablished, datapath.FlowClosing
	v, f, _ := begin()
	cases := []Case{serviceCase(name("a direct SYN while one is new"), v,
		f.forth(syn), f.direct(syn), v.lists(f.known(datapath.FlowNew, []build{syn}, nil)),
		f.back(synAck), v.lists(f.known(established, []build{syn}, []build{synAck})))}

	v, f, steps := begin()
	cases = append(cases, serviceCase(name("a direct SYN while one is established"), v, append(steps,
		f.direct(syn), v.lists(f.known(established, []build{syn}, []build{synAck})), f.back(response), f.forth(request))...))

	v, f, steps = begin()
	cases = append(cases, serviceCase(name("a direct SYN when only the client has finished"), v, append(steps,
		f.forth(fin), f.direct(syn), v.lists(f.known(closing, []build{syn, fin}, []build{synAck})), f.back(response), f.forth(ack))...))

	v, f, steps = begin()
	cases = append(cases, serviceCase(name("a direct SYN when only the backend has finished"), v, append(steps,
		f.back(finBack), f.direct(syn), v.lists(f.known(closing, []build{syn}, []build{synAck, finBack})), f.forth(request), f.back(ack))...))

	v, f, steps = begin()
	cases = append(cases, serviceCase(name("direct packets that are no SYN"), v, append(steps,
		f.forth(reset), f.direct(synAck, ack, request, fin, reset),
		v.lists(f.known(closing, []build{syn, reset}, []build{synAck})), f.back(resetBack))...))
	return cases
}

// otherTupleCases are direct SYNs that look like a flow that is over, but are of
// other ends; and those that are of its ends, though they look otherwise.
func otherTupleCases(s *Site, begin func() (*vip, flow, []Step), name func(string) string) []Case {
	v, f, steps := begin()
	steps = append(steps, f.forth(reset))
	another := func(e Endpoint) Endpoint {
		if e == s.E {
			return s.C
		}
		return s.E
	}
	port, target, client, backend := f, f, f, f
	port.seen.Port = s.nextPort()
	target.target.Port = samePort
	client.client = s.B
	if f.backend == s.B {
		client.client = s.TAP
	}
	client.seen.Party = client.client.on(f.family)
	backend.backend = another(f.backend)
	backend.target.Party = backend.backend.on(f.family)
	for _, other := range []flow{port, target, client, backend} {
		steps = append(steps, other.direct(syn), other.unknown(synAck))
	}
	cases := []Case{serviceCase(name("direct connections of other ends"), v, append(steps,
		v.lists(f.known(datapath.FlowClosing, []build{syn, reset}, []build{synAck})), f.back(resetBack))...)}

	extended := func(from, to End) []byte {
		if f.family == IPv6 {
			return Extend(syn(from, to), Padding(60))
		}
		return withOptions(syn(from, to))
	}
	v, f, steps = begin()
	cases = append(cases, serviceCase(name("a direct SYN with more headers"), v, append(steps,
		f.forth(reset), f.direct(extended), v.lists(), f.unknown(synAck))...))

	// Whoever sends it has the backend's address down at a MAC that is gone.
	v, f, steps = begin()
	stale := syn(f.seen, End{Party{s.Nobody.MAC, f.target.Addr}, f.target.Port})
	follows := Step{In: []Frame{s.into(f.client, stale)}, Out: []Frame{s.outTo(f.backend, syn(f.seen, f.target))}}
	return append(cases, serviceCase(name("a direct SYN that follows an address"), v, append(steps,
		f.forth(reset), follows, v.lists(), f.unknown(synAck))...))
}

// directCollisionCase is two flows of one client's port, of which the backend sees
// one from another: that one's is what a direct connection meets.
func directCollisionCase(s *Site, family Family) Case {
	v, w := s.service(s.backend(s.C)), s.service(s.backend(s.C))
	target := s.nextPort()
	v.Ports = []datapath.ServicePort{{Protocol: protoTCP, Port: vipPort, Target: target}}
	w.Ports = v.Ports
	f := v.flow(family, protoTCP, s.A, s.C, vipPort)
	g := w.flowFrom(family, protoTCP, s.A, f.from.Port, vipPort)
	var chosen flow // when it is forgotten, nobody lists it
	byChosen := Step{Late: func(listed []datapath.Flow) (in, out []Frame) {
		if port := g.sourcePort(listed); port != 0 {
			chosen = g
			chosen.seen.Port = port
		}
		step := chosen.direct(syn)
		return step.In, step.Out
	}}
	answered := Step{Late: func([]datapath.Flow) (in, out []Frame) {
		step := chosen.unknown(synAck)
		return step.In, step.Out
	}}
	over := []build{syn, reset}
	return Case{Name: "a direct connection by a port that was chosen, over " + string(family),
		State: func(st *datapath.State) {
			v.state(st)
			w.state(st)
		},
		Steps: []Step{
			f.forth(syn, reset), g.late(func(g flow) Step { return g.forth(syn, reset) }),
			byChosen, v.lists(f.known(datapath.FlowClosing, over, nil)), w.lists(), answered,
			f.direct(syn), v.lists(), f.unknown(synAck),
		}}
}

// directDatagramCase: with UDP, nothing tells whose the answers are.
func directDatagramCase(s *Site, family Family) Case {
	v := s.service(s.backends()...)
	f := v.flow(family, protoUDP, s.A, s.C, vipPort)
	return serviceCase("direct datagrams beside a flow over "+string(family), v, append(f.begins(),
		f.direct(f.more()), v.lists(f.known(datapath.FlowEstablished, []build{f.first()}, []build{f.reply()})), f.back(f.reply()))...)
}

// direct is a step in which the client sends packets to the backend itself, as it
// would see the flow's.
func (f flow) direct(packets ...build) Step {
	var s Step
	for _, p := range packets {
		step := f.site.direct(f.client, f.backend, p(f.seen, f.target))
		s.In, s.Out = append(s.In, step.In...), append(s.Out, step.Out...)
	}
	return s
}
