package datapathtest

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/ovlnet/ovl/datapath/balance"
)

// balanceCases are which backend a flow goes to, and that its replies come back
// from the VIP.
func balanceCases(s *Site) []Case {
	v := s.service(s.backends()...)
	all := s.service(s.backends()...)
	all.Ports = nil
	var cases []Case
	for _, k := range kinds() {
		for _, client := range []Endpoint{s.A, s.TAP} {
			for _, backend := range []Endpoint{s.B, s.TAP, s.C, s.E} {
				if client == backend {
					continue // ownBackendCases
				}
				name := fmt.Sprintf("%s from %s to %s", k, client.V4, backend.V4)
				there := func(v *vip, port uint16) []Step {
					f := v.flow(k.family, k.protocol, client, backend, port)
					return append(f.begins(), f.forth(f.more()), f.back(f.reply()), f.forth(f.first()))
				}
				cases = append(cases,
					serviceCase(name+" at another port", v, there(v, vipPort)...),
					serviceCase(name+" at the same port", v, there(v, samePort)...),
					serviceCase(name+" at a port of all", all, there(all, 5353)...),
				)
			}
		}
		cases = append(cases, manyFlows(k.String()+" by many flows", v, k, 40), manyFlows(k.String()+" by many flows at any port", all, k, 40))
	}

	weighty := s.service(s.backends()...)
	for i := range weighty.Backends {
		weighty.Backends[i].Weight = uint16(1 + 3*i)
	}
	large := s.service(s.backends()...)
	large.TableSize = balance.Sizes[1]
	// Its entries are not those of an order of backends but of their names.
	renamed := s.service(s.backends()...)
	for i := range renamed.Backends {
		renamed.Backends[i].ID = fmt.Sprintf("%d-%s", 9-i, renamed.Backends[i].ID)
	}
	for _, k := range kinds() {
		cases = append(cases,
			manyFlows(k.String()+" by weight", weighty, k, 40),
			manyFlows(k.String()+" of a larger table", large, k, 40),
			manyFlows(k.String()+" of backends by other names", renamed, k, 40),
			manyFlows(k.String()+" with one that is draining", v.drained(s.C), k, 40),
			manyFlows(k.String()+" with all but one draining", v.drained(s.B).drained(s.C).drained(s.TAP), k, 10),
			manyFlows(k.String()+" of one backend", v.with(s.backend(s.E)), k, 10),
			oneFamily(s, k),
		)
	}
	return append(cases, manyAddresses(s))
}

// manyFlows is a case with a new flow for each packet, and their replies. What
// comes in at different places keeps no order.
func manyFlows(name string, v *vip, k kind, n int) Case {
	var steps []Step
	for _, client := range []Endpoint{v.site.A, v.site.B, v.site.TAP} {
		var forth Step
		back := map[Endpoint]*Step{}
		for range n / 3 {
			f := v.anyFlow(k.family, k.protocol, client, vipPort)
			forth = forth.and(f.forth(f.first()))
			if back[f.backend] == nil {
				back[f.backend] = new(Step)
			}
			*back[f.backend] = back[f.backend].and(f.back(f.reply()))
		}
		steps = append(steps, forth)
		for _, s := range back {
			steps = append(steps, *s)
		}
	}
	return serviceCase(name, v, steps...)
}

// and is both steps at once.
func (s Step) and(o Step) Step {
	return Step{In: slices.Concat(s.In, o.In), Out: slices.Concat(s.Out, o.Out)}
}

// oneFamily has backends of which some have no address of the client's family:
// these get nothing of it.
func oneFamily(s *Site, k kind) Case {
	v := s.service(s.backends()...)
	for i := range v.Backends {
		if b := &v.Backends[i]; b.MAC == s.C.MAC || b.MAC == s.B.MAC {
			for j := range b.Addrs {
				if b.Addrs[j].Is4() != (k.family == IPv4) {
					b.Addrs = []netip.Addr{b.Addrs[j]}
					break
				}
			}
		}
	}
	return manyFlows(k.String()+" with backends of the other family", v, k, 20)
}

// manyAddresses are backends whose endpoint has more addresses than the service
// names, of which the named one is led to.
func manyAddresses(s *Site) Case {
	d := s.backend(s.D)
	d.Addrs = s.D2.Addrs()
	v := s.service(d)
	var steps []Step
	for _, k := range kinds() {
		f := v.flow(k.family, k.protocol, s.A, s.D, vipPort)
		steps = append(steps, f.begins()...)
		// From its other address it is a packet like any other.
		direct := f.reply()(End{s.D.on(k.family), targetPort}, f.from)
		steps = append(steps, Step{In: []Frame{s.into(s.D, direct)}, Out: []Frame{s.outTo(s.A, direct)}})
	}
	return serviceCase("a backend's second address", v, steps...)
}

// direct is a step in which a packet that belongs to no flow passes as it is.
func (s *Site) direct(from, to Endpoint, frame []byte) Step {
	return Step{In: []Frame{s.into(from, frame)}, Out: []Frame{s.outTo(to, frame)}}
}

// unknown is a flow's reply where no flow is known: it passes as it is.
func (f flow) unknown(p build) Step {
	return f.site.direct(f.backend, f.client, p(f.target, f.seen))
}
