package datapathtest

import "github.com/ovlnet/ovl/datapath"

// ownBackendCases are clients that are their own backend: they see the VIP as
// their client, for no stack takes a packet from itself.
func ownBackendCases(s *Site) []Case {
	var cases []Case
	for _, k := range kinds() {
		for _, who := range []Endpoint{s.A, s.TAP} {
			name := func(name string) string { return name + ", " + k.String() + " at " + who.V4.String() }
			v := s.service(append(s.backends(), s.backend(s.A))...)
			f := v.flow(k.family, k.protocol, who, who, vipPort)
			forth, back := []build{f.first(), f.more()}, []build{f.reply(), f.reply()}
			cases = append(cases, serviceCase(name("a client that is its own backend"), v, append(f.begins(),
				f.forth(f.more()), f.back(f.reply()), v.lists(f.known(datapath.FlowEstablished, forth, back)))...))

			same := v.flow(k.family, k.protocol, who, who, samePort)
			cases = append(cases, serviceCase(name("its own backend at the same port"), v, append(same.begins(), same.forth(same.more()))...))

			// What it answers to the VIP goes to one of its ports.
			v = s.service(s.backend(who), s.backend(s.C))
			v.Ports = nil
			for port := uint16(2000); ; port++ {
				if f = v.flowFrom(k.family, k.protocol, who, port, 5353); f.backend == who {
					break
				}
			}
			cases = append(cases, serviceCase(name("its own backend by a service of every port"), v, append(f.begins(),
				f.forth(f.more()), f.back(f.reply()))...))

			// What is no reply, it sends to the VIP like any client.
			v = s.service(append(s.backends(), s.backend(s.A))...)
			f = v.flow(k.family, k.protocol, who, who, vipPort)
			stray := f
			stray.seen.Port = s.nextPort()
			in := stray.back(f.reply()).In
			refused := Step{In: in, Out: []Frame{s.outTo(who, stray.strayAnswer(f.reply()))}, Drops: []datapath.DropReason{datapath.DropServicePort}}
			cases = append(cases, serviceCase(name("its own backend, and no reply"), v, append(f.begins(), refused, f.forth(f.more()))...))

			e := icmpErrors(k.family)[0]
			tell := func(from, to Party, about []byte) []byte { return ICMPError(from, to, e.typ, e.code, e.rest, about) }
			f = v.flow(k.family, k.protocol, who, who, vipPort)
			cases = append(cases, serviceCase(name("errors of its own backend"), v, append(f.begins(),
				f.tells(tell, f.reply()), f.isTold(tell, f.first()), f.forth(f.more()))...))

			f = v.flow(k.family, k.protocol, who, who, vipPort)
			rest := v.without(who)
			next := f.again(rest)
			steps := append(f.begins(), rest.becomes())
			steps = append(steps, f.refusedOnce()...)
			cases = append(cases, serviceCase(name("its own backend is removed"), v, append(steps, next.forth(f.more()), next.back(f.reply()))...))

			// It hears of it as a backend, too: an answer begins nothing.
			for _, every := range []bool{false, true} {
				v = s.service(s.backend(who), s.backend(s.C))
				what := "its own backend is removed, and answers"
				if every {
					v.Ports = nil
					what += " a service of every port"
				}
				f = v.flow(k.family, k.protocol, who, who, vipPort)
				in = f.back(f.reply()).In
				reason := datapath.DropServicePort
				if k.protocol == protoTCP {
					reason = datapath.DropBackendGone
				}
				told := Step{In: in, Out: []Frame{s.outTo(who, f.strayAnswer(f.reply()))}, Drops: []datapath.DropReason{reason}}
				cases = append(cases, serviceCase(name(what), v, append(f.begins(), v.without(who).becomes(), told, v.lists())...))
			}
		}
	}
	return cases
}

// strayAnswer is what an endpoint is told of a reply of its own to the VIP that
// belongs to no flow.
func (f flow) strayAnswer(reply build) []byte {
	back := flow{family: f.family, protocol: f.protocol, from: f.target, to: f.seen}
	if f.protocol == protoTCP {
		return synAckSegment.Reset(back.to, back.from)
	}
	return back.told(reply, 3, 4)
}
