package datapathtest

import (
	"context"
	"io"
	"net/netip"
	"testing"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// The conformance suite is what every datapath has to pass: the contract of
// package datapath, in frames. One host runs the datapath under test; its ports
// are real interfaces, and at the other end of its underlay the suite sits and
// plays all other hosts. A case is data: a State, frames that go in, and the
// frames that have to come out, byte by byte, with nothing else anywhere and
// nothing else counted.
//
//	 red-a   red-b   red-tap   blue-a   blue-b         endpoints (Site)
//	   │       │        │        │        │
//	┌──┴───────┴────────┴────────┴────────┴──┐
//	│        the datapath under test         │
//	└───────────────────┬────────────────────┘
//	                underlay                           the suite: every other VTEP
//
// What happens, in order: Run goes through the groups of cases (groups), each
// over both families of the underlay; builds a lab for each Setup that there is
// (conformance_lab.go), out of interfaces that it can send and listen at
// (conformance_wire.go); brings the datapath to the case's State; and takes its
// steps (conformance_step.go). Labs are shared, so that a case takes a
// millisecond or two.
//
// To add cases, write a function that returns them, from what a Site has, and
// add it to groups.

// Case is one thing that a datapath has to do.
type Case struct {
	Name string
	// Setup says what lab the case needs; the zero value is the usual one.
	Setup Setup
	// State changes the standard State for this case. nil leaves it as it is.
	State func(*datapath.State)
	// Steps are taken in order.
	Steps []Step
}

// Setup is a kind of lab. Cases with the same Setup share a lab, but those
// which want one Alone.
type Setup struct {
	// MTU is the underlay's, in bytes. Default 1500.
	MTU int
	// Alone gives the case a lab of its own: it leaves traces in the host,
	// such as a path MTU that it has learned.
	Alone bool
}

// Step is frames that go in, and all that must come of them. Frames that come
// out at one place come in this order.
//
// Frames are compared byte by byte, but for what the sender of a packet may
// choose: of those that come out at the Underlay, an IPv4 ID and an IPv6 flow
// label may be anything, and the source port of a tunnel packet need only be
// one of 32768 to 60999, and the same for every packet of a flow. Packets of
// several flows may leave in any order. Its UDP checksum is zero, as RFC 7348 has
// it, or right.
type Step struct {
	// State is what the datapath is brought to before anything goes in: the
	// standard State, changed. nil leaves it as it is.
	State func(*datapath.State)
	In    []Frame
	// Segments says that the senders of In leave it to others to cut their packets
	// (TSO, UDP GSO): into segments of so many bytes of payload each, and to make
	// their checksums. 0: frames are as they are. Only what a veth pair's end sends
	// can be such.
	Segments int
	// Quote makes more of them, which quote a packet that the datapath has sent
	// over the underlay: sport is the outer source port of the last one.
	Quote func(sport uint16) []Frame
	Out   []Frame
	Drops []datapath.DropReason
	// OrStack says that the host's own stack may drop what goes in, before
	// the datapath sees it. Then nothing need be counted.
	OrStack bool
	// Check, if there is one, looks at the counters from before and after the
	// step. It is asked again for a while until it returns nil.
	Check func(before, after datapath.Stats) error
	// Late makes more of In and Out, which depend on what the datapath has
	// chosen: it is asked for the former before the step, for the latter after
	// it, with the flows that there are then.
	Late func([]datapath.Flow) (in, out []Frame)
	// Flows, if there are any, are what the datapath has to list after the
	// step. It is asked again for a while.
	Flows *FlowList
}

// Frame is a frame at a place.
type Frame struct {
	At    Place
	Bytes []byte
}

// Place is where the suite sends and listens: at the far end of a port's
// interface, or of the underlay.
type Place string

// Host is where the datapath under test works: the namespace that it is opened
// in.
type Host struct {
	// Name is unique on this machine.
	Name string
	// VTEP is the host's tunnel address, Underlay the device that has it.
	VTEP     netip.Addr
	Underlay string
	// Port is the tunnel's UDP port.
	Port uint16
	// Log takes what the datapath has to say.
	Log io.Writer
}

// Opener opens the datapath under test on a host. It is called in the host's
// namespace, and so are the datapath's Apply and Close; Stats is called from
// anywhere. remove is called there last, and takes away what Close leaves.
type Opener func(ctx context.Context, h Host) (dp datapath.Datapath, remove func() error, err error)

// group is cases about one thing. They are made anew for every kind of
// underlay, for their frames depend on it.
type group struct {
	name  string
	cases func(*Site) []Case
}

// groups are all cases there are.
func groups() []group {
	return append([]group{
		{"forward", forwardCases},
		{"source", sourceCases},
		{"multicast", multicastCases},
		{"neighbours", neighbourCases},
		{"IPv6", ipv6Cases},
		{"VTEPs", vtepCases},
		{"tunnel", tunnelCases},
		{"truncated", truncatedCases},
		{"isolation", isolationCases},
		{"gateway", gatewayPortCases},
		{"untouched", untouchedCases},
		{"ecn", ecnCases},
		{"fragments", fragmentCases},
		{"tags", tagCases},
		{"mtu", mtuCases},
	}, serviceGroups()...)
}

// Run puts a datapath through every case. It needs root.
func Run(t *testing.T, open Opener) {
	linktest.NeedRoot(t)
	for _, family := range []Family{IPv4, IPv6} {
		t.Run(string(family)+" underlay", func(t *testing.T) {
			labs := &labs{t: t, open: open, site: newSite(family), shared: map[Setup]*lab{}}
			for _, g := range groups() {
				t.Run(g.name, func(t *testing.T) { labs.runGroup(t, g) })
			}
			labs.quiet()
		})
	}
}

// labs are those of one family, made when the first case asks for them.
type labs struct {
	t      *testing.T
	open   Opener
	site   *Site
	shared map[Setup]*lab
}

func (l *labs) runGroup(t *testing.T, g group) {
	for _, c := range g.cases(l.site) {
		t.Run(c.Name, func(t *testing.T) {
			lab := l.shared[c.Setup]
			switch {
			case c.Setup.Alone:
				lab = newLab(t, t, l.open, l.site, c.Setup)
			case lab == nil:
				lab = newLab(t, l.t, l.open, l.site, c.Setup)
				l.shared[c.Setup] = lab
			}
			lab.run(t, c)
		})
	}
}

// quiet fails if anything still comes out after the last case.
func (l *labs) quiet() {
	for _, lab := range l.shared {
		lab.quiet(l.t)
	}
}
