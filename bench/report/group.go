package report

import (
	"fmt"
	"math"
	"strings"
)

// Group is figures that are shown together.
type Group struct {
	// Name is the file name of its plot, Title its heading.
	Name, Title string
	Figures     []*Figure
}

// groups of figures in the order in which they are shown, with the units that
// belong to each. What is about names has a baseline of its own, what has
// none is about services or growth; what has another unit comes last.
var groups = []struct {
	name, title string
	units       []string
}{
	{"throughput", "Throughput", []string{"Gbit/s", "Mbit/s"}},
	{"packets", "Packets", []string{"kpps", "Mpps"}},
	{"latency", "Round trips", []string{"µs"}},
	{"requests", "Requests", []string{"1/s", "k/s", "req/s", "requests/s", "kreq/s"}},
	{"cpu", "CPU time", []string{"s/GB", "CPU s/GB", "s/Mpkt", "CPU s/Mpkt", "s/Mpackets"}},
	{"setup", "Setting up", []string{"ms", "s"}},
	{"services", "Services", nil},
	{"names", "Names", nil},
	{"growth", "Growth", nil},
	{"other", "Other", nil},
}

// servicesPrefix begins the names of figures about services, and namesPrefix of
// those about names.
const (
	servicesPrefix = "vip-"
	namesPrefix    = "names-"
)

// counted says what the number in a contender's name NAME/NUMBER is of.
func (f *Figure) counted() string {
	if groupOf(f) == "services" {
		return "services"
	}
	return "remote endpoints"
}

// Groups returns the report's figures by what they are about.
func (r *Report) Groups() []Group {
	var out []Group
	for _, g := range groups {
		group := Group{Name: g.name, Title: g.title}
		for _, f := range r.Figures {
			if groupOf(f) == g.name {
				group.Figures = append(group.Figures, f)
			}
		}
		if len(group.Figures) > 0 {
			out = append(out, group)
		}
	}
	return out
}

func groupOf(f *Figure) string {
	if strings.HasPrefix(f.Name, namesPrefix) {
		return "names"
	}
	if f.Baseline == "" {
		if strings.HasPrefix(f.Name, servicesPrefix) {
			return "services"
		}
		return "growth"
	}
	for _, g := range groups {
		for _, unit := range g.units {
			if unit == f.Unit {
				return g.name
			}
		}
	}
	return "other"
}

// better says which way a figure is to go.
func (f *Figure) better() string {
	if f.LowerIsBetter {
		return "lower is better"
	}
	return "higher is better"
}

// number writes a value with three digits that count, and large ones with
// their thousands apart.
func number(v float64) string {
	switch a := math.Abs(v); {
	case a >= 10000:
		return thousands(fmt.Sprintf("%.0f", v))
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 1 || a == 0:
		return fmt.Sprintf("%.2f", v)
	default:
		return fmt.Sprintf("%.3g", v)
	}
}

func thousands(digits string) string {
	var b strings.Builder
	for i, d := range digits {
		if left := len(digits) - i; i > 0 && left%3 == 0 && digits[i-1] != '-' {
			b.WriteByte(' ')
		}
		b.WriteRune(d)
	}
	return b.String()
}
