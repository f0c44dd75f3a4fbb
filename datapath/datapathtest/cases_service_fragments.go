package datapathtest

import (
	"strings"

	"github.com/ovlnet/ovl/datapath"
)

// vipFragmentCases are packets to a VIP in pieces, and replies in pieces: all go
// where the first goes, which has the ports.
func vipFragmentCases(s *Site) []Case {
	payload := strings.Repeat("a datagram that is sent in pieces. ", 50)
	var cases []Case
	for _, k := range kinds() {
		for _, where := range []struct{ client, backend Endpoint }{
			{s.A, s.C}, {s.A, s.B}, {s.A, s.TAP}, {s.TAP, s.C}, {s.A, s.A},
		} {
			backend := where.backend
			v := s.service(append(s.backends(), s.backend(s.A))...)
			name := func(name string) string {
				return name + ", " + k.String() + " from " + where.client.V4.String() + " to " + backend.V4.String()
			}
			begin := func() flow { return v.flow(k.family, k.protocol, where.client, backend, vipPort) }

			f := begin()
			cases = append(cases, serviceCase(name("fragments that begin a flow"), v,
				append(f.piecesForth(f.ofPayload(payload)), f.piecesBack(f.ofPayload(payload))...)...))

			f = begin()
			id := s.nextPort()
			pieces := f.pieces(f.ofPayload(payload), id)
			steps := f.begins()
			// The rest before the first: of that nothing is known yet.
			for _, p := range pieces.forth[1:] {
				steps = append(steps, Step{In: p.In, Drops: []datapath.DropReason{datapath.DropServiceFragment}})
			}
			steps = append(steps, pieces.forth[0], pieces.forth[2], pieces.forth[1], f.forth(f.more()))
			cases = append(cases, serviceCase(name("fragments of which the first comes late"), v, steps...))

			// Of another packet, and of another client, is another first.
			f = begin()
			one, two := f.pieces(f.ofPayload(payload), s.nextPort()), f.pieces(f.ofPayload(payload), s.nextPort())
			cases = append(cases, serviceCase(name("fragments of two packets"), v,
				one.forth[0], one.forth[1], Step{In: two.forth[1].In, Drops: []datapath.DropReason{datapath.DropServiceFragment}},
				two.forth[0], one.forth[2], two.forth[2]))

			if backend == where.client {
				continue
			}
			// What comes from a backend without a first may be anything.
			f = begin()
			replies := f.pieces(f.ofPayload(payload), s.nextPort())
			lone := replies.back[1]
			cases = append(cases, serviceCase(name("a reply's fragment without the first"), v,
				f.forth(f.first()), Step{In: lone.In, Out: []Frame{s.outTo(f.client, replies.plain[1])}}))
		}

		cases = append(cases, strangeFragments(s, k))

		// What is refused, is so in all its pieces, and is told once.
		v := s.service()
		f := v.anyFlow(k.family, k.protocol, s.A, vipPort)
		var steps []Step
		for i, p := range Fragments(f.ofPayload(payload)(f.from, f.to), OuterIPOffset, 600, s.nextPort()) {
			piece := func(End, End) []byte { return p }
			switch {
			case i > 0:
				steps = append(steps, f.ignored(piece, datapath.DropServiceFragment))
			case k.protocol == protoTCP:
				steps = append(steps, f.refused(piece, datapath.DropNoBackend, Segment{Flags: TCPACK, Ack: 5001}.Reset(f.to, f.from)))
			default:
				steps = append(steps, f.unreachable(piece, datapath.DropNoBackend, 3, 4))
			}
		}
		cases = append(cases, serviceCase("fragments that nobody takes, "+k.String(), v, steps...))
	}
	return cases
}

// strangeFragments are later fragments that differ from a first that was seen in
// one thing that they are known by.
func strangeFragments(s *Site, k kind) Case {
	v, w := s.service(s.backends()...), s.service(s.backends()...)
	payload := strings.Repeat("a datagram that is sent in pieces. ", 50)
	id := s.nextPort()
	f := v.flow(k.family, k.protocol, s.A, s.C, vipPort)
	other := kind{k.family, protoTCP + protoUDP - k.protocol}
	steps := []Step{f.pieces(f.ofPayload(payload), id).forth[0]}
	lost := func(f flow) {
		p := f.pieces(f.ofPayload(payload), id).forth[1]
		steps = append(steps, Step{In: p.In, Drops: []datapath.DropReason{datapath.DropServiceFragment}})
	}
	lost(v.flowFrom(k.family, k.protocol, s.TAP, f.from.Port, vipPort))
	lost(w.flowFrom(k.family, k.protocol, s.A, f.from.Port, vipPort))
	lost(v.flowFrom(other.family, other.protocol, s.A, f.from.Port, vipPort))
	in := f.pieces(f.ofPayload(payload), id).forth[1].In[0]
	steps = append(steps, Step{In: []Frame{{BlueA, in.Bytes}}, Drops: []datapath.DropReason{datapath.DropServiceFragment}},
		f.pieces(f.ofPayload(payload), id).forth[1])
	c := serviceCase("fragments of another, "+k.String(), v, steps...)
	c.State = func(st *datapath.State) {
		v.state(st)
		w.state(st)
		n := Network(st, Blue)
		n.Services = append(n.Services, v.with(s.backend(s.B)).Service)
	}
	return c
}

// pieces are a packet's fragments as steps, and as the backend sends them.
type pieces struct {
	forth, back []Step
	plain       [][]byte
}

func (f flow) pieces(p build, id uint16) pieces {
	const size = 600
	cut := func(frame []byte) [][]byte { return Fragments(frame, OuterIPOffset, size, id) }
	var out pieces
	in, translated := cut(p(f.from, f.to)), cut(p(f.seen, f.target))
	reply, turned := cut(p(f.target, f.seen)), cut(p(f.to, f.from))
	for i := range in {
		out.forth = append(out.forth, Step{
			In: []Frame{f.site.into(f.client, in[i])}, Out: []Frame{f.site.outTo(f.backend, translated[i])},
		})
		out.back = append(out.back, Step{
			In: []Frame{f.site.into(f.backend, reply[i])}, Out: []Frame{f.site.outTo(f.client, turned[i])},
		})
	}
	out.plain = reply
	return out
}

func (f flow) piecesForth(p build) []Step { return f.pieces(p, f.site.nextPort()).forth }
func (f flow) piecesBack(p build) []Step  { return f.pieces(p, f.site.nextPort()).back }
