package datapathtest

import "strings"

// fragmentCases are packets in pieces, inside the tunnel and outside.
func fragmentCases(s *Site) []Case {
	const ip = 14
	payload := strings.Repeat("a datagram that is sent in pieces. ", 50)
	var cases []Case
	for _, p := range s.paths() {
		for _, k := range []named{
			{"IPv4", UDP4(p.from.On4(), p.to.On4(), payload)},
			{"IPv6", UDP6(p.from.On6(), p.to.On6(), payload)},
		} {
			name, frame := k.name, k.frame
			all := Fragments(frame, ip, 600, 77)
			whole := Case{Name: name + " fragments " + p.name}
			for _, f := range all {
				whole.Steps = append(whole.Steps, Step{In: []Frame{p.in(f)}, Out: []Frame{p.out(f)}})
			}
			last := all[len(all)-1]
			cases = append(cases, whole,
				passes(name+" last fragment alone "+p.name, p.in(last), p.out(last)),
				passes(name+" fragment of one byte "+p.name, p.in(last[:len(last):len(last)]), p.out(last)))
		}
	}

	inner := UDP4(s.C.On4(), s.A.On4(), payload[:600])
	packet := s.From(s.Host2, Red, inner).Bytes
	outer := func(id uint16) (in []Frame) {
		for _, f := range Fragments(packet, s.OuterIP, 256, id) {
			in = append(in, Frame{Underlay, f})
		}
		return in
	}
	pieces, others := outer(1), outer(2)
	backwards := outer(3)
	for i, j := 0, len(backwards)-1; i < j; i, j = i+1, j-1 {
		backwards[i], backwards[j] = backwards[j], backwards[i]
	}
	return append(cases,
		Case{Name: "outer fragments are put together", Steps: []Step{{In: pieces, Out: []Frame{{RedA, inner}}}}},
		Case{Name: "outer fragments are put together backwards", Steps: []Step{{In: backwards, Out: []Frame{{RedA, inner}}}}},
		Case{Name: "outer fragments of which one is missing", Steps: []Step{{In: others[1:]}}},
	)
}
