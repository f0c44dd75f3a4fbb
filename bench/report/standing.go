package report

import (
	"fmt"
	"slices"
	"strings"
)

// Loss is a figure of which another overlay has the better one than ovl.
type Loss struct {
	Figure *Figure
	// Contender is ovl's, Best the best of the other overlays.
	Contender, Best string
	// Ratio is ovl's to the best one's, taken inside the rounds.
	Ratio Summary
}

// Certain reports whether every round says so.
func (l Loss) Certain() bool {
	if l.Figure.LowerIsBetter {
		return l.Ratio.Min > 1
	}
	return l.Ratio.Max < 1
}

// Losses returns every figure of which ovl is not the best among overlays. Where
// tables grow, it is compared with those whose tables hold as much.
func (r *Report) Losses() []Loss {
	var out []Loss
	for _, f := range r.Figures {
		for _, own := range f.Contenders {
			if colour(own) != colourOvl {
				continue
			}
			best, ratio := "", Summary{}
			for _, other := range f.Contenders {
				if !comparable(own, other) {
					continue
				}
				q, ok := f.between(own, other)
				if !ok || !f.worse(q.Median, 1) || (best != "" && !f.worse(q.Median, ratio.Median)) {
					continue
				}
				best, ratio = other, q
			}
			if best != "" {
				out = append(out, Loss{Figure: f, Contender: own, Best: best, Ratio: ratio})
			}
		}
	}
	return out
}

// comparable reports whether a contender is another overlay of the same size;
// an earlier ovl is none.
func comparable(own, other string) bool {
	_, size, _ := strings.Cut(own, "/")
	name, otherSize, _ := strings.Cut(other, "/")
	return size == otherSize && name != "previous" && isOverlay(name) && colour(other) == colourOther
}

// worse reports whether a is worse than b.
func (f *Figure) worse(a, b float64) bool { return a != b && (a > b) == f.LowerIsBetter }

// between returns the ratio of one contender to another.
func (f *Figure) between(contender, other string) (Summary, bool) {
	of := ratios(f.Values[contender], f.Values[other])
	if len(of) == 0 {
		return Summary{}, false
	}
	return summarize(of), true
}

// betweenFigures returns the ratio of a contender's figure to another of its
// own.
func (r *Report) betweenFigures(f *Figure, other, contender string) (Summary, bool) {
	base := r.figure(other)
	if base == nil {
		return Summary{}, false
	}
	of := ratios(f.Values[contender], base.Values[contender])
	if len(of) == 0 {
		return Summary{}, false
	}
	return summarize(of), true
}

// What a goal may be against beside another contender: ovl's own figure of
// IPv4, which has the same name without the suffix; ovl's own figure with no
// VIP in between, which has the same name with a suffix; and nothing: the value
// itself is to be that.
const (
	overIPv4     = "IPv4"
	ipv6Suffix   = "-ipv6"
	direct       = "direct"
	directSuffix = "-direct"
	absolute     = ""
)

// ovlUserspace is ovl with the userspace datapath.
const ovlUserspace = "ovl-userspace"

// goals are the ratios, and some values, that ovl is to reach, each in one run.
var goals = []struct {
	contender, figure, against string
	ratio                      float64
}{
	{"ovl", "tcp", "vxlan", 1.15},
	{"ovl", "tcp-no-offload", "vxlan", 1.3},
	{"ovl", "tcp", "swarm", 1.25},
	{"ovl", "tcp", "limit", 0.9},
	{"ovl", "udp-64", "vxlan", 2.0},
	{"ovl", "udp-64", "external", 1.4},
	{"ovl", "rtt", "vxlan", 0.5},
	{"ovl", "tcp-ipv6", overIPv4, 0.95},
	{"ovl", "udp-64-ipv6", overIPv4, 0.95},
	{"ovl", "rtt-ipv6", overIPv4, 1.05},
	{ovlUserspace, "tcp", "wireguard", 2.0},
	{ovlUserspace, "tcp", "vxlan", 0.5},
	{ovlUserspace, "udp-64", "wireguard", 1.5},
	{ovlUserspace, "rtt", "wireguard", 0.7},
	{"ovl-vip/1", "vip-crr", direct, 0.95},
	{"ovl-vip/10000", "vip-crr", direct, 0.95},
	{"ovl-vip/10000", "vip-crr", "ovl-vip/1", 0.95},
	{"ovl-vip/1", "vip-crr", "nft-vip/1", 2.5},
	{"ovl-vip/10000", "vip-crr", "nft-vip/10000", 2.5},
	{"ovl-vip/1", "vip-tcp", direct, 0.95},
	{"ovl-vip/10000", "vip-tcp", direct, 0.95},
	{"ovl-vip/10000", "vip-tcp", "ovl-vip/1", 0.95},
	{"ovl-vip/10000", "vip-change", absolute, 20},
	{"ovl-userspace-vip/10000", "vip-crr", direct, 0.95},
	{"ovl-userspace-vip/10000", "vip-tcp", direct, 0.95},
	{"ovl-userspace-vip/10000", "vip-change", absolute, 20},
	{"ovl", "names-rate", "dnsmasq", 1.0},
	{"ovl", "names-rate", absolute, 20},
	{"ovl", "names-p99", absolute, 1000},
	{"ovl", "names-other-p99", absolute, 5000},
	{ovlUserspace, "names-rate", "dnsmasq", 1.0},
	{ovlUserspace, "names-p99", absolute, 1000},
	{ovlUserspace, "names-other-p99", absolute, 5000},
}

// Goal is a ratio that ovl, with either datapath, is to reach, and what it has
// reached.
type Goal struct {
	Contender string
	Figure    *Figure
	// Against is what the ratio is to. It is empty if the goal is for the value
	// itself, in the figure's unit.
	Against string
	Ratio   float64
	Reached Summary
	// Limit and Underlay are what those two reach, which are no overlays: on
	// some machines a goal is beyond them. Their medians are 0 where there is
	// nothing to say, as of userspace.
	Limit, Underlay Summary
}

// Met reports whether the median is there.
func (g Goal) Met() bool { return !g.Figure.worse(g.Reached.Median, g.Ratio) }

// Goal is written as a bound.
func (g Goal) String() string {
	bound := "≥"
	if g.Figure.LowerIsBetter {
		bound = "≤"
	}
	if g.Against == absolute {
		return fmt.Sprintf("%s %g %s", bound, g.Ratio, g.Figure.Unit)
	}
	return fmt.Sprintf("%s %s", bound, factor(g.Ratio))
}

// Goals returns the goals that the report has figures for.
func (r *Report) Goals() []Goal {
	var out []Goal
	for _, g := range goals {
		f := r.figure(g.figure)
		if f == nil || !slices.Contains(f.Contenders, g.contender) {
			continue
		}
		reach := func(contender string) (Summary, bool) { return f.between(contender, g.against) }
		switch g.against {
		case overIPv4:
			reach = func(contender string) (Summary, bool) {
				return r.betweenFigures(f, strings.TrimSuffix(f.Name, ipv6Suffix), contender)
			}
		case direct:
			reach = func(contender string) (Summary, bool) { return r.betweenFigures(f, f.Name+directSuffix, contender) }
		case absolute:
			reach = func(contender string) (Summary, bool) {
				s, ok := f.Summary[contender]
				return s, ok
			}
		}
		reached, ok := reach(g.contender)
		if !ok {
			continue
		}
		goal := Goal{Contender: g.contender, Figure: f, Against: g.against, Ratio: g.ratio, Reached: reached}
		if g.contender == "ovl" && g.against != "limit" {
			goal.Limit, _ = reach("limit")
			goal.Underlay, _ = reach("underlay")
		}
		out = append(out, goal)
	}
	return out
}
