package datapathtest

import (
	"fmt"
	"slices"

	"github.com/ovlnet/ovl/datapath"
)

// vipDetailCases are the rules of docs/adr/0017-services.md that are about single
// packets and single entries of a State.
func vipDetailCases(s *Site) []Case {
	return slices.Concat(cutShortCases(s), entryCases(s))
}

// cutShortCases are packets to a VIP that end inside the header behind IP's.
func cutShortCases(s *Site) []Case {
	v := s.service(s.backends()...)
	var cases []Case
	for _, family := range []Family{IPv4, IPv6} {
		for _, client := range []Endpoint{s.A, s.TAP} {
			from, to := End{client.on(family), 5}, End{v.on(family), vipPort}
			head := len(Datagram(from, to, "")) - 8
			ping := func(from, to End) []byte { return Echo(from.Party, to.Party, false, longer) }
			for _, k := range []struct {
				name string
				build
				sizes []int
			}{
				{"TCP", syn, []int{0, 1, 4, 13, 19}},
				{"UDP", datagram(longer), []int{0, 1, 4, 7}},
				{"ICMP", ping, []int{0, 1, 4, 7}},
			} {
				for _, n := range k.sizes {
					frame := WithIPLength(k.build(from, to)[:head+n], OuterIPOffset, head+n-OuterIPOffset)
					c := drops(fmt.Sprintf("%d bytes of %s over %s from %s", n, k.name, family, client.V4),
						s.into(client, frame), datapath.DropTruncated)
					c.State = v.state
					cases = append(cases, c)
				}
			}
		}
	}
	return cases
}

// entryCases are services that lead to what is not there, or elsewhere than before.
func entryCases(s *Site) []Case {
	var cases []Case
	for _, k := range kinds() {
		nobody := s.backend(s.Nobody)
		v := s.service(nobody)
		f := v.anyFlow(k.family, k.protocol, s.A, vipPort)
		cases = append(cases, serviceCase("a backend that is no endpoint, "+k.String(), v, f.ignored(f.first(), datapath.DropUnknownDestination)))

		v = s.service(s.backends()...)
		f = v.flow(k.family, k.protocol, s.A, s.C, vipPort)
		led := v.with(v.Backends...)
		led.Ports = slices.Clone(led.Ports)
		for i := range led.Ports {
			led.Ports[i].Target = 9090
		}
		g := led.flow(k.family, k.protocol, s.A, s.C, vipPort)
		cases = append(cases, serviceCase("a port that leads to another, "+k.String(), v, slices.Concat(f.begins(),
			[]Step{led.becomes(), f.forth(f.more()), f.back(f.reply())}, g.begins())...))

		// It has begun, and is on the list.
		v = s.service(s.backends()...)
		f = v.flow(k.family, k.protocol, s.A, s.C, vipPort)
		long := f.ofLength(s.MTU + 1)
		begins := f.tooLong(long, s.Gateway.on(k.family), s.MTU)
		rest := v.drained(s.C)
		cases = append(cases, serviceCase("a flow that begins with a packet that is too long, "+k.String(), v,
			begins, rest.becomes(), f.forth(f.more()), f.back(f.reply())))

		// A service of one address has no other.
		v = s.service(s.backends()...)
		f = v.flow(k.family, k.protocol, s.A, s.C, vipPort)
		one := v.with(v.Backends...)
		one.VIPs = v.VIPs[:1]
		if k.family == IPv6 {
			one.VIPs = v.VIPs[1:]
		}
		other := v.anyFlow(map[Family]Family{IPv4: IPv6, IPv6: IPv4}[k.family], k.protocol, s.A, vipPort)
		cases = append(cases, serviceCase("a service of one address, "+k.String(), one,
			append(f.begins(), other.ignored(other.first(), datapath.DropUnknownDestination))...))
	}
	return cases
}
