package report

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
)

func TestReport(t *testing.T) {
	r := New(3, time.Second)
	r.NotRun["other"] = "it is not installed"
	tcp := &Figure{Name: "tcp", Title: "TCP, 1 stream", Unit: "Gbit/s", Baseline: "vxlan"}
	r.Figures = append(r.Figures, tcp)
	for i, v := range []float64{10, 20, 10} {
		tcp.Add("vxlan", v)
		tcp.Add("ovl", []float64{15, 24, 11}[i])
		tcp.Add("broken", 1)
	}
	tcp.Fail("broken", "it fell over")
	grow := &Figure{Name: "growth-tcp", Title: "TCP as tables grow", Unit: "Gbit/s"}
	r.Figures = append(r.Figures, grow)
	grow.Add("ovl/10", 8)
	grow.Add("ovl/1000", 4)
	r.Summarize()

	var table strings.Builder
	if err := r.Print(&table); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"TCP, 1 stream, Gbit/s",
		"15.0   1.20   1.10–1.50 ~",
		"4.0   0.50",
		"~ the rounds differ by more than 20%",
		"other was not run: it is not installed",
	} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, &table)
		}
	}

	path, err := r.Write(t.TempDir())
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
	if got := back.Figures[0].Ratios["ovl"]; got != (Summary{Median: 1.2, Min: 1.1, Max: 1.5}) {
		t.Errorf("ratio in the document: %+v", got)
	}
	if _, ok := back.Figures[0].Values["broken"]; ok || back.Figures[0].Failed["broken"] == "" {
		t.Errorf("the contender that failed: %+v", back.Figures[0])
	}
	if host, err := os.Hostname(); err == nil && strings.Contains(string(b), `"`+host+`"`) {
		t.Error("the document names the machine")
	}
}
