package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Where things are in a panel of lines.
const (
	linesLeft   = 44.0
	linesRight  = 118.0
	linesWidth  = panelWidth - linesLeft - linesRight
	linesHead   = 30.0
	linesHeight = 150.0
	// labelGap is how far apart the labels of two lines must be.
	labelGap = 14.0
)

// series is a contender of a figure whose tables grow.
type series struct {
	name   string
	colour int
	// sizes of the tables, and what came of each.
	sizes  []float64
	points []Summary
}

// seriesOf takes the contenders NAME/NUMBER of a figure apart.
func seriesOf(f *Figure) []series {
	var out []series
	for _, contender := range f.Contenders {
		name, size, _ := strings.Cut(contender, "/")
		n, err := strconv.ParseFloat(size, 64)
		if err != nil || n < 1 {
			continue // not a contender that grows
		}
		i := slices.IndexFunc(out, func(s series) bool { return s.name == name })
		if i < 0 {
			i = len(out)
			out = append(out, series{name: name, colour: colour(name)})
		}
		out[i].sizes = append(out[i].sizes, n)
		out[i].points = append(out[i].points, f.Summary[contender])
	}
	return out
}

// growthPanels returns a panel for each figure with contenders that grow.
func growthPanels(g Group) []panel {
	var out []panel
	for _, f := range g.Figures {
		all := seriesOf(f)
		if len(all) == 0 {
			continue
		}
		out = append(out, panel{
			figure: f,
			height: linesHead + linesHeight + axisHeight,
			draw:   func(c *canvas, x, y float64) { drawLines(c, f, all, x, y) },
		})
	}
	return out
}

// drawLines draws a line for each contender over the size of its tables, on a
// logarithmic scale.
func drawLines(c *canvas, f *Figure, all []series, x, y float64) {
	first, last, reach := math.Inf(1), 0.0, 0.0
	var counts []float64
	for _, s := range all {
		first, last = min(first, slices.Min(s.sizes)), max(last, slices.Max(s.sizes))
		counts = append(counts, s.sizes...)
		for _, p := range s.points {
			reach = max(reach, p.Max)
		}
	}
	slices.Sort(counts)
	scale := newAxis(reach, 4)
	left, top := x+linesLeft, y+linesHead
	bottom := top + linesHeight
	atX := func(n float64) float64 {
		if first == last {
			return left + linesWidth/2
		}
		return left + linesWidth*math.Log(n/first)/math.Log(last/first)
	}
	atY := func(v float64) float64 { return bottom - linesHeight*scale.at(v) }

	c.text(x, y+15, atStart, "muted", f.Unit+", "+f.better())
	for _, v := range scale.ticks() {
		c.line(left, atY(v), left+linesWidth, atY(v), "grid")
		c.text(left-8, atY(v)+4, atEnd, "muted", label(v))
	}
	for _, n := range slices.Compact(counts) {
		c.line(atX(n), bottom, atX(n), bottom+markLength, "grid")
		c.text(atX(n), bottom+15, atMid, "muted", label(n))
	}
	c.text(left+linesWidth/2, bottom+axisHeight-2, atMid, "muted", f.counted())

	ends := make([]float64, len(all))
	for i, s := range all {
		path, to := "", "M"
		for j, p := range s.points {
			path += to + px(atX(s.sizes[j])) + " " + px(atY(p.Median))
			to = "L"
			c.line(atX(s.sizes[j]), atY(p.Min), atX(s.sizes[j]), atY(p.Max), "whisker")
			ends[i] = atY(p.Median)
		}
		c.path(fmt.Sprintf("s%d", s.colour), path)
		for j, p := range s.points {
			c.dot(atX(s.sizes[j]), atY(p.Median), fmt.Sprintf("c%d", s.colour))
		}
	}
	for i, at := range apart(ends) {
		s := all[i]
		end := s.points[len(s.points)-1].Median
		text := s.name + " " + number(end)
		if begin := s.points[0].Median; begin != 0 && len(s.points) > 1 {
			text += fmt.Sprintf(" (×%s)", factor(end/begin))
		}
		strong := ""
		if s.colour == colourOvl {
			strong = "strong"
		}
		c.text(left+linesWidth+10, at+4, atStart, strong, text)
	}
}

// apart moves heights down until each is labelGap from the next, and keeps
// their order.
func apart(at []float64) []float64 {
	order := make([]int, len(at))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(at[a], at[b]) })
	out := slices.Clone(at)
	for i := 1; i < len(order); i++ {
		out[order[i]] = max(out[order[i]], out[order[i-1]]+labelGap)
	}
	return out
}

func growthLegend(c *canvas, x, y float64) {
	c.text(x, y+9.5, atStart, "muted",
		"points: medians · whiskers: lowest to highest round · ×: ratio to the value at the left end")
}
