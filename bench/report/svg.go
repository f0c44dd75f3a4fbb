package report

import (
	"encoding/xml"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// canvas collects the elements of an SVG. Positions are in pixels from the
// top left. It writes the same bytes for the same calls.
type canvas struct {
	b             strings.Builder
	width, height float64
}

// The picture brings its own background, so that it can be read wherever it
// is shown, and follows the reader's theme where the viewer tells it.
const style = `<style>
text { font: 12px system-ui, -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif; fill: #1f2328 }
.heading { font-size: 17px; font-weight: 600 }
.title { font-size: 13px; font-weight: 600 }
.strong { font-weight: 600 }
.muted { fill: #59636e; font-size: 11px }
.card { fill: #ffffff; stroke: #d1d9e0 }
.grid { stroke: #d1d9e0; stroke-width: 1 }
.one { stroke: #59636e; stroke-width: 1; stroke-dasharray: 3 3 }
.whisker { stroke: #1f2328; stroke-width: 1.2; fill: none }
.gap { stroke: #ffffff; stroke-width: 2 }
.c0 { fill: #0969da } .s0 { stroke: #0969da }
.c1 { fill: #8250df } .s1 { stroke: #8250df }
.c2 { fill: #9aa4af } .s2 { stroke: #818b98 }
.c3 { fill: #d4dae0 } .s3 { stroke: #c4ccd4 }
.s0, .s1, .s2, .s3 { stroke-width: 2; fill: none; stroke-linejoin: round }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc }
.muted { fill: #9198a1 }
.card { fill: #0d1117; stroke: #3d444d }
.grid { stroke: #2f353d }
.one { stroke: #9198a1 }
.whisker { stroke: #f0f6fc }
.gap { stroke: #0d1117 }
.c0 { fill: #4493f8 } .s0 { stroke: #4493f8 }
.c1 { fill: #ab7df8 } .s1 { stroke: #ab7df8 }
.c2 { fill: #656c76 } .s2 { stroke: #9198a1 }
.c3 { fill: #3d444d } .s3 { stroke: #4d545c }
}
</style>
`

// Anchors of text.
const (
	atStart = "start"
	atMid   = "middle"
	atEnd   = "end"
)

func (c *canvas) text(x, y float64, anchor, class, s string) {
	fmt.Fprintf(&c.b, `<text x="%s" y="%s"`, px(x), px(y))
	if anchor != atStart {
		fmt.Fprintf(&c.b, ` text-anchor="%s"`, anchor)
	}
	if class != "" {
		fmt.Fprintf(&c.b, ` class="%s"`, class)
	}
	fmt.Fprintf(&c.b, ">%s</text>\n", escape(s))
}

func (c *canvas) rect(x, y, width, height, radius float64, class string) {
	fmt.Fprintf(&c.b, `<rect x="%s" y="%s" width="%s" height="%s" rx="%s" class="%s"/>`+"\n",
		px(x), px(y), px(width), px(height), px(radius), class)
}

// path takes SVG path data.
func (c *canvas) path(class, data string) {
	fmt.Fprintf(&c.b, `<path class="%s" d="%s"/>`+"\n", class, data)
}

func (c *canvas) line(x1, y1, x2, y2 float64, class string) {
	c.path(class, "M"+px(x1)+" "+px(y1)+"L"+px(x2)+" "+px(y2))
}

func (c *canvas) dot(x, y float64, class string) {
	fmt.Fprintf(&c.b, `<circle cx="%s" cy="%s" r="3" class="%s"/>`+"\n", px(x), px(y), class)
}

// bytes returns the whole document.
func (c *canvas) bytes(title string) []byte {
	return fmt.Appendf(nil, `<svg xmlns="http://www.w3.org/2000/svg" width="%[1]s" height="%[2]s" viewBox="0 0 %[1]s %[2]s" role="img">
<title>%[3]s</title>
%[4]s<rect x="0.5" y="0.5" width="%[5]s" height="%[6]s" rx="8" class="card"/>
%[7]s</svg>
`, px(c.width), px(c.height), escape(title), style, px(c.width-1), px(c.height-1), c.b.String())
}

// px writes a position with a tenth of a pixel.
func px(v float64) string {
	return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64)
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder does not fail
	return b.String()
}

// wrap breaks text between words into lines of so many characters.
func wrap(s string, width int) []string {
	var lines []string
	for word := range strings.FieldsSeq(s) {
		last := len(lines) - 1
		if last < 0 || utf8.RuneCountInString(lines[last])+1+utf8.RuneCountInString(word) > width {
			lines = append(lines, word)
			continue
		}
		lines[last] += " " + word
	}
	return lines
}

// axis is a linear scale from 0.
type axis struct {
	top, step float64
}

// newAxis returns a scale that reaches a value, in at most so many steps of a
// round length.
func newAxis(reach float64, steps int) axis {
	if reach <= 0 {
		return axis{top: 1, step: 1}
	}
	unit := math.Pow(10, math.Floor(math.Log10(reach/float64(steps))))
	for _, m := range []float64{1, 2, 2.5, 5, 10} {
		if step := m * unit; step*float64(steps) >= reach {
			return axis{top: math.Ceil(reach/step-1e-9) * step, step: step}
		}
	}
	return axis{top: reach, step: reach} // not reached: 10 units are always enough
}

// ticks returns the values to mark, from 0 to the top.
func (a axis) ticks() []float64 {
	var out []float64
	for i := 0; float64(i)*a.step <= a.top*(1+1e-9); i++ {
		out = append(out, float64(i)*a.step)
	}
	return out
}

// at is where v lies, from 0 to 1; what lies beyond the top is at 1.
func (a axis) at(v float64) float64 { return min(1, max(0, v/a.top)) }

// label writes a mark without digits that say nothing.
func label(v float64) string {
	if v >= 10000 {
		return thousands(strconv.FormatFloat(v, 'f', 0, 64))
	}
	return strconv.FormatFloat(v, 'g', 6, 64)
}
