package datapathtest

import (
	"strings"

	"github.com/ovlnet/ovl/datapath"
)

// vipUncutCases are packets to a VIP that are still to be cut, TCP's and those of UDP
// GSO: each of what becomes of them is as if it had been sent to the backend.
func vipUncutCases(s *Site) []Case {
	v := s.service(s.backends()...)
	const size = 1000
	payload := strings.Repeat("sent as one, to be cut. ", 300)[:5*size+7]
	var cases []Case
	for _, k := range kinds() {
		// An endpoint behind a veth pair hears them uncut, and takes them so.
		for _, backend := range []Endpoint{s.C, s.E, s.TAP} {
			begin := func(name string) (string, flow) {
				return name + ", " + k.String() + " to " + backend.V4.String(), v.flow(k.family, k.protocol, s.A, backend, vipPort)
			}
			name, f := begin("a packet that is to be cut")
			cases = append(cases, serviceCase(name, v, append(f.begins(), f.forthUncut(payload, size), f.forthUncut(payload[:size+1], size),
				f.forth(f.more()), f.back(f.reply()))...))

			v = s.service(s.backends()...) // whose flows are listed
			name, f = begin("a flow that begins with a packet that is to be cut")
			first := f.forthUncut(payload, size)
			known := f.known(datapath.FlowEstablished, nil, []build{f.reply()})
			known.Sent = sizeUncut(first.In[0].Bytes, size)
			cases = append(cases, serviceCase(name, v, first, f.back(f.reply()), v.lists(known)))
		}
	}
	return cases
}
