package main

import (
	"fmt"
	"slices"

	"github.com/ovlnet/ovl/bench/contender"
)

// Stage is a part of a round: contenders that stand side by side, and what is
// measured of them. One stage is taken down before the next is set up.
//
// Each round sets them up anew: how processes, memory and connections happen to
// lie stays with a lab for as long as it stands. It would be the same in all
// rounds of a run, and another in the next run.
type Stage struct {
	Name string
	// MTU is the underlay's, in bytes.
	MTU int
	// Hosts is how many there are in each lab; 0 is 2, which share a veth
	// pair. More are joined by a bridge.
	Hosts int
	// Stays: it takes too long to set up, and is measured in all rounds, one
	// after the other, when those of the other stages are over.
	Stays bool
	// Contenders returns those that take part, none of which was set up
	// before.
	Contenders func() []contender.Contender
	// Baseline is the contender that ratios are taken against; see
	// report.Figure where it is empty.
	Baseline  string
	Scenarios []Scenario
}

// looks returns how often each contender is looked at.
func (stage Stage) looks(rounds int) (n int) {
	for _, s := range stage.Scenarios {
		n += s.rounds(rounds) * s.turns()
	}
	return n
}

// stages returns what there is to do, in order.
func stages(o options) []Stage {
	pairs := func() []contender.Contender { return contender.All(o.contenders) }
	all := []Stage{
		{
			Name:       "pair",
			MTU:        1500,
			Contenders: pairs,
			Baseline:   contender.Baseline,
			Scenarios:  append(slices.Clone(pairScenarios), attachScenario),
		},
		{
			Name:       "jumbo",
			MTU:        9000,
			Contenders: pairs,
			Baseline:   contender.Baseline,
			Scenarios:  jumboScenarios,
		},
		serviceStage(o.contenders),
		nameStage(o.contenders),
		growthStage(o.contenders),
	}
	var out []Stage
	for _, s := range all {
		s.Scenarios = slices.DeleteFunc(slices.Clone(s.Scenarios), func(s Scenario) bool {
			if len(o.only) > 0 {
				return !slices.Contains(o.only, s.Name)
			}
			return o.quick && !s.Quick
		})
		if o.quick {
			for i := range s.Scenarios {
				s.Scenarios[i].Turns = max(1, s.Scenarios[i].Turns/3)
			}
		}
		if len(s.Scenarios) > 0 {
			out = append(out, s)
		}
	}
	return out
}

// scenarioNames returns the names of all scenarios.
func scenarioNames() []string {
	var out []string
	for _, stage := range stages(options{}) {
		for _, s := range stage.Scenarios {
			out = append(out, s.Name)
		}
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
