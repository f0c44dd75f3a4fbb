package report

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTable(t *testing.T) {
	r := tiny()
	r.NotRun["aaa"] = "it is\nnot installed"
	var table strings.Builder
	if err := r.Print(&table); err != nil {
		t.Fatal(err)
	}
	want := `
2026-01-02, Linux 6.18.1 amd64, 2 CPUs (some <CPU>), 4.0 GiB, load 0.00 at the start
Medians of 3 rounds; the ratio to the baseline, lowest and highest round.

THROUGHPUT

  TCP, 1 stream & more, Gbit/s (higher is better)
    underlay         33.0      3.00      3.00–3.00
    vxlan            11.0
    external         17.6      1.60      1.60–1.60
    ovl              16.5      1.50      1.20–1.90  ~
    wireguard   not measured: it fell over

GROWTH

  TCP as tables grow, Gbit/s (higher is better)
    ovl/10           11.0
    ovl/1000         10.8      0.98      0.98–0.98
    vxlan/10         9.90
    vxlan/1000       5.50      0.56      0.56–0.56

~ the rounds tell it less exactly than to 7 % (95 % confidence)

NOT RUN

    aaa         it is not installed
    swarm       dockerd is not here
`
	if got := table.String(); got != want {
		t.Errorf("the table is\n%s\nwant\n%s", got, want)
	}
}

// What failed leaves the figure, and what is no number fails.
func TestFail(t *testing.T) {
	f := &Figure{Name: "tcp", Baseline: "vxlan"}
	f.Add("vxlan", 1)
	f.Add("ovl", 2)
	f.Add("broken", 3)
	f.Fail("broken", "it fell over")
	f.Add("odd", math.NaN())
	if !slices.Equal(f.Contenders, []string{"vxlan", "ovl"}) || len(f.Values) != 2 {
		t.Errorf("%+v", f)
	}
	if f.Failed["broken"] != "it fell over" || f.Failed["odd"] != "measured NaN" {
		t.Errorf("failed: %v", f.Failed)
	}
}

// Without its baseline a figure has values but no ratios.
func TestWithoutBaseline(t *testing.T) {
	r := New(3, time.Second)
	f := &Figure{Name: "tcp", Title: "TCP", Unit: "Gbit/s", Baseline: "vxlan"}
	f.Add("vxlan", 1)
	for _, v := range []float64{10, 20, 30} {
		f.Add("ovl", v)
	}
	f.Fail("vxlan", "it fell over")
	r.Figures = append(r.Figures, f)
	r.Summarize()
	if len(f.Ratios) != 0 || f.Summary["ovl"].Median != 20 || !slices.Equal(f.Wide, []string{"ovl"}) {
		t.Errorf("%+v", f)
	}
	if err := r.check(); err != nil {
		t.Error(err)
	}
}

// IPv6 is measured by IPv4 of the same contender, round by round.
func TestGoalOverIPv6(t *testing.T) {
	for ipv6, met := range map[float64]bool{9.6: true, 9.4: false} {
		r := New(3, time.Second)
		for name, rate := range map[string]float64{"tcp": 10, "tcp-ipv6": ipv6} {
			f := &Figure{Name: name, Title: name, Unit: "Gbit/s", Baseline: "vxlan"}
			for round := range 3 {
				f.Add("vxlan", 1)
				f.Add("ovl", rate*float64(round+1))
			}
			r.Figures = append(r.Figures, f)
		}
		r.Summarize()
		found := false
		for _, g := range r.Goals() {
			if g.Figure.Name != "tcp-ipv6" {
				continue
			}
			found = true
			if g.Met() != met || g.Reached.Median < 0.93 || g.Reached.Median > 0.97 {
				t.Errorf("%v of 10: %+v, met: %v", ipv6, g.Reached, g.Met())
			}
		}
		if !found {
			t.Error("no goal for TCP over IPv6")
		}
	}
}

// The userspace datapath has goals of its own, and those of the kernel's are not
// for it.
func TestGoalsOfUserspace(t *testing.T) {
	r := New(3, time.Second)
	f := &Figure{Name: "tcp", Title: "TCP", Unit: "Gbit/s", Baseline: "vxlan"}
	for range 3 {
		f.Add("underlay", 20)
		f.Add("vxlan", 10)
		f.Add("wireguard", 3)
		f.Add("ovl-userspace", 5.5)
	}
	r.Figures = append(r.Figures, f)
	r.Summarize()
	want := []struct {
		against string
		met     bool
	}{{"wireguard", false}, {"vxlan", true}}
	goals := r.Goals()
	if len(goals) != len(want) {
		t.Fatalf("goals are %+v", goals)
	}
	for i, w := range want {
		if g := goals[i]; g.Contender != "ovl-userspace" || g.Against != w.against || g.Met() != w.met || g.Underlay.Median != 0 {
			t.Errorf("goal is %+v, met: %v; want one against %s, met: %v", g, g.Met(), w.against, w.met)
		}
	}
}

// services is a report of what goes through VIPs.
func services(direct, vip, change float64) *Report {
	r := New(3, time.Second)
	add := func(name string, lower bool, values map[string]float64) {
		f := &Figure{Name: name, Title: name, Unit: "k/s", LowerIsBetter: lower}
		for round := range 3 {
			for _, c := range []string{"ovl-vip/1", "ovl-vip/10000", "nft-vip/1", "nft-vip/10000"} {
				if v, ok := values[c]; ok {
					f.Add(c, v*float64(round+1))
				}
			}
		}
		r.Figures = append(r.Figures, f)
	}
	add("vip-crr", false, map[string]float64{"ovl-vip/1": 10, "ovl-vip/10000": vip, "nft-vip/1": 3, "nft-vip/10000": 3})
	add("vip-crr-direct", false, map[string]float64{"ovl-vip/1": 10, "ovl-vip/10000": direct, "nft-vip/1": 5, "nft-vip/10000": 5})
	add("vip-change", true, map[string]float64{"ovl-vip/10000": change})
	r.Figures[2].Unit = "ms"
	r.Summarize()
	return r
}

// A VIP is held against the same contender without one, against itself with
// fewer services, and against another; a change against a time.
func TestGoalsOfServices(t *testing.T) {
	type want struct {
		contender, against, text string
		met                      bool
	}
	for name, c := range map[string]struct {
		r    *Report
		want []want
	}{
		"all is well": {services(10, 9.6, 9), []want{
			{"ovl-vip/1", "direct", "≥ 0.95", true},
			{"ovl-vip/10000", "direct", "≥ 0.95", true},
			{"ovl-vip/10000", "ovl-vip/1", "≥ 0.95", true},
			{"ovl-vip/1", "nft-vip/1", "≥ 2.50", true},
			{"ovl-vip/10000", "nft-vip/10000", "≥ 2.50", true},
			{"ovl-vip/10000", "", "≤ 20 ms", true},
		}},
		"VIPs are slow": {services(10, 9.4, 9), []want{
			{"ovl-vip/1", "direct", "≥ 0.95", true},
			{"ovl-vip/10000", "direct", "≥ 0.95", false},
			{"ovl-vip/10000", "ovl-vip/1", "≥ 0.95", false},
			{"ovl-vip/1", "nft-vip/1", "≥ 2.50", true},
			{"ovl-vip/10000", "nft-vip/10000", "≥ 2.50", true},
			{"ovl-vip/10000", "", "≤ 20 ms", true},
		}},
		"many services are slow": {services(7, 7, 11), []want{
			{"ovl-vip/1", "direct", "≥ 0.95", true},
			{"ovl-vip/10000", "direct", "≥ 0.95", true},
			{"ovl-vip/10000", "ovl-vip/1", "≥ 0.95", false},
			{"ovl-vip/1", "nft-vip/1", "≥ 2.50", true},
			{"ovl-vip/10000", "nft-vip/10000", "≥ 2.50", false},
			{"ovl-vip/10000", "", "≤ 20 ms", false},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []want
			for _, g := range c.r.Goals() {
				got = append(got, want{g.Contender, g.Against, g.String(), g.Met()})
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("goals are\n%+v, want\n%+v", got, c.want)
			}
		})
	}
}

// Services are a group of their own, and sizes are told by what is counted.
func TestServicesGroup(t *testing.T) {
	r := services(10, 5, 9)
	groups := r.Groups()
	if len(groups) != 1 || groups[0].Name != "services" {
		t.Fatalf("groups are %+v", groups)
	}
	plot := string(r.Plot(groups[0]))
	for _, text := range []string{">services<", "ovl-vip 10.0 (×0.50)", "nft-vip 6.00 (×1.00)"} {
		if !strings.Contains(plot, text) {
			t.Errorf("the plot lacks %q", text)
		}
	}
	if got := sized(r.Figures[0], "ovl-vip/10000"); got != "10000 services" {
		t.Errorf("the size is %q", got)
	}
}

func TestColourOfServices(t *testing.T) {
	for name, want := range map[string]int{"ovl-vip/1": colourOvl, "ovl-userspace-vip/1": colourUserspace, "nft-vip/1": colourOther} {
		if got := colour(name); got != want {
			t.Errorf("%s has colour %d, want %d", name, got, want)
		}
	}
}

// Names are a group of their own, held against another baseline.
func TestNamesFigures(t *testing.T) {
	r := New(3, time.Second)
	rate := &Figure{Name: "names-rate", Title: "Rate", Unit: "k/s", Baseline: "dnsmasq"}
	slow := &Figure{Name: "names-p99", Title: "Time", Unit: "µs", LowerIsBetter: true, Baseline: "dnsmasq"}
	for range 3 {
		rate.Add("dnsmasq", 50)
		rate.Add("ovl", 60)
		slow.Add("dnsmasq", 900)
		slow.Add("ovl", 1100)
	}
	r.Figures = append(r.Figures, rate, slow)
	r.Summarize()
	groups := r.Groups()
	if len(groups) != 1 || groups[0].Name != "names" || !strings.Contains(string(r.Plot(groups[0])), "ratio to dnsmasq") {
		t.Errorf("groups are %+v", groups)
	}
	var got []string
	for _, g := range r.Goals() {
		met := " met"
		if !g.Met() {
			met = " missed"
		}
		got = append(got, g.Figure.Name+" "+g.String()+met)
	}
	want := []string{"names-rate ≥ 1.00 met", "names-rate ≥ 20 k/s met", "names-p99 ≤ 1000 µs missed"}
	if !slices.Equal(got, want) {
		t.Errorf("goals are %q, want %q", got, want)
	}
	if losses := r.Losses(); len(losses) != 1 || losses[0].Best != "dnsmasq" {
		t.Errorf("it loses %+v", losses)
	}
}
