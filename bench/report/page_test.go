package report

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ovlnet/ovl/bench/contender"
)

const docs = "../../docs"

// The page in the repository is what `bench page` makes of the report that it
// names, and nothing else lies beside its plots.
func TestPageIsMadeFromItsReport(t *testing.T) {
	committed, err := os.ReadFile(filepath.Join(docs, pageName))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`\[all values\]\((.*?)\)`).FindSubmatch(committed)
	if m == nil {
		t.Fatal("docs/performance.md names no report")
	}
	source := string(m[1])
	r, err := Load(filepath.Join(docs, source))
	if err != nil {
		t.Fatal(err)
	}
	files, err := r.Page(source)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		got, err := os.ReadFile(filepath.Join(docs, name))
		if err != nil || !bytes.Equal(got, files[name]) {
			t.Errorf("docs/%s is not made from %s (%v); run bin/bench page %s", name, source, err, strings.TrimPrefix(source, "../"))
		}
	}
	plots, err := filepath.Glob(filepath.Join(docs, plotsName, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range plots {
		if files[plotsName+"/"+filepath.Base(p)] == nil {
			t.Errorf("%s is not part of the page", p)
		}
	}
}

func TestPage(t *testing.T) {
	files, err := tiny().Page("../bench/results/x.json")
	if err != nil {
		t.Fatal(err)
	}
	names := slices.Sorted(maps.Keys(files))
	if !slices.Equal(names, []string{"performance.md", "performance/growth.svg", "performance/throughput.svg"}) {
		t.Errorf("files: %v", names)
	}
	page := string(files[pageName])
	for _, want := range []string{
		"| `external` | tc programs",
		"- `swarm`: dockerd is not here",
		"![Throughput",
		"(performance/throughput.svg)",
		"| TCP, 1 stream & more, Gbit/s, higher is better | 33.0<br>**3.00** (3.00–3.00) | 11.0 | 17.6<br>**1.60** (1.60–1.60) | 16.5<br>**1.50** (1.20–1.90) ~ | – |",
		"TCP, 1 stream & more, not measured of `wireguard`: it fell over",
		"| TCP, 1 stream & more | `ovl` | `vxlan` | ≥ 1.15 | 1.50 ~ |",
		"| TCP, 1 stream & more, Gbit/s | 16.5 | `external` 17.6 | 0.94 (0.75–1.19) ~, not in every round |",
		"bench compare bench/results/x.json ",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	if strings.Contains(page, "| `limit` | no overlay") {
		t.Error("the page explains a contender that was not there")
	}
}

func TestWritePage(t *testing.T) {
	dir := t.TempDir()
	source, err := tiny().Write(filepath.Join(dir, "results"))
	if err != nil {
		t.Fatal(err)
	}
	stale := filepath.Join(dir, "docs", plotsName, "stale.svg")
	if err := os.MkdirAll(filepath.Dir(stale), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(stale, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	written, err := WritePage(source, filepath.Join(dir, "docs"))
	if err != nil || len(written) != 3 {
		t.Fatalf("%v, %v", written, err)
	}
	if _, err := os.Stat(stale); err == nil {
		t.Error("a plot that is no longer part of the page stays")
	}
	page, err := os.ReadFile(filepath.Join(dir, "docs", pageName))
	if err != nil || !strings.Contains(string(page), "(../results/"+filepath.Base(source)+")") {
		t.Errorf("the page does not link to its report: %v", err)
	}
}

// Losing is against overlays alone, and as large as those are.
func TestLosses(t *testing.T) {
	r := tiny()
	losses := r.Losses()
	if len(losses) != 1 || losses[0].Best != "external" || losses[0].Certain() {
		t.Fatalf("%+v", losses)
	}
	grow := r.Figures[1]
	grow.LowerIsBetter = true // then the one that has less wins
	r.Figures = r.Figures[1:]
	losses = r.Losses()
	if len(losses) != 2 || losses[1].Contender != "ovl/1000" || losses[1].Best != "vxlan/1000" || !losses[1].Certain() {
		t.Errorf("%+v", losses)
	}
}

// Who is measured is explained.
func TestContendersAreExplained(t *testing.T) {
	all := slices.Concat(contender.All(contender.Options{}), contender.Balancing(contender.Options{}, []int{1}))
	for _, c := range all {
		name, _, _ := strings.Cut(c.Name(), "/")
		if !slices.ContainsFunc(about(), func(a contenderText) bool { return a.Name == name }) {
			t.Errorf("about.go does not say what %s is", name)
		}
	}
}
