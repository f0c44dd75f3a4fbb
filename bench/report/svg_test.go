package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden plot anew")

// tiny is a report that is the same at all times and everywhere.
func tiny() *Report {
	r := &Report{
		Schema: Schema, Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Rounds: 3, Duration: 1, Took: 12,
		Machine: Machine{Kernel: "6.18.1", Arch: "amd64", CPUs: 2, Model: "some <CPU>", Memory: 4 << 30},
		NotRun:  map[string]string{"swarm": "dockerd is not here"},
	}
	tcp := &Figure{Name: "tcp", Title: "TCP, 1 stream & more", Unit: "Gbit/s", Baseline: "vxlan"}
	grow := &Figure{Name: "growth-tcp", Title: "TCP as tables grow", Unit: "Gbit/s"}
	for round, v := range []float64{10, 11, 12} {
		tcp.Add("underlay", 3*v)
		tcp.Add("vxlan", v)
		tcp.Add("external", v*1.6)
		tcp.Add("ovl", v*[]float64{1.2, 1.5, 1.9}[round])
		grow.Add("ovl/10", v)
		grow.Add("ovl/1000", v*0.98)
		grow.Add("vxlan/10", v*0.9)
		grow.Add("vxlan/1000", v*0.5)
	}
	tcp.Fail("wireguard", "it fell over")
	r.Figures = []*Figure{tcp, grow}
	r.Summarize()
	return r
}

func TestPlotIsTheGoldenOne(t *testing.T) {
	r := tiny()
	for _, g := range r.Groups() {
		got := r.Plot(g)
		golden := filepath.Join("testdata", g.Name+".svg")
		if *update {
			if err := os.WriteFile(golden, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s has changed; look at it, then run go test ./bench/report -update", golden)
		}
	}
}

func TestPlotIsXML(t *testing.T) {
	r := tiny()
	for _, g := range r.Groups() {
		plot := r.Plot(g)
		var texts []string
		d := xml.NewDecoder(bytes.NewReader(plot))
		for {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", g.Name, err)
			}
			if text, ok := token.(xml.CharData); ok {
				texts = append(texts, strings.TrimSpace(string(text)))
			}
		}
		want := []string{"TCP, 1 stream & more", "ratio to vxlan", "Gbit/s", "~1.50", "16.5", "higher is better"}
		if g.Name == "growth" {
			want = []string{"TCP as tables grow", "remote endpoints", "Gbit/s, higher is better", "1000", "ovl 10.8 (×0.98)", "vxlan 5.50 (×0.56)"}
		}
		for _, w := range want {
			if !slices.Contains(texts, w) {
				t.Errorf("%s lacks the text %q", g.Name, w)
			}
		}
	}
}

// What cannot be drawn is left out, and does not break the rest.
func TestPlotWithHoles(t *testing.T) {
	r := tiny()
	for _, g := range []Group{
		{Name: "throughput", Title: "no ratios", Figures: []*Figure{{Name: "a", Baseline: "vxlan"}}},
		{Name: "growth", Title: "nobody grows", Figures: []*Figure{{Name: "a"}}},
		{Name: "growth", Title: "nothing"},
	} {
		if plot := r.Plot(g); plot != nil {
			t.Errorf("%s: %s", g.Title, plot)
		}
	}
	f := r.Figures[0]
	f.Add("late", 0)
	f.Values["late"] = nil
	delete(f.Ratios, "late")
	if plot := r.Plot(Group{Name: "throughput", Figures: r.Figures[:1]}); !bytes.Contains(plot, []byte("no ratio")) {
		t.Error("a contender without a ratio does not say so")
	}
}

func TestAxis(t *testing.T) {
	for _, c := range []struct {
		reach     float64
		top, step float64
	}{
		{0, 1, 1},
		{1, 1, 0.25},
		{1.7, 2, 0.5},
		{2.01, 3, 1},
		{97, 100, 25},
		{30400, 40000, 10000},
		{0.003, 0.003, 0.001},
	} {
		a := newAxis(c.reach, 4)
		if !near(a.top, c.top) || !near(a.step, c.step) {
			t.Errorf("axis to %v: %+v, want top %v step %v", c.reach, a, c.top, c.step)
		}
		if ticks := a.ticks(); len(ticks) > 5 || !near(ticks[len(ticks)-1], a.top) {
			t.Errorf("axis to %v: ticks %v", c.reach, ticks)
		}
	}
}

func near(a, b float64) bool { return a-b < 1e-9 && b-a < 1e-9 }

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0.00", 0.0123456: "0.0123", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 1234: "1234",
		12345: "12 345", 1234567: "1 234 567",
	} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %q, want %q", v, got, want)
		}
	}
}

func TestApart(t *testing.T) {
	if got := apart([]float64{50, 10, 12, 51}); !slices.Equal(got, []float64{50, 10, 24, 64}) {
		t.Errorf("apart: %v", got)
	}
}
