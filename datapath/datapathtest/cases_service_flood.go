package datapathtest

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/ovlnet/ovl/datapath"
)

// Of a flood: how many SYNs go in at a time, and how many flows a datapath may
// remember of them at most, operations.md.
const (
	floodStep  = 500
	floodFlows = 1 << 16
)

// floodCases are SYNs to more ports than there is memory for flows: those that both
// ends keep up live on, and what is new is served.
func floodCases(s *Site) []Case {
	if s.Family == IPv6 {
		return nil // it takes its time, and has nothing to do with the tunnel
	}
	v, w := s.service(s.backends()...), s.service(s.backend(s.Nobody))
	w.Ports = nil
	var flows, late []flow
	var begin, flood, after []Step
	for _, k := range kinds() {
		for _, backend := range []Endpoint{s.B, s.C} {
			f := v.flow(k.family, k.protocol, s.A, backend, vipPort)
			flows = append(flows, f)
			begin = append(begin, f.begins()...)
			late = append(late, v.flow(k.family, k.protocol, s.A, backend, vipPort))
		}
	}
	// goOn is packets of one direction of each flow, or of the other; or of the
	// other for half of them.
	goOn := func(other, half int) (steps []Step) {
		for i, f := range flows {
			if (i+i/2+i/4*half+other)%2 == 0 {
				steps = append(steps, f.forth(f.more()))
			} else {
				steps = append(steps, f.back(f.reply()))
			}
		}
		return steps
	}
	n := uint32(0)
	syns := func(many int) (steps []Step) {
		for range many / floodStep {
			steps = append(steps, w.flood(s.A, &n))
		}
		return steps
	}
	// They are a second old when they are heard of again, from one end or the other,
	// and so are settled.
	begin = slices.Concat(begin, []Step{{Check: waits(1100 * time.Millisecond)}}, goOn(0, 0))
	flood = syns(28_000)
	// Of what is new, each direction is remembered while many more come; of one that
	// was pushed out after all, the port still is its own.
	for _, f := range late {
		flood = append(flood, f.forth(f.first()))
	}
	flood = append(flood, syns(24_000)...)
	for _, f := range late {
		flood = append(flood, f.back(f.reply()))
	}
	flood = append(flood, syns(24_000)...)
	for _, f := range late {
		flood = append(flood, f.forth(f.more()))
	}
	flood = append(flood, Step{Flows: &FlowList{Of: w.VIPs, Most: floodFlows}})
	// What was forgotten would go to another backend.
	less := v.drained(s.B).drained(s.C)
	both := func(v *vip) func(*datapath.State) {
		return func(st *datapath.State) {
			v.state(st)
			w.state(st)
		}
	}
	after = slices.Concat([]Step{{State: both(less)}}, goOn(0, 1), goOn(1, 1))
	c := serviceCase(fmt.Sprintf("%d SYNs", n), v, slices.Concat(begin, flood, after)...)
	c.State = both(v)
	return []Case{c}
}

// flood is a step with SYNs of a client, each of another flow, which the service
// leads nowhere. n numbers them.
func (v *vip) flood(client Endpoint, n *uint32) Step {
	const sportAt = OuterIPOffset + 20
	template := syn(End{client.On4(), 0}, End{v.on(IPv4), 0})
	var s Step
	for range floodStep {
		frame := slices.Clone(template)
		// What it says of its checksum nobody looks at.
		binary.BigEndian.PutUint16(frame[sportAt:], uint16(1+*n%60000))
		binary.BigEndian.PutUint16(frame[sportAt+2:], uint16(1+*n/60000))
		*n++
		s.In = append(s.In, v.site.into(client, frame))
		s.Drops = append(s.Drops, datapath.DropUnknownDestination)
	}
	return s
}
