package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Scenario is one thing to measure, the same for every contender.
type Scenario struct {
	// Name is the scenario's key in the JSON report, Title its line in the
	// table.
	Name  string
	Title string
	Unit  string
	// LowerIsBetter turns around what a ratio above 1 means.
	LowerIsBetter bool
	// NoOffload measures over an underlay that cannot segment, as behind a
	// NIC without offloads: TSO, GSO and tunnel segmentation off, GRO on.
	NoOffload bool
	// Measure returns one figure in Unit; duration is how long to look.
	Measure func(ctx context.Context, p Pair, duration time.Duration) (float64, error)
	// Share is the part of the usual duration that is enough; 0 is all.
	Share float64
}

// duration returns how long the scenario looks when the usual is d.
func (s Scenario) duration(d time.Duration) time.Duration {
	if s.Share == 0 {
		return d
	}
	return time.Duration(float64(d) * s.Share)
}

// smallPayload is the UDP payload of small packets, in bytes.
const smallPayload = 64

var scenarios = []Scenario{
	{
		Name: "tcp", Title: "TCP, 1 stream", Unit: "Gbit/s",
		Measure: tcpThroughput,
	},
	{
		Name: "tcp-no-offload", Title: "TCP, 1 stream, underlay without segmentation offload", Unit: "Gbit/s",
		NoOffload: true,
		Measure:   tcpThroughput,
	},
	{
		Name: "udp-64", Title: "UDP, 64 bytes, packets received", Unit: "kpps",
		Measure: packetRate,
		Share:   0.5,
	},
	{
		Name: "rtt", Title: "Round trip, ICMP echo", Unit: "µs", LowerIsBetter: true,
		Measure: echoRoundTrip,
		Share:   0.5,
	},
	{
		Name: "rtt-udp", Title: "Round trip, UDP between two programs", Unit: "µs", LowerIsBetter: true,
		Measure: sockperfRoundTrip,
		Share:   0.5,
	},
}

func scenarioNames() []string {
	var out []string
	for _, s := range scenarios {
		out = append(out, s.Name)
	}
	return out
}

// validateScenarios returns an error unless all names are those of scenarios.
func validateScenarios(names []string) error {
	for _, name := range names {
		if !slices.Contains(scenarioNames(), name) {
			return fmt.Errorf("there is no scenario %q", name)
		}
	}
	return nil
}
