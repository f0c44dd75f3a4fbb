package main

import (
	"context"
	"errors"
	"time"

	"github.com/ovlnet/ovl/bench/contender"
	"github.com/ovlnet/ovl/bench/measure"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// Scenario is one thing to look at, the same for every contender.
type Scenario struct {
	Name string
	// Figures are what a look yields. The first one is shown while the
	// benchmark runs.
	Figures []Figure
	// NoOffload measures over an underlay that cannot segment, as behind a
	// NIC without offloads: TSO, GSO and tunnel segmentation off, GRO on.
	NoOffload bool
	// Once: it is looked at in the first round only.
	Once bool
	// Quick scenarios are part of the quick run too.
	Quick bool
	// Turns is how often a round looks at each contender; 0 is once. A round's
	// value is the median of its turns. Every other turn goes through the
	// contenders backwards: what drifts meanwhile is in all of them alike. A
	// machine may be a fifth slower for seconds: many short looks are better
	// than a few long ones, where the measuring program can be short. A
	// quick run has a third of them.
	Turns int
	// Share is the part of the usual duration that it takes; 0 is all.
	Share float64
	// Measure looks for d. It returns errNotApplicable for a contender that
	// has nothing to look at.
	Measure func(ctx context.Context, s Subject, d time.Duration) (measure.Values, error)
}

// Figure is one value of a look: a row of the report.
type Figure struct {
	// Value is its name in what Measure returns.
	Value string
	// Name is the figure's key in the JSON report, Title its heading.
	Name          string
	Title         string
	Unit          string
	LowerIsBetter bool
}

// Subject is a contender that is set up.
type Subject struct {
	Contender contender.Contender
	Lab       *linktest.Lab
	Pair      measure.Pair
	// Round is the number of the round, from 0.
	Round int
}

var errNotApplicable = errors.New("the contender has no such thing")

// between looks at what lies between the pair.
func between(look measure.Func) func(context.Context, Subject, time.Duration) (measure.Values, error) {
	return func(ctx context.Context, s Subject, d time.Duration) (measure.Values, error) {
		return look(ctx, s.Pair, d)
	}
}

// between6 is between by the pair's IPv6 addresses.
func between6(look measure.Func) func(context.Context, Subject, time.Duration) (measure.Values, error) {
	return func(ctx context.Context, s Subject, d time.Duration) (measure.Values, error) {
		p, ok := s.Pair.IPv6()
		if !ok {
			return nil, errNotApplicable
		}
		return look(ctx, p, d)
	}
}

// rounds returns in how many of a run's rounds the scenario is looked at.
func (s Scenario) rounds(all int) int {
	if s.Once {
		return 1
	}
	return all
}

// turns returns how often a round looks at each contender.
func (s Scenario) turns() int { return max(1, s.Turns) }

// duration returns how long the scenario looks when the usual is d.
func (s Scenario) duration(d time.Duration) time.Duration {
	if s.Share == 0 {
		return d
	}
	return time.Duration(float64(d) * s.Share)
}

// Payloads of UDP packets, in bytes. The larger one makes an IPv4 packet of
// 1400 bytes, which fits into every contender's tunnel: the smallest inner MTU
// is wireguard's, 1420.
const (
	smallPayload = 64
	largePayload = 1400 - 20 - 8
)

// pairScenarios are measured on an underlay with the usual MTU. Those of
// services are in services.go, of names in names.go, and of large tables in
// growth.go.
var pairScenarios = []Scenario{
	{
		Name:    "tcp",
		Figures: []Figure{{Value: "rate", Name: "tcp", Title: "TCP, 1 stream", Unit: "Gbit/s"}},
		Quick:   true,
		Turns:   2,
		Measure: between(measure.TCP(1)),
	},
	{
		Name:    "tcp-8",
		Figures: []Figure{{Value: "rate", Name: "tcp-8", Title: "TCP, 8 streams", Unit: "Gbit/s"}},
		Measure: between(measure.TCP(8)),
	},
	{
		Name:      "tcp-no-offload",
		Figures:   []Figure{{Value: "rate", Name: "tcp-no-offload", Title: "TCP, 1 stream, underlay without segmentation offload", Unit: "Gbit/s"}},
		NoOffload: true,
		Quick:     true,
		Turns:     2,
		Measure:   between(measure.TCP(1)),
	},
	{
		Name:    "udp-64",
		Figures: []Figure{{Value: "rate", Name: "udp-64", Title: "UDP, 64 bytes, packets received", Unit: "kpps"}},
		Quick:   true,
		Share:   0.15,
		Turns:   6,
		Measure: between(measure.Packets(smallPayload)),
	},
	{
		Name:    "udp-1400",
		Figures: []Figure{{Value: "rate", Name: "udp-1400", Title: "UDP, packets of 1400 bytes, packets received", Unit: "kpps"}},
		Share:   0.15,
		Turns:   3,
		Measure: between(measure.Packets(largePayload)),
	},
	{
		Name:    "udp-gso",
		Figures: []Figure{{Value: "rate", Name: "udp-gso", Title: "UDP, packets of 1400 bytes, segmented by the kernel", Unit: "Gbit/s"}},
		Share:   0.15,
		Turns:   3,
		Measure: between(measure.SegmentedPackets(largePayload)),
	},
	{
		Name: "rtt",
		Figures: []Figure{
			{Value: "p50", Name: "rtt", Title: "Round trip, ICMP echo", Unit: "µs", LowerIsBetter: true},
			{Value: "p99", Name: "rtt-p99", Title: "Round trip, ICMP echo, 99 %", Unit: "µs", LowerIsBetter: true},
		},
		Quick:   true,
		Share:   0.1,
		Turns:   10,
		Measure: between(measure.EchoRoundTrip),
	},
	{
		Name: "rtt-load",
		Figures: []Figure{
			{Value: "p50", Name: "rtt-load", Title: "Round trip beside 1 Gbit/s of TCP", Unit: "µs", LowerIsBetter: true},
			{Value: "p99", Name: "rtt-load-p99", Title: "Round trip beside 1 Gbit/s of TCP, 99 %", Unit: "µs", LowerIsBetter: true},
		},
		Share:   0.5,
		Measure: between(measure.LoadedEchoRoundTrip),
	},
	{
		Name: "rtt-udp",
		Figures: []Figure{
			{Value: "p50", Name: "rtt-udp", Title: "Round trip, UDP between two programs", Unit: "µs", LowerIsBetter: true},
			{Value: "p99", Name: "rtt-udp-p99", Title: "Round trip, UDP between two programs, 99 %", Unit: "µs", LowerIsBetter: true},
		},
		Share:   0.5,
		Measure: between(measure.UDPRoundTrip),
	},
	{
		Name:    "tcp-ipv6",
		Figures: []Figure{{Value: "rate", Name: "tcp-ipv6", Title: "TCP over IPv6, 1 stream", Unit: "Gbit/s"}},
		Quick:   true,
		Turns:   2,
		Measure: between6(measure.TCP(1)),
	},
	{
		Name:    "udp-64-ipv6",
		Figures: []Figure{{Value: "rate", Name: "udp-64-ipv6", Title: "UDP over IPv6, 64 bytes, packets received", Unit: "kpps"}},
		Quick:   true,
		Share:   0.15,
		Turns:   4,
		Measure: between6(measure.Packets(smallPayload)),
	},
	{
		Name: "rtt-ipv6",
		Figures: []Figure{
			{Value: "p50", Name: "rtt-ipv6", Title: "Round trip, ICMPv6 echo", Unit: "µs", LowerIsBetter: true},
			{Value: "p99", Name: "rtt-ipv6-p99", Title: "Round trip, ICMPv6 echo, 99 %", Unit: "µs", LowerIsBetter: true},
		},
		Quick:   true,
		Share:   0.1,
		Turns:   6,
		Measure: between6(measure.EchoRoundTrip),
	},
	{
		Name:    "rr",
		Figures: []Figure{{Value: "rate", Name: "rr", Title: "Request and response, 16 connections", Unit: "k/s"}},
		Share:   0.5,
		Turns:   2,
		Measure: between(measure.Requests),
	},
	{
		Name:    "crr",
		Figures: []Figure{{Value: "rate", Name: "crr", Title: "Connect, request and response, 16 at a time", Unit: "k/s"}},
		Share:   0.5,
		Measure: between(measure.Connections),
	},
	{
		Name:    "tcp-cpu",
		Figures: []Figure{{Value: "cpu", Name: "tcp-cpu", Title: "CPU time, TCP at 6 Gbit/s, both hosts", Unit: "s/GB", LowerIsBetter: true}},
		Share:   0.6,
		Turns:   2,
		Measure: between(measure.TCPCost),
	},
	{
		Name:    "udp-cpu",
		Figures: []Figure{{Value: "cpu", Name: "udp-cpu", Title: "CPU time, UDP at 32 kpps, 64 bytes, both hosts", Unit: "s/Mpkt", LowerIsBetter: true}},
		Share:   0.8,
		Turns:   2,
		Measure: between(measure.PacketCost(smallPayload)),
	},
}

// jumboScenarios are measured on an underlay with an MTU of 9000.
var jumboScenarios = []Scenario{
	{
		Name:    "tcp-jumbo",
		Figures: []Figure{{Value: "rate", Name: "tcp-jumbo", Title: "TCP, 1 stream, underlay MTU 9000", Unit: "Gbit/s"}},
		Measure: between(measure.TCP(1)),
	},
}
