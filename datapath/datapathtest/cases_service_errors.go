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
				// What follows is no part of the quote.
				padded := func(from, to Party, about []byte) []byte { return append(brief(from, to, about), make([]byte, 20)...) }
				for _, how := range []struct {
					name string
					tell func(from, to Party, about []byte) []byte
				}{{"", tell}, {" in few words", brief}, {" in few words in a padded frame", padded}} {
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

	for _, k := range kinds() {
		cases = append(cases, poorErrorCase(s, k), othersErrorCase(s, k))
	}
	return cases
}

// poorErrorCase are errors to a VIP that nobody can make sense of.
func poorErrorCase(s *Site, k kind) Case {
	v := s.service(s.backends()...)
	f := v.flow(k.family, k.protocol, s.A, s.C, vipPort)
	e := icmpErrors(k.family)[0]
	about := func(quote []byte) []byte {
		return BriefICMPError(f.from.Party, f.to.Party, e.typ, e.code, e.rest, quote)
	}
	reply := f.ofPayload(longer)(f.to, f.from)
	head := OuterIPOffset + 20
	another := Patch(reply, OuterIPOffset+9, 253)
	if k.family == IPv6 {
		head += 20
		another = Patch(reply, OuterIPOffset+6, 253)
	}
	pieces := Fragments(f.ofPayload(longer+longer)(f.to, f.from), OuterIPOffset, 24, 1)
	inPieces := Fragments(ICMPError(f.from.Party, f.to.Party, e.typ, e.code, e.rest, reply), OuterIPOffset, 64, s.nextPort())

	steps := f.begins()
	for _, frame := range [][]byte{
		about(reply[:head+7]), about(reply[:head]), about(reply[:OuterIPOffset+7]), about(reply[:OuterIPOffset]),
		about(another), about(pieces[1]), inPieces[0],
		// What pads a frame is no part of the quote.
		append(about(reply[:head+7]), make([]byte, 20)...),
	} {
		steps = append(steps, Step{In: []Frame{{RedA, frame}}, Drops: []datapath.DropReason{datapath.DropServicePort}})
	}
	// The first of a packet's fragments has what it takes.
	first := Fragments(f.ofPayload(longer+longer)(f.target, f.seen), OuterIPOffset, 24, 1)[0]
	steps = append(steps, Step{
		In:  []Frame{{RedA, about(pieces[0])}},
		Out: []Frame{s.outTo(s.C, BriefICMPError(f.seen.Party, f.target.Party, e.typ, e.code, e.rest, first))},
	}, f.forth(f.more()))
	return serviceCase("errors that nobody can make sense of, "+k.String(), v, steps...)
}

// othersErrorCase are errors about a flow that are from neither of its ends.
func othersErrorCase(s *Site, k kind) Case {
	v := s.service(s.backends()...)
	f := v.flow(k.family, k.protocol, s.A, s.C, vipPort)
	e := icmpErrors(k.family)[0]
	tell := func(from, to Party, about []byte) []byte { return ICMPError(from, to, e.typ, e.code, e.rest, about) }
	ofAnother := Step{
		In:    []Frame{{RedB, tell(s.B.on(k.family), f.to.Party, f.reply()(f.to, f.from))}},
		Drops: []datapath.DropReason{datapath.DropServicePort},
	}
	steps := append(f.begins(), ofAnother)
	// With the ports of the flow, and an address that is not of its packets.
	stranger, other := End{s.E.on(k.family), f.to.Port}, End{s.TAP.on(k.family), f.from.Port}
	for _, about := range [][]byte{f.reply()(stranger, f.from), f.reply()(f.to, other)} {
		steps = append(steps, Step{In: []Frame{{RedA, tell(f.from.Party, f.to.Party, about)}}, Drops: []datapath.DropReason{datapath.DropServicePort}})
	}
	stranger.Port = f.target.Port
	for _, about := range [][]byte{f.first()(f.seen, stranger), f.first()(other, f.target)} {
		steps = append(steps, s.direct(s.C, s.A, tell(f.target.Party, f.from.Party, about)))
	}
	steps = append(steps, s.direct(s.E, s.A, tell(s.E.on(k.family), f.from.Party, f.first()(f.seen, f.target))), f.forth(f.more()))
	return serviceCase("errors about a flow of others, "+k.String(), v, steps...)
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
