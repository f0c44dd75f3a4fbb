package report

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// noise scatters rounds around 1.
type noise func(*rand.Rand) float64

func normal(sigma float64) noise {
	return func(r *rand.Rand) float64 { return math.Exp(sigma * r.NormFloat64()) }
}

// synthetic returns a run of ovl and its baseline, with figures in which ovl
// has the ratio to it, scattered.
func synthetic(r *rand.Rand, figures, rounds int, ratio func(figure int) float64, n noise) *Report {
	out := New(rounds, time.Second)
	for i := range figures {
		f := &Figure{Name: fmt.Sprintf("f%d", i), Title: fmt.Sprintf("figure %d", i), Unit: "Gbit/s", Baseline: "vxlan"}
		for range rounds {
			base := 10 * normal(0.3)(r) // that of a round touches both alike
			f.Add("vxlan", base)
			f.Add("ovl", base*ratio(i)*n(r))
		}
		out.Figures = append(out.Figures, f)
	}
	return out
}

func always(ratio float64) func(int) float64 { return func(int) float64 { return ratio } }

func verdicts(c Comparison) map[Verdict]int {
	out := map[Verdict]int{}
	for _, ch := range c.Changes {
		out[ch.Verdict]++
	}
	return out
}

// Two runs of the same thing: at most one comparison of a hundred figures in
// twenty finds anything.
func TestCompareRaisesNoFalseAlarm(t *testing.T) {
	const repeats = 200
	for name, n := range map[string]noise{
		"5 %":     normal(0.05),
		"15 %":    normal(0.15),
		"uniform": func(r *rand.Rand) float64 { return 0.8 + 0.4*r.Float64() },
		"one odd round in ten": func(r *rand.Rand) float64 {
			if r.IntN(10) == 0 {
				return 0.5
			}
			return normal(0.03)(r)
		},
	} {
		for _, rounds := range []int{3, 5, 7} {
			r := rand.New(rand.NewPCG(1, uint64(rounds)))
			alarms := 0
			for range repeats {
				before := synthetic(r, 100, rounds, always(1.4), n)
				after := synthetic(r, 100, rounds, always(1.4), n)
				if got := verdicts(Compare(before, after)); got[Better]+got[Worse] > 0 {
					alarms++
				}
			}
			t.Logf("noise %s, %d rounds: %d of %d", name, rounds, alarms, repeats)
			if alarms > repeats/20+6 { // 5 % and two standard deviations of 200 trials
				t.Errorf("noise %s, %d rounds: %d of %d comparisons cry out", name, rounds, alarms, repeats)
			}
		}
	}
}

// One figure of a hundred that is 20 % slower, in rounds that scatter by 5 %.
func TestCompareFindsAChange(t *testing.T) {
	const repeats = 200
	r := rand.New(rand.NewPCG(2, 0))
	found, others := 0, 0
	for range repeats {
		before := synthetic(r, 100, 7, always(1.4), normal(0.05))
		after := synthetic(r, 100, 7, func(i int) float64 {
			if i == 42 {
				return 1.4 * 0.8
			}
			return 1.4
		}, normal(0.05))
		for _, ch := range Compare(before, after).Changes {
			switch {
			case ch.Figure.Name == "f42" && ch.Verdict == Worse:
				found++
			case ch.Verdict == Worse || ch.Verdict == Better:
				others++
			}
		}
	}
	t.Logf("found in %d of %d", found, repeats)
	if found < repeats*19/20 {
		t.Errorf("found in %d of %d comparisons only", found, repeats)
	}
	if others > repeats/20 {
		t.Errorf("%d other figures cry out", others)
	}
}

// What is not marked can be told again: two runs of the same that are both just
// exact enough differ by less than a change does.
func TestWideMeansNotRepeatable(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 0))
	const repeats, rounds = 20000, 5
	// The scatter of rounds that are known to wideUncertainty, Student's t for
	// 4 degrees of freedom being 2.776.
	sigma := math.Log1p(wideUncertainty) * math.Sqrt(rounds) / 2.776
	median := func() float64 {
		values := make([]float64, rounds)
		for i := range values {
			values[i] = normal(sigma)(r)
		}
		return Median(values)
	}
	differ := 0
	for range repeats {
		if math.Abs(math.Log(median()/median())) >= math.Log(1+minEffect) {
			differ++
		}
	}
	if part := float64(differ) / repeats; part < 1.0/100 || part > 1.0/20 {
		t.Errorf("medians differ by %.0f %% in %.3f of the runs", minEffect*100, part)
	}
}

func TestCompareSaysWhich(t *testing.T) {
	before, after := New(5, time.Second), New(5, time.Second)
	add := func(name string, lower bool, old, now []float64) {
		for _, side := range []struct {
			r      *Report
			values []float64
		}{{before, old}, {after, now}} {
			if side.values == nil {
				continue
			}
			f := &Figure{Name: name, Title: name, Unit: "x", LowerIsBetter: lower, Baseline: "vxlan"}
			for _, v := range side.values {
				f.Add("vxlan", 1)
				f.Add("ovl", v)
			}
			side.r.Figures = append(side.r.Figures, f)
		}
	}
	add("faster", false, []float64{1, 1.01, 0.99, 1, 1.02}, []float64{1.2, 1.21, 1.19, 1.2, 1.22})
	add("slower", true, []float64{1, 1.01, 0.99, 1, 1.02}, []float64{1.2, 1.21, 1.19, 1.2, 1.22})
	add("no-scatter", true, []float64{2, 2, 2}, []float64{1, 1, 1})
	add("small", false, []float64{1, 1.01, 0.99, 1, 1.02}, []float64{1.08, 1.09, 1.07, 1.08, 1.1})
	add("noisy", false, []float64{1, 2, 0.5, 1, 1.5}, []float64{1.5, 2.5, 0.6, 1.4, 1.6})
	add("short", false, []float64{1, 1}, []float64{2, 2})
	add("short-small", false, []float64{1}, []float64{1.05})
	add("zero", false, []float64{0, 0, 0}, []float64{2, 2, 2})
	add("gone", false, []float64{1}, nil)
	add("new", false, nil, []float64{1})
	before.Summarize()
	after.Summarize()
	after.Machine.Kernel = "7.0"
	other := &Figure{Name: "other", Title: "other", Unit: "x", Baseline: "underlay"}
	same := &Figure{Name: "other", Title: "other", Unit: "x", Baseline: "vxlan"}
	for range 3 {
		other.Add("ovl", 1)
		same.Add("ovl", 2)
	}
	before.Figures, after.Figures = append(before.Figures, other), append(after.Figures, same)

	c := Compare(before, after)
	got := map[string]Verdict{}
	for _, ch := range c.Changes {
		got[ch.Figure.Name] = ch.Verdict
	}
	want := map[string]Verdict{
		"faster": Better, "slower": Worse, "no-scatter": Better, "small": Unchanged,
		"noisy": Untold, "short": Untold, "short-small": Unchanged, "zero": Untold,
		"other": Untold,
	}
	for name, v := range want {
		if got[name] != v {
			t.Errorf("%s is %v, want %v", name, got[name], v)
		}
	}
	if len(got) != len(want) || !c.Worse() {
		t.Errorf("%d verdicts, want %d; worse: %v", len(got), len(want), c.Worse())
	}
	var out strings.Builder
	if err := c.Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"note: the runs differ in kernel: ",
		"ovl           1.00 → 1.20   +20 %  faster (higher is better; p = ",
		"it takes 3 rounds in both runs",
		"a round came to nothing",
		"the rounds scatter too much",
		"only in the old run: gone",
		"only in the new run: new",
		"it was measured against another baseline",
		"9 compared: 2 better, 1 worse, 4 could not be told, 2 unchanged",
		"of 5 that neither run marks with ~, 1 unchanged",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the comparison lacks %q:\n%s", want, &out)
		}
	}
}

// A run compared with itself, as two runs in a row should come out.
func TestCompareWithItself(t *testing.T) {
	r := synthetic(rand.New(rand.NewPCG(4, 0)), 10, 5, always(1.4), normal(0.2))
	c := Compare(r, r)
	if got := verdicts(c); len(c.Changes) != 10 || got[Unchanged] != 10 || len(c.Caveats) != 0 {
		t.Errorf("%v, %v", got, c.Caveats)
	}
	var out strings.Builder
	if err := c.Print(&out); err != nil || !strings.Contains(out.String(), "\nno change beyond the noise\n") {
		t.Errorf("%v:\n%s", err, &out)
	}
}

// Where tables grow, each contender is its own baseline.
func TestCompareGrowth(t *testing.T) {
	run := func(large float64) *Report {
		r := New(3, time.Second)
		f := &Figure{Name: "growth", Title: "growth", Unit: "Gbit/s"}
		for i := range 3 {
			f.Add("ovl/10", 10)
			f.Add("ovl/1000", large+0.01*float64(i))
		}
		r.Figures = append(r.Figures, f)
		r.Summarize()
		return r
	}
	c := Compare(run(10), run(5))
	if len(c.Changes) != 1 || c.Changes[0].Contender != "ovl/1000" || c.Changes[0].Verdict != Worse {
		t.Errorf("%+v", c.Changes)
	}
}
