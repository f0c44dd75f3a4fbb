package datapathtest

import (
	"fmt"

	"github.com/ovlnet/ovl/datapath"
)

// icmpError is a kind of ICMP error, without its ends.
type icmpError struct {
	name      string
	typ, code byte
	rest      uint32
}

// icmpErrors are those that mean something to an end of a flow.
func icmpErrors(f Family) []icmpError {
	if f == IPv6 {
		return []icmpError{
			{"port unreachable", 1, 4, 0}, {"packet too big", 2, 0, 1280},
			{"hop limit exceeded", 3, 0, 0}, {"parameter problem", 4, 1, 40},
		}
	}
	return []icmpError{
		{"port unreachable", 3, 3, 0}, {"fragmentation needed", 3, 4, 1200},
		{"TTL exceeded", 11, 0, 0}, {"parameter problem", 12, 0, 20 << 24},
	}
}

// vipErrorCases are ICMP errors about packets of a flow: whoever hears of one sees
// the packet as it has sent it.
func vipErrorCases(s *Site) []Case {
	var cases []Case
	v := s.service(s.backends()...)
	for _, k := range kinds() {
		const quoted = 8 // the least that there may be of a quote behind its IP header
		for _, backend := range []Endpoint{s.C, s.B, s.TAP} {
			for _, e := range icmpErrors(k.family) {
				tell := func(from, to Party, about []byte) []byte { return ICMPError(from, to, e.typ, e.code, e.rest, about) }
				brief := func(from, to Party, about []byte) []byte {
					head := OuterIPOffset + 20
					if k.family == IPv6 {
						head += 20
					}
					return BriefICMPError(from, to, e.typ, e.code, e.rest, about[:head+quoted])
				}
				name := fmt.Sprintf("%s about %s", e.name, k)
				for _, how := range []struct {
					name string
					tell func(from, to Party, about []byte) []byte
				}{{"", tell}, {" in few words", brief}} {
					f := v.flow(k.family, k.protocol, s.A, backend, vipPort)
					steps := append(f.begins(), f.tells(how.tell, f.reply()), f.isTold(how.tell, f.first()),
						f.tells(how.tell, long(f)), f.isTold(how.tell, long(f)), f.forth(f.more()), f.back(f.reply()))
					cases = append(cases, serviceCase(name+how.name+" of "+backend.V4.String(), v, steps...))
				}
			}
		}

		e := icmpErrors(k.family)[0]
		tell := func(from, to Party, about []byte) []byte { return ICMPError(from, to, e.typ, e.code, e.rest, about) }
		// About what no flow is.
		for _, backend := range []Endpoint{s.C, s.B} {
			f := v.flow(k.family, k.protocol, s.A, backend, vipPort)
			other := f
			other.from.Port, other.seen.Port = s.nextPort(), f.seen.Port
			other.seen.Port = other.from.Port
			to := Party{datapath.ServiceMAC, f.to.Addr}
			lost := Step{
				In:    []Frame{{RedA, tell(f.from.Party, to, f.reply()(other.to, other.from))}},
				Drops: []datapath.DropReason{datapath.DropServicePort},
			}
			// What the client never received is none of its replies: the quote has
			// to be from the VIP to the client.
			turned := Step{
				In:    []Frame{{RedA, tell(f.from.Party, to, f.first()(f.from, f.to))}},
				Drops: []datapath.DropReason{datapath.DropServicePort},
			}
			passing := s.direct(backend, s.A, tell(f.target.Party, f.from.Party, f.first()(other.seen, other.target)))
			cases = append(cases, serviceCase(fmt.Sprintf("errors about %s that is no flow of %s", k, backend.V4), v,
				append(f.begins(), lost, turned, passing, f.forth(f.more()))...))
		}
	}

	f := v.flow(IPv4, protoUDP, s.A, s.C, vipPort)
	cut := ICMPError(f.from.Party, f.to.Party, 3, 3, 0, f.reply()(f.to, f.from)[:OuterIPOffset+20+3])
	empty := ICMPError(f.from.Party, f.to.Party, 3, 3, 0, make([]byte, OuterIPOffset))
	cases = append(cases, serviceCase("an error that quotes too little", v, append(f.begins(),
		Step{In: []Frame{{RedA, padded(cut)}}, Drops: []datapath.DropReason{datapath.DropServicePort}},
		Step{In: []Frame{{RedA, padded(empty)}}, Drops: []datapath.DropReason{datapath.DropServicePort}},
		f.forth(f.more()))...))
	return cases
}

// long is a packet of a flow that is more than an error quotes.
func long(f flow) build {
	payload := string(make([]byte, 1301))
	if f.protocol == protoTCP {
		return segment(Segment{Flags: TCPACK, Seq: 1, Ack: 2, Window: 3, Payload: payload})
	}
	return datagram(payload)
}

// tells is a step in which the client tells the backend of an error about its
// reply.
func (f flow) tells(tell func(from, to Party, about []byte) []byte, reply build) Step {
	return Step{
		In:  []Frame{f.site.into(f.client, tell(f.from.Party, f.to.Party, reply(f.to, f.from)))},
		Out: []Frame{f.site.outTo(f.backend, tell(f.seen.Party, f.target.Party, reply(f.target, f.seen)))},
	}
}

// isTold is a step in which the backend tells the client of an error about its
// packet.
func (f flow) isTold(tell func(from, to Party, about []byte) []byte, p build) Step {
	return Step{
		In:  []Frame{f.site.into(f.backend, tell(f.target.Party, f.seen.Party, p(f.seen, f.target)))},
		Out: []Frame{f.site.outTo(f.client, tell(f.to.Party, f.from.Party, p(f.from, f.to)))},
	}
}
