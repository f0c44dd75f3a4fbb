package datapathtest

import (
	"slices"
	"strings"

	"github.com/ovlnet/ovl/datapath"
)

// removedCases are services that are removed while there are flows: TCP is told
// with the next packet of the client, and nothing is remembered.
func removedCases(s *Site) []Case {
	var cases []Case
	for _, k := range kinds() {
		cases = append(cases, removedFlowCases(s, k, s.B)[:2]...)
		cases = append(cases, removedFlowCases(s, k, s.C)...)
		cases = append(cases, removedItself(s, k), removedFragments(s, k), removedErrors(s, k), inherited(s, k), misled(s, k))
	}
	return cases
}

// none is a step in which there is no service any more.
func none() Step { return Step{State: func(*datapath.State) {}} }

// ended is a step in which a packet of a flow whose service is gone ends it.
func (f flow) ended(s Segment) Step {
	if f.protocol != protoTCP {
		return f.ignored(f.more(), datapath.DropUnknownDestination)
	}
	return f.cut(s, datapath.DropBackendGone)
}

// forgotten are steps in which a flow of a service that is gone is known no more.
func (f flow) forgotten(v *vip) []Step {
	return []Step{
		f.ignored(f.more(), datapath.DropUnknownDestination), f.ignored(f.first(), datapath.DropUnknownDestination),
		f.unknown(f.reply()), v.lists(),
	}
}

func removedFlowCases(s *Site, k kind, backend Endpoint) []Case {
	name := func(name string) string { return name + ", " + k.String() + " to " + backend.V4.String() }
	begin := func() (*vip, flow, []Step) {
		v := s.service(s.backends()...)
		f := v.flow(k.family, k.protocol, s.A, backend, vipPort)
		return v, f, f.begins()
	}
	var cases []Case
	add := func(what string, v *vip, steps ...Step) {
		cases = append(cases, serviceCase(name(what), v, steps...))
	}

	v, g, steps := begin()
	add("the only service is removed", v, slices.Concat(steps, []Step{none(), g.unknown(g.reply()), g.ended(requestSegment)}, g.forgotten(v))...)

	// Its backends are still those of another.
	was, f, steps := begin()
	w := s.service(s.backends()...)
	other := w.flow(k.family, k.protocol, s.A, backend, vipPort)
	one := serviceCase(name("one of two services is removed"), was, slices.Concat(steps, other.begins(),
		[]Step{w.becomes(), f.unknown(f.reply()), f.ended(requestSegment)}, f.forgotten(was),
		[]Step{other.forth(other.more()), other.back(other.reply())})...)
	one.State = func(st *datapath.State) {
		was.state(st)
		w.state(st)
	}
	cases = append(cases, one)

	v, f, steps = begin()
	add("a service is removed and returns", v, slices.Concat(steps, []Step{none(), v.becomes(), f.forth(f.more()), f.back(f.reply())})...)

	v, f, steps = begin()
	less := v.without(backend)
	again := f.again(less)
	add("a service is removed and returns without a backend", v, slices.Concat(steps, []Step{none(), less.becomes()}, f.refusedOnce(),
		[]Step{again.forth(f.more()), again.back(f.reply())})...)

	v, f, steps = begin()
	fewer := v.with(v.Backends...)
	fewer.VIPs = v.VIPs[1:]
	if k.family == IPv6 {
		fewer.VIPs = v.VIPs[:1]
	}
	add("a service loses an address", v, slices.Concat(steps, []Step{fewer.becomes(), f.unknown(f.reply()), f.ended(requestSegment)}, f.forgotten(v))...)

	// Nothing has come back yet.
	v, f, _ = begin()
	add("a service is removed before it has answered", v, slices.Concat(
		[]Step{f.forth(f.first()), none(), f.ended(Segment{Flags: TCPSYN, Seq: 1000, Window: 64000, Options: synOptions})}, f.forgotten(v))...)

	if k.protocol != protoTCP {
		return cases
	}
	v, f, steps = begin()
	add("a service is removed, and the client resets", v, slices.Concat(steps,
		[]Step{none(), f.ignored(reset, datapath.DropBackendGone)}, f.forgotten(v))...)

	v, f, steps = begin()
	add("a service is removed, and the client connects anew", v, slices.Concat(steps,
		[]Step{none(), f.ended(Segment{Flags: TCPSYN, Seq: 77})}, f.forgotten(v))...)

	v, f, steps = begin()
	add("a service is removed, and the client connects anew after the end", v, slices.Concat(steps,
		[]Step{f.forth(fin), f.back(finBack), none(), f.ignored(syn, datapath.DropUnknownDestination)}, f.forgotten(v))...)

	v, f, steps = begin()
	add("a service is removed, and the client finishes", v, slices.Concat(steps,
		[]Step{none(), f.ended(Segment{Flags: TCPFIN | TCPACK, Seq: 1005, Ack: 5014, Window: 500})}, f.forgotten(v))...)
	return cases
}

// removedItself is a service that is removed of a client that is its own backend,
// which hears of it at both ends.
func removedItself(s *Site, k kind) Case {
	v := s.service(s.backend(s.A), s.backend(s.C))
	f := v.flow(k.family, k.protocol, s.A, s.A, vipPort)
	g := v.flow(k.family, k.protocol, s.A, s.A, vipPort)
	back := flow{site: s, family: k.family, protocol: k.protocol, client: s.A, from: g.target, to: g.seen}
	lost := func(f flow) Step { return f.ignored(f.more(), datapath.DropUnknownDestination) }
	return serviceCase("its own backend's service is removed, "+k.String(), v, slices.Concat(f.begins(), g.begins(),
		[]Step{none(), f.ended(requestSegment), lost(f), back.ended(requestSegment), lost(back), lost(g), v.lists()})...)
}

// removedFragments are packets in pieces to a VIP that is removed meanwhile.
func removedFragments(s *Site, k kind) Case {
	v := s.service(s.backends()...)
	f := v.flow(k.family, k.protocol, s.A, s.C, vipPort)
	pieces := f.pieces(f.ofPayload(strings.Repeat("a datagram that is sent in pieces. ", 50)), s.nextPort())
	lost := func(p Step, reason datapath.DropReason) Step {
		return Step{In: p.In, Drops: []datapath.DropReason{reason}}
	}
	reason := datapath.DropUnknownDestination
	if k.protocol == protoTCP {
		reason = datapath.DropBackendGone
	}
	return serviceCase("fragments to a service that is removed, "+k.String(), v, f.forth(f.first()), pieces.forth[0], none(),
		lost(pieces.forth[1], reason), lost(pieces.forth[2], datapath.DropUnknownDestination), lost(pieces.forth[0], datapath.DropUnknownDestination),
		v.lists())
}

// removedErrors is what else there is to a VIP that is removed: nobody is told, and
// no flow ends by it.
func removedErrors(s *Site, k kind) Case {
	v := s.service(s.backends()...)
	f := v.flow(k.family, k.protocol, s.A, s.C, vipPort)
	e := icmpErrors(k.family)[0]
	tell := func(from, to Party, about []byte) []byte { return ICMPError(from, to, e.typ, e.code, e.rest, about) }
	told := Step{In: f.tells(tell, f.reply()).In, Drops: []datapath.DropReason{datapath.DropUnknownDestination}}
	passing := s.direct(s.C, s.A, tell(f.target.Party, f.seen.Party, f.first()(f.seen, f.target)))
	ping := Step{
		In:    []Frame{{RedA, Echo(f.from.Party, f.to.Party, false, longer)}},
		Drops: []datapath.DropReason{datapath.DropUnknownDestination},
	}
	return serviceCase("errors and pings to a service that is removed, "+k.String(), v,
		append(f.begins(), none(), told, passing, ping, f.ignored(SCTP, datapath.DropUnknownDestination), f.ended(requestSegment))...)
}

// inherited is the address of a service that is removed and comes to be an
// endpoint's. Who has it down with the MAC of VIPs is told; to the endpoint, and
// from it, all passes.
func inherited(s *Site, k kind) Case {
	v := s.service(s.backends()...)
	f := v.flow(k.family, k.protocol, s.A, s.B, vipPort)
	heir := End{Party{s.D.MAC, f.to.Addr}, f.to.Port}
	state := func(st *datapath.State) {
		n := Network(st, Red)
		for i := range n.Remotes {
			if n.Remotes[i].MAC == s.D.MAC {
				n.Remotes[i].Addrs = append(slices.Clone(n.Remotes[i].Addrs), f.to.Addr)
			}
		}
	}
	direct := f.more()(f.from, heir)
	reply := f.reply()(heir, f.from)
	return serviceCase("an endpoint has the address of a service that is removed, "+k.String(), v, append(f.begins(), Step{State: state},
		s.direct(s.A, s.D, direct), s.direct(s.D, s.A, reply), f.ended(requestSegment),
		f.ignored(f.more(), datapath.DropUnknownDestination), s.direct(s.A, s.D, direct), s.direct(s.D, s.A, reply))...)
}

// misled is a reply that its backend sends to the MAC of VIPs: it comes to no VIP,
// and its flow goes on.
func misled(s *Site, k kind) Case {
	v, w := s.service(s.backends()...), s.service(s.backends()...)
	f := v.flow(k.family, k.protocol, s.A, s.B, vipPort)
	astray := f.reply()(f.target, End{Party{datapath.ServiceMAC, f.seen.Addr}, f.seen.Port})
	lost := Step{In: []Frame{{RedB, astray}}, Drops: []datapath.DropReason{datapath.DropUnknownDestination}}
	both := Step{State: func(st *datapath.State) {
		v.state(st)
		w.state(st)
	}}
	return serviceCase("a reply at the MAC of VIPs, "+k.String(), v, append(f.begins(), lost, both, lost, f.forth(f.more()), f.back(f.reply()))...)
}
