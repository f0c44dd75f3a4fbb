package datapathtest

import (
	"slices"

	"github.com/ovlnet/ovl/datapath"
)

// backendCases are services that change while there are flows.
func backendCases(s *Site) []Case {
	var cases []Case
	for _, k := range kinds() {
		for _, backend := range []Endpoint{s.C, s.B} {
			name := func(name string) string { return name + ", " + k.String() + " to " + backend.V4.String() }
			cases = append(cases, goneCases(s, name, k, backend)...)
			cases = append(cases, drainingCases(s, name, k, backend)...)
			cases = append(cases, movedCases(s, name, k, backend)...)
		}
	}
	return cases
}

// refusedOnce is a step in which a flow that was cut is told so, if it is of TCP.
// It is nothing for UDP.
func (f flow) refusedOnce() []Step {
	if f.protocol != protoTCP {
		return nil
	}
	return []Step{f.cut(requestSegment, datapath.DropBackendGone)}
}

// noBackend is a step in which a packet of a flow is refused as there is no backend.
func (f flow) noBackend() Step {
	if f.protocol == protoTCP {
		return f.cut(requestSegment, datapath.DropNoBackend)
	}
	return f.unreachable(f.more(), datapath.DropNoBackend, 3, 4)
}

// goneCases are backends that are removed, and that return.
func goneCases(s *Site, name func(string) string, k kind, backend Endpoint) []Case {
	begin := func() (*vip, flow, []Step) {
		v := s.service(s.backends()...)
		f := v.flow(k.family, k.protocol, s.A, backend, vipPort)
		return v, f, f.begins()
	}
	var cases []Case
	v, f, steps := begin()
	rest := v.without(backend)
	other := f.again(rest)
	kept := v.anyFlow(k.family, k.protocol, s.A, vipPort)
	for kept.backend == backend {
		kept = v.anyFlow(k.family, k.protocol, s.A, vipPort)
	}
	steps = slices.Concat(steps, kept.begins(), []Step{rest.becomes()}, f.refusedOnce(),
		[]Step{other.forth(f.more()), other.back(f.reply()), kept.forth(f.more()), kept.back(f.reply())})
	cases = append(cases, serviceCase(name("a backend is removed"), v, steps...))

	v, f, steps = begin()
	other = f.again(v.without(backend))
	cases = append(cases, serviceCase(name("a backend is removed, and the flow begins anew"), v, append(steps,
		v.without(backend).becomes(), other.forth(f.first()), other.back(f.reply()), other.forth(f.more()),
		v.lists(other.known(datapath.FlowEstablished, []build{f.first(), f.more()}, []build{f.reply()})))...))

	v, f, steps = begin()
	known := f.known(datapath.FlowEstablished, []build{f.first()}, []build{f.reply()})
	cases = append(cases, serviceCase(name("a flow to a backend that is removed is not listed"), v, append(steps,
		v.lists(known), v.without(backend).becomes(), v.lists(), v.becomes(), v.lists(known))...))

	v, f, steps = begin()
	steps = append(steps, v.with().becomes())
	steps = append(steps, f.refusedOnce()...)
	cases = append(cases, serviceCase(name("the last backend is removed"), v, append(steps, f.noBackend(), f.noBackend(), v.lists())...))

	v, f, steps = begin()
	cases = append(cases, serviceCase(name("a backend is removed and returns"), v, append(steps,
		v.without(backend).becomes(), v.becomes(), f.forth(f.more()), f.back(f.reply()))...))

	v, f, steps = begin()
	steps = slices.Concat(steps, []Step{v.without(backend).becomes()}, f.refusedOnce())
	again := v.flow(k.family, k.protocol, s.A, backend, vipPort)
	cases = append(cases, serviceCase(name("a backend returns for what is new"), v, append(steps, v.becomes(),
		again.forth(f.first()), again.back(f.reply()))...))

	if k.protocol == protoTCP {
		v, f, steps = begin()
		rest = v.without(backend)
		other = f.again(rest)
		cases = append(cases, serviceCase(name("a backend is removed, and the client resets"), v, append(steps, rest.becomes(),
			f.ignored(reset, datapath.DropBackendGone), v.lists(), other.forth(request))...))

		// That is no beginning.
		v, f, steps = begin()
		cases = append(cases, serviceCase(name("a backend is removed, and the client sends SYN and ACK"), v, append(steps,
			v.without(backend).becomes(), f.cut(synAckSegment, datapath.DropBackendGone), v.lists())...))
	}

	// What it sends until then is its own, also where another service has it.
	v, f, steps = begin()
	rest = v.without(backend)
	another := s.service(s.backend(backend))
	e := icmpErrors(k.family)[0]
	tell := func(from, to Party, about []byte) []byte { return ICMPError(from, to, e.typ, e.code, e.rest, about) }
	untranslated := s.direct(backend, s.A, tell(f.target.Party, f.seen.Party, f.first()(f.seen, f.target)))
	cases = append(cases, serviceCase(name("a backend is removed that another service has"), v, slices.Concat(steps, []Step{
		{State: func(st *datapath.State) {
			rest.state(st)
			another.state(st)
		}}, f.unknown(f.reply()), untranslated, v.lists(),
	}, f.refusedOnce())...))

	// Another endpoint, of another identity, comes to have its addresses.
	for _, mac := range []Endpoint{backend, s.D} {
		v, f, steps = begin()
		heir := s.backend(backend)
		heir.ID, heir.MAC = "heir", mac.MAC
		if mac != backend && backend != s.C {
			continue
		}
		v2 := v.with(append(v.without(backend).Backends, heir)...)
		state := func(st *datapath.State) {
			v2.state(st)
			if mac == s.D {
				n := Network(st, Red)
				n.Remotes = slices.DeleteFunc(n.Remotes, func(r datapath.Remote) bool { return r.MAC == s.C.MAC })
				for i := range n.Remotes {
					if n.Remotes[i].MAC == s.D.MAC {
						n.Remotes[i].Addrs = slices.Concat(s.D.Addrs(), s.C.Addrs())
					}
				}
			}
		}
		next := f.again(v2)
		inherited := f.reply()(End{Party{heir.MAC, f.target.Addr}, f.target.Port}, f.seen)
		steps = append(steps, Step{State: state}, s.direct(mac, s.A, inherited))
		steps = append(steps, f.refusedOnce()...)
		cases = append(cases, serviceCase(name("a backend's addresses are another's, at "+mac.MAC.String()), v, append(steps,
			next.forth(f.more()), v2.lists(next.known(datapath.FlowNew, []build{f.more()}, nil)))...))
	}
	return cases
}

// drainingCases are backends that get nothing new.
func drainingCases(s *Site, name func(string) string, k kind, backend Endpoint) []Case {
	v := s.service(s.backends()...)
	f := v.flow(k.family, k.protocol, s.A, backend, vipPort)
	less := v.drained(backend)
	next := v.flow(k.family, k.protocol, s.A, backend, vipPort).again(less)
	old := []Step{f.forth(f.more()), f.back(f.reply())}
	cases := []Case{
		serviceCase(name("a backend drains"), v, slices.Concat(f.begins(), []Step{less.becomes()}, old,
			next.begins(), old, []Step{v.without(backend).becomes()}, f.refusedOnce())...),
	}
	v = s.service(s.backend(backend))
	f = v.flow(k.family, k.protocol, s.A, backend, vipPort)
	late := v.flow(k.family, k.protocol, s.A, backend, vipPort)
	cases = append(cases, serviceCase(name("the last backend drains"), v, append(f.begins(), v.drained(backend).becomes(),
		f.forth(f.more()), f.back(f.reply()), late.noBackend(), f.forth(f.more()), v.becomes(), late.forth(f.first()))...))

	v = s.service(s.backends()...)
	f = v.flow(k.family, k.protocol, s.A, backend, vipPort)
	less = v.drained(backend)
	if k.protocol == protoTCP {
		next = f.again(less)
		cases = append(cases, serviceCase(name("a connection to a backend that drains ends, and its ports are used again"), v,
			append(f.begins(), less.becomes(), f.forth(fin), f.back(finBack), f.forth(lastAck),
				next.forth(syn), next.back(synAck), next.forth(request),
				v.lists(next.known(datapath.FlowEstablished, []build{syn, request}, []build{synAck})))...))
	}
	return cases
}

// movedCases are VIPs of one service that come to be another's.
func movedCases(s *Site, name func(string) string, k kind, backend Endpoint) []Case {
	begin := func() (*vip, *vip, flow, []Step) {
		v := s.service(s.backends()...)
		to := v.with()
		to.Name = "another-" + v.Name
		f := v.flow(k.family, k.protocol, s.A, backend, vipPort)
		return v, to, f, f.begins()
	}
	v, to, f, steps := begin()
	to.Backends = []datapath.Backend{s.backend(s.E)}
	next := f.again(to)
	cases := []Case{serviceCase(name("a VIP is moved to other backends"), v, slices.Concat(steps, []Step{to.becomes()}, f.refusedOnce(),
		[]Step{next.forth(f.more()), next.back(f.reply())})...)}

	v, to, f, steps = begin()
	to.Backends = []datapath.Backend{s.backend(s.E), s.backend(backend)}
	cases = append(cases, serviceCase(name("a VIP is moved, and its backend is with it"), v, append(steps, to.becomes(),
		f.forth(f.more()), f.back(f.reply()))...))

	v, _, f, steps = begin()
	bare := v.with(v.Backends...)
	bare.Ports = bare.Ports[1:2]
	if k.protocol == protoUDP {
		bare.Ports = v.Ports[3:]
	}
	closed := f.unreachable(f.more(), datapath.DropServicePort, 3, 4)
	if k.protocol == protoTCP {
		closed = f.cut(requestSegment, datapath.DropServicePort)
	}
	cases = append(cases, serviceCase(name("a service's port is gone"), v, append(steps, bare.becomes(), closed, closed)...))
	return cases
}
