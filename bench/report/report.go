// Package report is what a run comes to: the JSON document, in which figures
// are kept with all their rounds (docs/benchmark-report.md describes it), and
// what is made from it: the table in the terminal (table.go), the comparison
// of two runs (compare.go), and docs/performance.md (page.go) with its plots
// (bars.go, lines.go).
package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Schema is the version of the document. Fields are added without a new one,
// never renamed.
const Schema = 2

// Report is the JSON document of a run.
type Report struct {
	Schema  int         `json:"schema"`
	Time    time.Time   `json:"time"`
	Machine Machine     `json:"machine"`
	Load    LoadAverage `json:"load"`
	// Ovl is the version that was measured, empty if it did not tell.
	Ovl    string `json:"ovl,omitempty"`
	Rounds int    `json:"rounds"`
	// Duration is how long one measurement of throughput took.
	Duration float64 `json:"duration_seconds"`
	// Took is how long the whole run took.
	Took float64 `json:"took_seconds"`
	// NotRun says why of each contender that could not be set up.
	NotRun  map[string]string `json:"not_run"`
	Figures []*Figure         `json:"figures"`
}

// Figure is one thing that was measured, for all contenders.
type Figure struct {
	Name          string `json:"name"`
	Title         string `json:"title"`
	Unit          string `json:"unit"`
	LowerIsBetter bool   `json:"lower_is_better"`
	// Baseline is the contender that ratios are taken against. It is empty
	// where tables grow: a contender is then called NAME/NUMBER, of remote
	// endpoints or of services, and its baseline is itself with the fewest.
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
	// Wide are the contenders whose rounds tell too little of their ratios for
	// the median to be trusted; without a baseline, of their values.
	Wide []string `json:"wide,omitempty"`
}

// New returns a report of a run that begins now.
func New(rounds int, duration time.Duration) *Report {
	return &Report{
		Schema:   Schema,
		Time:     time.Now().UTC().Truncate(time.Second),
		Machine:  thisMachine(),
		Load:     LoadAverage{Begin: loadAverage()},
		Rounds:   rounds,
		Duration: duration.Seconds(),
		NotRun:   map[string]string{},
		Figures:  []*Figure{},
	}
}

// End notes that the run has ended, and fills in what follows from the
// figures.
func (r *Report) End() {
	r.Load.End = loadAverage()
	r.Took = time.Since(r.Time).Round(time.Second).Seconds()
	r.Summarize()
}

// Add puts one more value of a contender into the figure. One that is no
// number takes the contender out.
func (f *Figure) Add(contender string, v float64) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		f.Fail(contender, fmt.Sprintf("measured %v", v))
		return
	}
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
	f.Contenders = slices.DeleteFunc(f.Contenders, func(name string) bool { return name == contender })
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

// ratio returns the ratio of a contender to its baseline, if it has one that
// is not itself.
func (f *Figure) ratio(contender string) (Summary, bool) {
	s, ok := f.Ratios[contender]
	return s, ok && f.BaselineOf(contender) != contender
}

// ratiosOf returns the rounds' ratios of a contender to its baseline.
func (f *Figure) ratiosOf(contender string) []float64 {
	return ratios(f.Values[contender], f.Values[f.BaselineOf(contender)])
}

// wide reports whether the contender is marked.
func (f *Figure) wide(contender string) bool { return slices.Contains(f.Wide, contender) }

// Summarize fills in what follows from the values.
func (r *Report) Summarize() {
	for _, f := range r.Figures {
		f.summarize()
	}
}

func (f *Figure) summarize() {
	f.Summary, f.Ratios, f.Wide = map[string]Summary{}, map[string]Summary{}, nil
	for _, name := range f.Contenders {
		f.Summary[name] = summarize(f.Values[name])
		trusted := f.Summary[name]
		if of := f.ratiosOf(name); len(of) > 0 {
			f.Ratios[name] = summarize(of)
			trusted = f.Ratios[name]
		}
		if trusted.Wide() {
			f.Wide = append(f.Wide, name)
		}
	}
}
