package main

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ovlnet/ovl/bench/report"
)

// written returns the path of a report in which ovl has a ratio to vxlan.
func written(t *testing.T, ratio float64) string {
	t.Helper()
	r := report.New(5, time.Second)
	f := &report.Figure{Name: "tcp", Title: "TCP", Unit: "Gbit/s", Baseline: "vxlan"}
	for i := range 5 {
		f.Add("vxlan", 10)
		f.Add("ovl", 10*ratio+0.01*math.Sqrt(float64(i)))
	}
	r.Figures = append(r.Figures, f)
	r.End()
	path, err := r.Write(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCommandLine(t *testing.T) {
	old, same, slower := written(t, 1.5), written(t, 1.5), written(t, 1.1)
	damaged := filepath.Join(t.TempDir(), "damaged.json")
	if err := os.WriteFile(damaged, []byte(`{"schema":2,`), 0o644); err != nil {
		t.Fatal(err)
	}
	docs := filepath.Join(t.TempDir(), "docs")
	for name, c := range map[string]struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		"help":                 {[]string{"-help"}, exitDone, "Examples:\n  bench ", ""},
		"help as a word":       {[]string{"help"}, exitDone, "Flags of a run:\n  -clean", ""},
		"help of a command":    {[]string{"compare", "-h"}, exitDone, "bench compare -fail old.json new.json", ""},
		"unknown flag":         {[]string{"-bogus"}, exitUsage, "", "bench: flag provided but not defined: -bogus; see `bench -help`\n"},
		"unknown command":      {[]string{"bogus"}, exitUsage, "", "bench: unknown argument \"bogus\"; see `bench -help`\n"},
		"unknown scenario":     {[]string{"-only", "tcp,bogus"}, exitUsage, "", `there is no scenario "bogus"`},
		"no rounds":            {[]string{"-rounds", "0"}, exitUsage, "", "at least 1 round"},
		"compare one":          {[]string{"compare", old}, exitUsage, "", "bench: bench compare: a report is missing; see `bench -help`\n"},
		"compare three":        {[]string{"compare", old, same, slower}, exitUsage, "", "unknown argument"},
		"compare the same":     {[]string{"compare", "-fail", old, same}, exitDone, "\nno change beyond the noise\n", ""},
		"compare with slower":  {[]string{"compare", old, slower}, exitDone, "\nWORSE\n  ovl           1.50 → 1.10   -27 %  TCP", ""},
		"fail if slower":       {[]string{"compare", "-fail", old, slower}, exitFailed, "WORSE", "bench: something got worse\n"},
		"compare with nothing": {[]string{"compare", old, "nothing.json"}, exitFailed, "", "nothing.json: no such file"},
		"compare with damaged": {[]string{"compare", damaged, old}, exitFailed, "", "damaged.json: not a report, or a damaged one"},
		"page":                 {[]string{"page", "-docs", docs, old}, exitDone, filepath.Join(docs, "performance", "throughput.svg"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr strings.Builder
			if code := execute(c.args, &stdout, &stderr); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			if !strings.Contains(stdout.String(), c.stdout) {
				t.Errorf("stdout lacks %q:\n%s", c.stdout, &stdout)
			}
			if !strings.Contains(stderr.String(), c.stderr) || (c.stderr == "" && stderr.Len() > 0) {
				t.Errorf("stderr is not %q:\n%s", c.stderr, &stderr)
			}
			if strings.Count(stderr.String(), "\n") > 1 {
				t.Errorf("an error is a line:\n%s", &stderr)
			}
		})
	}
}

func TestProgress(t *testing.T) {
	var out strings.Builder
	p := newProgress(&out, nil, 2)
	p.looks = 12
	now := p.begin
	p.now = func() time.Time { return now }
	p.look("first")
	p.skip(2) // of the 12
	now = now.Add(60 * time.Second)
	p.look("second")
	p.look("third")
	if got, want := out.String(), "         first\n-4:00    second\n-2:20    third\n"; got != want {
		t.Errorf("progress is\n%q, want\n%q", got, want)
	}
}

// The page says how everything is measured.
func TestFiguresAreExplained(t *testing.T) {
	for _, stage := range stages(options{}) {
		for _, s := range stage.Scenarios {
			for _, f := range s.Figures {
				if !report.Explained(f.Name) {
					t.Errorf("bench/report/about.go does not say how %s is measured", f.Name)
				}
			}
		}
	}
}
