// Package report is what a run comes to: the JSON document, in which figures
// are kept with all their rounds, and what is made from it: the table in the
// terminal (table.go).
package report

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Schema is the version of the document. Fields are added without a new one,
// never renamed.
const Schema = 1

// Report is the JSON document of a run.
type Report struct {
	Schema  int       `json:"schema"`
	Time    time.Time `json:"time"`
	Machine Machine   `json:"machine"`
	Rounds  int       `json:"rounds"`
	// Duration is how long one measurement of throughput took.
	Duration float64 `json:"duration_seconds"`
	// NotRun says why of each contender that could not be set up.
	NotRun  map[string]string `json:"not_run"`
	Figures []*Figure         `json:"figures"`
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

// Figure is one thing that was measured, for all contenders.
type Figure struct {
	Name          string `json:"name"`
	Title         string `json:"title"`
	Unit          string `json:"unit"`
	LowerIsBetter bool   `json:"lower_is_better"`
	// Baseline is the contender that ratios are taken against. It is empty
	// where tables grow: a contender is then called NAME/REMOTES, and its
	// baseline is itself with the fewest.
	Baseline string `json:"baseline,omitempty"`
	// Contenders in the order of a round. Failed says why of those that could
	// be set up but not measured.
	Contenders []string          `json:"contenders"`
	Failed     map[string]string `json:"failed,omitempty"`
	// Values has one value a round.
	Values  map[string][]float64 `json:"values"`
	Summary map[string]Summary   `json:"summary"`
	// Ratios to the baseline, each taken inside a round.
	Ratios map[string]Summary `json:"ratios"`
}

// New returns a report of a run that begins now.
func New(rounds int, duration time.Duration) *Report {
	return &Report{
		Schema:   Schema,
		Time:     time.Now().UTC().Truncate(time.Second),
		Machine:  thisMachine(),
		Rounds:   rounds,
		Duration: duration.Seconds(),
		NotRun:   map[string]string{},
	}
}

// Add puts one more value of a contender into the figure.
func (f *Figure) Add(contender string, v float64) {
	if f.Values == nil {
		f.Values = map[string][]float64{}
	}
	if _, ok := f.Values[contender]; !ok {
		f.Contenders = append(f.Contenders, contender)
	}
	f.Values[contender] = append(f.Values[contender], v)
}

// Fail takes a contender out of the figure, and says why.
func (f *Figure) Fail(contender, why string) {
	if f.Failed == nil {
		f.Failed = map[string]string{}
	}
	f.Failed[contender] = why
	delete(f.Values, contender)
	for i, name := range f.Contenders {
		if name == contender {
			f.Contenders = append(f.Contenders[:i], f.Contenders[i+1:]...)
			break
		}
	}
}

// BaselineOf returns the contender that another one's ratios are taken
// against, empty if there is none.
func (f *Figure) BaselineOf(contender string) string {
	if f.Baseline != "" {
		return f.Baseline
	}
	own, _, _ := strings.Cut(contender, "/")
	for _, other := range f.Contenders {
		if name, _, grows := strings.Cut(other, "/"); grows && name == own {
			return other
		}
	}
	return ""
}

// Summarize fills in what follows from the values.
func (r *Report) Summarize() {
	for _, f := range r.Figures {
		f.Summary, f.Ratios = map[string]Summary{}, map[string]Summary{}
		for name, values := range f.Values {
			f.Summary[name] = summarize(values)
			if of := ratios(values, f.Values[f.BaselineOf(name)]); len(of) > 0 {
				f.Ratios[name] = summarize(of)
			}
		}
	}
}

// Write puts the report into a file of its own in dir and returns its path.
func (r *Report) Write(dir string) (string, error) {
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
