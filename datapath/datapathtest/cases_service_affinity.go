package datapathtest

import (
	"slices"
	"time"

	"github.com/ovlnet/ovl/datapath"
)

// affinityCases are clients that stay with a backend, whatever their ports.
func affinityCases(s *Site) []Case {
	affine := func(backends ...datapath.Backend) *vip {
		v := s.service(backends...)
		v.Affinity = 10 * time.Minute
		return v
	}
	var cases []Case
	for _, k := range kinds() {
		name := func(name string) string { return name + ", " + k.String() }
		from := func(v *vip, client Endpoint) flow { return v.anyFlow(k.family, k.protocol, client, vipPort) }
		other := kind{k.family, protoTCP + protoUDP - k.protocol}

		v := affine(s.backends()...)
		var steps []Step
		for _, client := range []Endpoint{s.A, s.B, s.TAP} {
			for range 4 {
				for _, port := range []uint16{vipPort, samePort} {
					f := v.anyFlow(k.family, k.protocol, client, port)
					g := v.anyFlow(other.family, other.protocol, client, port)
					steps = append(steps, f.forth(f.first()), g.forth(g.first()), f.back(f.reply()))
				}
			}
		}
		cases = append(cases, serviceCase(name("by the client alone"), v, steps...))

		// A goes where it went before, not where its table leads it now.
		went := func() (few, v *vip, there, elsewhere flow) {
			for {
				v = affine(s.backends()...)
				elsewhere = from(v, s.A)
				for _, b := range v.Backends {
					few = v.with(b)
					there = from(few, s.A)
					if there.backend != elsewhere.backend && there.backend != s.A && there.backend != s.TAP {
						return few, v, there, elsewhere
					}
				}
			}
		}
		// by is a new flow of A, to where that one went.
		by := func(v *vip, old flow) flow {
			f := from(v, s.A)
			for _, b := range v.Backends {
				if b.ID == old.backendID {
					return f.at(b, targetPort)
				}
			}
			panic("datapathtest: the service has no such backend")
		}
		few, v, there, _ := went()
		cases = append(cases, serviceCase(name("where it went before"), few, slices.Concat(
			there.begins(), []Step{v.becomes()}, by(v, there).begins(), by(v, there).begins(), from(v, s.TAP).begins())...))

		few, v, there, _ = went()
		less := v.drained(there.backend)
		next := from(less, s.A)
		// Its new backend is remembered in turn.
		cases = append(cases, serviceCase(name("not where it went before, if that is draining"), few, slices.Concat(
			there.begins(), []Step{less.becomes()}, next.begins(), []Step{there.forth(there.more())},
			[]Step{v.becomes()}, by(v, next).begins(), []Step{there.forth(there.more())})...))

		// Nor does a flow that goes on there take the client back.
		if k == (kind{IPv4, protoUDP}) && s.Family == IPv4 { // it takes its time
			few, v, there, _ = went()
			less = v.drained(there.backend)
			next = from(less, s.A)
			cases = append(cases, serviceCase(name("not where an old flow goes on"), few, slices.Concat(
				there.begins(), []Step{less.becomes()}, next.begins(), []Step{{Check: waits(1100 * time.Millisecond)}, there.forth(there.more()), v.becomes()},
				by(v, next).begins())...))
		}

		few, v, there, _ = went()
		less = v.without(there.backend)
		cases = append(cases, serviceCase(name("not where it went before, if that is gone"), few, slices.Concat(
			there.begins(), []Step{less.becomes()}, from(less, s.A).begins())...))

		few, v, there, _ = went()
		heir := v.with(slices.Clone(v.Backends)...)
		for i := range heir.Backends {
			if heir.Backends[i].ID == there.backendID {
				heir.Backends[i].ID = "heir"
			}
		}
		if next = from(heir, s.A); next.backendID != "heir" {
			cases = append(cases, serviceCase(name("not where it went before, if another is there"), few, slices.Concat(
				there.begins(), []Step{heir.becomes()}, next.begins())...))
		}

		few, v, there, _ = went()
		plain := v.with(v.Backends...)
		plain.Affinity = 0
		free := v.site.C
		if there.backend == free {
			free = v.site.E
		}
		cases = append(cases, serviceCase(name("not where it went before, without affinity"), few, slices.Concat(
			there.begins(), []Step{plain.becomes()}, plain.flow(k.family, k.protocol, s.A, free, vipPort).begins())...))

		few, v, there, elsewhere := went()
		few.Affinity, v.Affinity = time.Second, time.Second
		const longAgo = 2500 * time.Millisecond
		if k.protocol == protoUDP { // it takes its time
			cases = append(cases, serviceCase(name("not where it went long ago"), few, slices.Concat(
				there.begins(), []Step{v.becomes(), {Check: waits(longAgo)}}, elsewhere.begins())...))
		}
	}
	return cases
}

// waits gives a datapath time to forget.
func waits(d time.Duration) func(_, _ datapath.Stats) error {
	return func(_, _ datapath.Stats) error {
		time.Sleep(d)
		return nil
	}
}
