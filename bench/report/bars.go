package report

import (
	"fmt"
	"slices"
)

// Where things are in a panel of bars: names, bars, ratios, values.
const (
	nameColumn  = 98.0
	ratioColumn = 52.0
	valueColumn = 62.0
	barsWidth   = panelWidth - nameColumn - ratioColumn - valueColumn
	barRow      = 21.0
	barHeight   = 12.0
	columnsHead = 22.0
	axisHeight  = 32.0
	markLength  = 3.0
)

// ratioPanels returns a panel for each figure that has ratios.
func ratioPanels(g Group) []panel {
	var out []panel
	for _, f := range g.Figures {
		if len(f.Ratios) == 0 {
			continue
		}
		out = append(out, panel{
			figure: f,
			height: columnsHead + barRow*float64(len(f.Contenders)) + axisHeight,
			draw:   func(c *canvas, x, y float64) { drawBars(c, f, x, y) },
		})
	}
	return out
}

// ratioAxis reaches every median, but for one bar that is far longer than all
// others, and rounds that lie far beyond: these leave the picture, or they
// would press everything else together.
func ratioAxis(f *Figure) axis {
	const far = 3
	longest, next, reach := 1.0, 1.0, 1.0
	for _, q := range f.Ratios {
		reach = max(reach, q.Max)
		longest, next = max(longest, q.Median), max(next, min(longest, q.Median))
	}
	if longest > far*next {
		longest = next
	}
	return newAxis(min(reach, 1.5*longest), 4)
}

// drawBars draws a bar for each contender, from 0 to the median of its ratios,
// with a whisker from the lowest to the highest round.
func drawBars(c *canvas, f *Figure, x, y float64) {
	c.text(x, y+15, atStart, "muted", f.better())
	c.text(x+panelWidth-valueColumn, y+15, atEnd, "muted", "ratio")
	c.text(x+panelWidth, y+15, atEnd, "muted", f.Unit)
	left, top := x+nameColumn, y+columnsHead
	bottom := top + barRow*float64(len(f.Contenders))
	scale := ratioAxis(f)
	at := func(v float64) float64 { return left + barsWidth*scale.at(v) }
	for _, v := range scale.ticks() {
		c.line(at(v), top, at(v), bottom+markLength, "grid")
		c.text(at(v), bottom+15, atMid, "muted", label(v))
	}
	for i, name := range f.Contenders {
		middle := top + barRow*(float64(i)+0.5)
		base := middle + 4 // of the text
		strong := ""
		if colour(name) == colourOvl {
			strong = "strong"
		}
		c.text(left-8, base, atEnd, strong, name)
		c.text(x+panelWidth, base, atEnd, "muted", number(f.Summary[name].Median))
		q, ok := f.Ratios[name]
		if !ok {
			c.text(left+6, base, atStart, "muted", "no ratio")
			continue
		}
		c.rect(left, middle-barHeight/2, at(q.Median)-left, barHeight, 2, fmt.Sprintf("c%d", colour(name)))
		if q.Median > scale.top {
			drawBreak(c, at(scale.top)-12, middle)
		} else if name != f.Baseline {
			drawWhisker(c, at(q.Min), at(q.Max), middle, q.Max > scale.top)
		}
		mark := ""
		if slices.Contains(f.Wide, name) {
			mark = "~"
		}
		c.text(x+panelWidth-valueColumn, base, atEnd, strong, mark+factor(q.Median))
	}
	c.line(at(1), top, at(1), bottom, "one")
	c.text(left+barsWidth/2, bottom+axisHeight-2, atMid, "muted", "ratio to "+f.Baseline)
}

// drawWhisker draws the line from the lowest to the highest round. It has no
// end where it leaves the picture.
func drawWhisker(c *canvas, from, to, y float64, leaves bool) {
	c.line(from, y, to, y, "whisker")
	c.line(from, y-markLength, from, y+markLength, "whisker")
	if !leaves {
		c.line(to, y-markLength, to, y+markLength, "whisker")
	}
}

// drawBreak marks a bar that goes on beyond the picture.
func drawBreak(c *canvas, x, y float64) {
	h := barHeight/2 + 1
	for range 2 {
		c.path("gap", "M"+px(x-2)+" "+px(y+h)+"L"+px(x+2)+" "+px(y-h))
		x += 5
	}
}

// ratioLegend explains bars, whiskers and marks.
func ratioLegend(c *canvas, x, y float64) {
	for _, l := range []struct {
		colour int
		text   string
		width  float64
	}{
		{colourOvl, "ovl", 50},
		{colourOther, "other overlays", 112},
		{colourLimit, "no overlay", 92},
	} {
		c.rect(x, y, 11, 11, 2, fmt.Sprintf("c%d", l.colour))
		c.text(x+17, y+9.5, atStart, "muted", l.text)
		x += l.width
	}
	drawWhisker(c, x, x+22, y+5.5, false)
	c.text(x+30, y+9.5, atStart, "muted",
		fmt.Sprintf("lowest to highest round · bars: medians · ~ known less exactly than to %.0f %%", wideUncertainty*100))
}
