package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
)

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

// Load reads the report in a file. It refuses one of another schema, and one
// whose parts contradict each other: that was damaged, or edited by hand.
func Load(path string) (*Report, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	r, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("report %s: %w", path, err)
	}
	return r, nil
}

func parse(b []byte) (*Report, error) {
	var head struct {
		Schema *int `json:"schema"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, fmt.Errorf("not a report, or a damaged one: %w", err)
	}
	if head.Schema == nil {
		return nil, errors.New("not a report: it names no schema")
	}
	if *head.Schema != Schema {
		return nil, fmt.Errorf("its schema is %d; this bench reads %d", *head.Schema, Schema)
	}
	r := &Report{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("damaged: %w", err)
	}
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("damaged: %w", err)
	}
	return r, nil
}

// check returns an error unless the report's parts agree.
func (r *Report) check() error {
	if r.Time.IsZero() || r.Rounds < 1 {
		return errors.New("it lacks its time or its rounds")
	}
	names := map[string]bool{}
	for _, f := range r.Figures {
		if f == nil || f.Name == "" || names[f.Name] {
			return errors.New("a figure has no name, or that of another")
		}
		names[f.Name] = true
		if err := f.check(r.Rounds); err != nil {
			return fmt.Errorf("figure %s: %w", f.Name, err)
		}
	}
	return nil
}

func (f *Figure) check(rounds int) error {
	listed := slices.Sorted(slices.Values(f.Contenders))
	if !slices.Equal(listed, slices.Sorted(maps.Keys(f.Values))) {
		return errors.New("its contenders are not those that have values")
	}
	for name, values := range f.Values {
		if len(values) == 0 || len(values) > rounds {
			return fmt.Errorf("%s has %d values in %d rounds", name, len(values), rounds)
		}
	}
	want := Figure{Baseline: f.Baseline, Contenders: f.Contenders, Values: f.Values}
	want.summarize()
	if !maps.EqualFunc(f.Summary, want.Summary, same) || !maps.EqualFunc(f.Ratios, want.Ratios, same) {
		return errors.New("its summary does not follow from its values")
	}
	if !slices.Equal(f.Wide, want.Wide) {
		return errors.New("its wide marks do not follow from its values")
	}
	return nil
}

// same allows for machines that round the last digit differently.
func same(a, b Summary) bool {
	near := func(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(math.Abs(a), math.Abs(b)) }
	return near(a.Median, b.Median) && near(a.Min, b.Min) && near(a.Max, b.Max) &&
		math.Abs(a.Uncertainty-b.Uncertainty) <= 1e-9
}
