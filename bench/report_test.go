package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
)

func TestReport(t *testing.T) {
	r := newReport(options{rounds: 3, duration: time.Second})
	r.Contenders = []string{"vxlan", "ovl"}
	r.NotRun["other"] = "it is not installed"
	for _, s := range r.Scenarios {
		s.Values["vxlan"] = []float64{10, 20, 10}
		s.Values["ovl"] = []float64{15, 24, 11}
	}
	r.summarize()

	var table strings.Builder
	if err := r.print(&table); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"TCP, 1 stream, Gbit/s",
		"15.0  [1.20, 1.10–1.50] ~",
		"~ the rounds differ by more than 20%",
		"other was not run: it is not installed",
	} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, &table)
		}
	}

	path, err := r.write(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if got := back.Scenarios[0].Ratios["ovl"]; got != (Summary{Median: 1.2, Min: 1.1, Max: 1.5}) {
		t.Errorf("ratio in the document: %+v", got)
	}
	if host, err := os.Hostname(); err == nil && strings.Contains(string(b), `"`+host+`"`) {
		t.Error("the document names the machine")
	}
}

func TestScenarioNames(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range scenarios {
		if seen[s.Name] || s.Name == "" || s.Title == "" || s.Unit == "" || s.Measure == nil {
			t.Errorf("scenario %q is twice there or lacks something", s.Name)
		}
		seen[s.Name] = true
	}
}

func TestOnly(t *testing.T) {
	r := newReport(options{only: []string{"rtt", "udp-64"}})
	var names []string
	for _, s := range r.Scenarios {
		names = append(names, s.Name)
	}
	if got := strings.Join(names, " "); got != "udp-64 rtt" {
		t.Errorf("scenarios: %s", got)
	}
	if err := validateScenarios([]string{"rtt", "nonsense"}); !matches(err, "nonsense") {
		t.Errorf("an unknown scenario: %v", err)
	}
}
