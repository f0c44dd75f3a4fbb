package main

import (
	"slices"
	"strings"
	"testing"
)

func TestScenariosAreWhole(t *testing.T) {
	scenarios, figures := map[string]bool{}, map[string]bool{}
	for _, stage := range stages(options{}) {
		for _, s := range stage.Scenarios {
			if scenarios[s.Name] || s.Name == "" || len(s.Figures) == 0 || s.Measure == nil {
				t.Errorf("scenario %q is twice there or lacks something", s.Name)
			}
			scenarios[s.Name] = true
			for _, f := range s.Figures {
				if figures[f.Name] || f.Name == "" || f.Title == "" || f.Unit == "" || f.Value == "" {
					t.Errorf("figure %q of %s is twice there or lacks something", f.Name, s.Name)
				}
				figures[f.Name] = true
			}
		}
	}
}

func TestOnly(t *testing.T) {
	var names []string
	for _, stage := range stages(options{only: []string{"rtt", "udp-64"}}) {
		for _, s := range stage.Scenarios {
			names = append(names, s.Name)
		}
	}
	if got := strings.Join(names, " "); got != "udp-64 rtt" {
		t.Errorf("scenarios: %s", got)
	}
	if slices.Contains(scenarioNames(), "nonsense") || validateScenarios([]string{"rtt", "nonsense"}) == nil {
		t.Error("an unknown scenario is taken")
	}
}

// What is looked at once a run is counted once, too, by whoever guesses when
// the run ends.
func TestLooks(t *testing.T) {
	stage := Stage{Scenarios: []Scenario{{Name: "each"}, {Name: "once", Once: true}}}
	if n := stage.looks(5); n != 6 {
		t.Errorf("a contender is looked at %d times in 5 rounds, want 6", n)
	}
}

func TestRounds(t *testing.T) {
	for args, want := range map[string]int{"": usualRounds, "-quick": quickRounds, "-quick -rounds 7": 7, "-rounds 1": 1} {
		o, err := parseOptions(strings.Fields(args), t.Output())
		if err != nil || o.rounds != want {
			t.Errorf("%q: %d rounds, %v; want %d", args, o.rounds, err, want)
		}
	}
	if _, err := parseOptions([]string{"-rounds", "0"}, t.Output()); err == nil {
		t.Error("no rounds at all are taken")
	}
}
