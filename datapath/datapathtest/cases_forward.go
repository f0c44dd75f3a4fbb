package datapathtest

// forwardCases are frames that reach an endpoint, on this host or another.
func forwardCases(s *Site) []Case {
	to4 := func(from, to Endpoint) []byte { return UDP4(from.On4(), to.On4(), "hello") }
	to6 := func(from, to Endpoint) []byte { return ICMP6(from.On6(), to.On6()) }
	raw := func(from, to Endpoint) []byte { return Ethernet(from.On4(), to.On4(), 0x88b5, "not IP") }

	var cases []Case
	for _, k := range []struct {
		name  string
		frame func(from, to Endpoint) []byte
	}{{"IPv4", to4}, {"IPv6", to6}, {"not IP", raw}} {
		cases = append(cases,
			passes(k.name+" to another host", Frame{RedA, k.frame(s.A, s.C)}, s.To(s.Host2, Red, k.frame(s.A, s.C))),
			passes(k.name+" to a third host", Frame{RedB, k.frame(s.B, s.E)}, s.To(s.Host3, Red, k.frame(s.B, s.E))),
			passes(k.name+" from a TAP to another host", Frame{RedTAP, k.frame(s.TAP, s.C)}, s.To(s.Host2, Red, k.frame(s.TAP, s.C))),
			passes(k.name+" to another host's second address", Frame{RedA, k.frame(s.A, s.D2)}, s.To(s.Host2, Red, k.frame(s.A, s.D2))),
			passes(k.name+" in the other network", Frame{BlueA, k.frame(s.A, s.C)}, s.To(s.Host2, Blue, k.frame(s.A, s.C))),
			passes(k.name+" to this host", Frame{RedA, k.frame(s.A, s.B)}, Frame{RedB, k.frame(s.A, s.B)}),
			passes(k.name+" to this host in the other network", Frame{BlueB, k.frame(s.B, s.A)}, Frame{BlueA, k.frame(s.B, s.A)}),
			passes(k.name+" to this host's TAP", Frame{RedA, k.frame(s.A, s.TAP)}, Frame{RedTAP, k.frame(s.A, s.TAP)}),
			passes(k.name+" from this host's TAP", Frame{RedTAP, k.frame(s.TAP, s.B)}, Frame{RedB, k.frame(s.TAP, s.B)}),
			passes(k.name+" from another host", s.From(s.Host2, Red, k.frame(s.C, s.A)), Frame{RedA, k.frame(s.C, s.A)}),
			passes(k.name+" from a third host", s.From(s.Host3, Red, k.frame(s.E, s.B)), Frame{RedB, k.frame(s.E, s.B)}),
			passes(k.name+" from another host to a TAP", s.From(s.Host2, Red, k.frame(s.C, s.TAP)), Frame{RedTAP, k.frame(s.C, s.TAP)}),
			passes(k.name+" from another host's second address", s.From(s.Host2, Red, k.frame(s.D2, s.A)), Frame{RedA, k.frame(s.D2, s.A)}),
			passes(k.name+" from another host in the other network", s.From(s.Host4, Blue, k.frame(s.F, s.A)), Frame{BlueA, k.frame(s.F, s.A)}),
		)
	}
	return cases
}
