package flow

import (
	"time"

	"github.com/ovlnet/ovl/datapath"
)

// generation is a list of flows, by when they were seen: the one that was quiet
// the longest is the first. `root` is before the first and behind the last.
type generation struct {
	root entry
	n    int
	most int
}

func (g *generation) init(most int) {
	g.root.prev, g.root.next = &g.root, &g.root
	g.most = most
}

func (g *generation) remove(e *entry) {
	e.prev.next, e.next.prev = e.next, e.prev
	e.prev, e.next, e.in = nil, nil, nil
	g.n--
}

// append makes e the last.
func (g *generation) append(e *entry) {
	e.prev, e.next, e.in = g.root.prev, &g.root, g
	e.prev.next, g.root.prev = e, e
	g.n++
}

// put makes room in a generation for a flow that is in none, and appends it. A
// young flow that has become established without a packet to say so (it is the
// quiet ones that are pushed out) moves on instead.
func (s *shard) put(e *entry, g *generation, now time.Duration) {
	for g.n >= g.most {
		first := g.root.next
		if g == &s.young && first.settled(now) {
			g.remove(first)
			s.put(first, &s.old, now)
			continue
		}
		s.forget(first)
	}
	g.append(e)
	s.sweep(g, now)
}

// move puts a flow at the end of a generation, its own or another.
func (s *shard) move(e *entry, to *generation, now time.Duration) {
	if e.in == to {
		to.remove(e)
		to.append(e)
		return
	}
	e.in.remove(e)
	s.put(e, to, now)
}

// settled says whether the flow belongs with the established.
func (e *entry) settled(now time.Duration) bool {
	return e.State == datapath.FlowEstablished && now-e.began >= refresh
}

// sweep forgets up to two flows that have been quiet for too long, so that what
// was a flood takes no memory for longer than the next flows take to come.
func (s *shard) sweep(g *generation, now time.Duration) {
	for range 2 {
		first := g.root.next
		if first == &g.root || now-first.Seen <= first.lifetime() {
			return
		}
		s.forget(first)
	}
}
