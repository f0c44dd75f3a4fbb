package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// Report is the JSON document of a run. Fields are added, never renamed.
type Report struct {
	Time     time.Time `json:"time"`
	Machine  Machine   `json:"machine"`
	Rounds   int       `json:"rounds"`
	Duration float64   `json:"duration_seconds"`
	Baseline string    `json:"baseline"`
	// Contenders that have figures, in the order of a round; NotRun says why
	// of those that have none.
	Contenders []string          `json:"contenders"`
	NotRun     map[string]string `json:"not_run"`
	Scenarios  []ScenarioReport  `json:"scenarios"`
}

// Machine describes where the figures are from, without its name.
type Machine struct {
	Kernel string `json:"kernel"`
	Arch   string `json:"arch"`
	CPUs   int    `json:"cpus"`
	Model  string `json:"cpu_model"`
	// Load is the load average of the last minute when the run began.
	Load string `json:"load"`
}

// ScenarioReport is one scenario's figures by contender.
type ScenarioReport struct {
	Name          string `json:"name"`
	Title         string `json:"title"`
	Unit          string `json:"unit"`
	LowerIsBetter bool   `json:"lower_is_better"`
	// Values has one figure a round.
	Values  map[string][]float64 `json:"values"`
	Figures map[string]Summary   `json:"figures"`
	// Ratios to the baseline, each taken inside a round.
	Ratios map[string]Summary `json:"ratios"`

	scenario Scenario
}

func newReport(o options) Report {
	r := Report{
		Time:     time.Now().UTC().Truncate(time.Second),
		Machine:  thisMachine(),
		Rounds:   o.rounds,
		Duration: o.duration.Seconds(),
		Baseline: baseline,
		NotRun:   map[string]string{},
	}
	for _, s := range scenarios {
		if len(o.only) > 0 && !slices.Contains(o.only, s.Name) {
			continue
		}
		r.Scenarios = append(r.Scenarios, ScenarioReport{
			Name: s.Name, Title: s.Title, Unit: s.Unit, LowerIsBetter: s.LowerIsBetter,
			Values: map[string][]float64{}, Figures: map[string]Summary{}, Ratios: map[string]Summary{},
			scenario: s,
		})
	}
	return r
}

// summarize fills in figures and ratios from the values.
func (r *Report) summarize() {
	for _, s := range r.Scenarios {
		base := s.Values[r.Baseline]
		for name, values := range s.Values {
			s.Figures[name] = summarize(values)
			if of := ratios(values, base); len(of) > 0 {
				s.Ratios[name] = summarize(of)
			}
		}
	}
}

// write puts the report into a file of its own in dir and returns its path.
func (r Report) write(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("report: %w", err)
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return "", fmt.Errorf("report: %w", err)
	}
	path := filepath.Join(dir, r.Time.Format("20060102T150405Z")+".json")
	if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
		return "", fmt.Errorf("report: %w", err)
	}
	return path, nil
}

// wideSpread is how far apart the rounds of a ratio may be, as a part of its
// median, before the table marks it as one to be taken with care.
const wideSpread = 0.2

// print writes the table: medians, and the ratio to the baseline with the
// lowest and highest of its rounds.
func (r Report) print(w io.Writer) error {
	fmt.Fprintf(w, "\n%d rounds; medians; in brackets the ratio to %s, lowest and highest round\n\n", r.Rounds, r.Baseline)
	wide := false
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintf(t, "\t%s\n", strings.Join(r.Contenders, "\t"))
	for _, s := range r.Scenarios {
		fmt.Fprintf(t, "%s, %s", s.Title, s.Unit)
		for _, name := range r.Contenders {
			fmt.Fprintf(t, "\t%.1f", s.Figures[name].Median)
			if q, ok := s.Ratios[name]; ok && name != r.Baseline {
				fmt.Fprintf(t, "  [%.2f, %.2f–%.2f]", q.Median, q.Min, q.Max)
				if q.Spread() > wideSpread {
					fmt.Fprint(t, " ~")
					wide = true
				}
			}
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("table: %w", err)
	}
	if wide {
		fmt.Fprintf(w, "\n~ the rounds differ by more than %.0f%%: something else was busy\n", wideSpread*100)
	}
	for name, why := range r.NotRun {
		fmt.Fprintf(w, "%s was not run: %s\n", name, why)
	}
	return nil
}

func thisMachine() Machine {
	m := Machine{Arch: runtime.GOARCH, CPUs: runtime.NumCPU()}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		// What follows the version is whoever built it.
		m.Kernel, _, _ = strings.Cut(unix.ByteSliceToString(u.Release[:]), "-")
	}
	cpuinfo, _ := os.ReadFile("/proc/cpuinfo") // not there: the model stays empty
	for line := range strings.Lines(string(cpuinfo)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			m.Model = strings.TrimSpace(value)
			break
		}
	}
	load, _ := os.ReadFile("/proc/loadavg") // not there: the load stays empty
	m.Load, _, _ = strings.Cut(string(load), " ")
	return m
}
