package main

import (
	"fmt"
	"io"
	"time"
)

// progress tells how far a run is, and guesses when it ends.
type progress struct {
	w io.Writer
	// looks of the whole run, and those that are done.
	looks, done int
	begin       time.Time
	now         func() time.Time
}

func newProgress(w io.Writer, all []Stage, rounds int) *progress {
	p := &progress{w: w, begin: time.Now(), now: time.Now}
	for _, s := range all {
		p.looks += s.looks(rounds) * len(s.Contenders())
	}
	return p
}

// tell writes a line of the run's own.
func (p *progress) tell(format string, args ...any) { fmt.Fprintf(p.w, format+"\n", args...) }

// look writes a line for a measurement that is done.
func (p *progress) look(format string, args ...any) {
	p.done++
	fmt.Fprintf(p.w, "%-9s", p.left())
	p.tell(format, args...)
}

// skip takes out measurements that will not be had.
func (p *progress) skip(looks int) { p.looks -= looks }

// left guesses from the measurements that are done how long the others take.
// It is empty as long as there is too little to guess from.
func (p *progress) left() string {
	const enough = 10 * time.Second
	took := p.now().Sub(p.begin)
	if took < enough || p.done == 0 {
		return ""
	}
	left := took / time.Duration(p.done) * time.Duration(max(0, p.looks-p.done))
	return fmt.Sprintf("-%d:%02d", int(left.Minutes()), int(left.Seconds())%60)
}
