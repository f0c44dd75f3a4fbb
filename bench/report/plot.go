package report

import (
	"fmt"
	"math"
	"strings"
)

// What all plots have in common: panels in two columns below a heading, and a
// legend below the panels.
const (
	plotWidth   = 880.0
	plotMargin  = 24.0
	columnGap   = 40.0
	panelWidth  = (plotWidth - 2*plotMargin - columnGap) / 2
	headHeight  = 62.0
	legendSpace = 34.0
	panelGap    = 22.0
	titleLine   = 17.0
	// titleWidth is how many characters of a panel's title fit in a line.
	titleWidth = 52
)

// Plot draws a group of figures: bars of the ratios, or lines where tables
// grow. It returns nil if there is nothing to draw.
func (r *Report) Plot(g Group) []byte {
	if g.Name == "growth" || g.Name == "services" {
		return r.plotPanels(g.Title, growthPanels(g), growthLegend)
	}
	return r.plotPanels(g.Title, ratioPanels(g), ratioLegend)
}

// panel is one figure's part of a plot.
type panel struct {
	figure *Figure
	// height is what is below the title.
	height float64
	// draw draws it with the title's end at y.
	draw func(c *canvas, x, y float64)
}

func (p panel) titleLines() []string { return wrap(p.figure.Title, titleWidth) }

// plotPanels draws panels in two columns, those of a row equally high.
func (r *Report) plotPanels(title string, panels []panel, legend func(c *canvas, x, y float64)) []byte {
	if len(panels) == 0 {
		return nil
	}
	c := &canvas{width: plotWidth}
	c.text(plotMargin, 32, atStart, "heading", title)
	c.text(plotMargin, 50, atStart, "muted", fmt.Sprintf("%s, Linux %s, %s, %s",
		r.Time.Format("2006-01-02"), r.Machine.Kernel, count(r.Machine.CPUs, "CPU"), count(r.Rounds, "round")))
	y := headHeight
	for ; len(panels) > 0; panels = panels[min(2, len(panels)):] {
		row := panels[:min(2, len(panels))]
		lines, height := 0, 0.0
		for _, p := range row {
			lines, height = max(lines, len(p.titleLines())), max(height, p.height)
		}
		for i, p := range row {
			x := plotMargin + float64(i)*(panelWidth+columnGap)
			title := p.titleLines()
			for j, line := range title {
				c.text(x, y+titleLine*float64(lines-len(title)+j+1), atStart, "title", line)
			}
			p.draw(c, x, y+titleLine*float64(lines))
		}
		y += titleLine*float64(lines) + height + panelGap
	}
	legend(c, plotMargin, y+8)
	c.height = math.Ceil(y + legendSpace)
	return c.bytes(title)
}

// The colours that a contender may have, as classes of the style: ovl, ovl in
// userspace, others, and what is no overlay at all.
const (
	colourOvl = iota
	colourUserspace
	colourOther
	colourLimit
)

func colour(contender string) int {
	name, _, _ := strings.Cut(contender, "/")
	switch name = strings.TrimSuffix(name, withServices); {
	case name == "ovl":
		return colourOvl
	case strings.HasPrefix(name, "ovl"):
		return colourUserspace
	case !isOverlay(name):
		return colourLimit
	}
	return colourOther
}

// withServices ends the names of contenders that have services.
const withServices = "-vip"

// isOverlay reports whether a contender joins hosts by an overlay. The others
// show what there is to reach.
func isOverlay(contender string) bool { return contender != "underlay" && contender != "limit" }
