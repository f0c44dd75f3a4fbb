package upstream

import (
	"net/netip"
	"slices"
	"sync"
	"time"
)

// avoid is for how long a resolver that did not answer is asked after the others.
const avoid = 10 * time.Second

// quiet are the resolvers that did not answer, and when.
type quiet struct {
	mu    sync.Mutex
	since map[netip.AddrPort]time.Time
}

func (q *quiet) note(r netip.AddrPort, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.since == nil || len(q.since) > 64 {
		q.since = make(map[netip.AddrPort]time.Time)
	}
	q.since[r] = now
}

// last returns resolvers in their order, but the quiet ones after the others.
func (q *quiet) last(resolvers []netip.AddrPort, now time.Time) []netip.AddrPort {
	q.mu.Lock()
	defer q.mu.Unlock()
	rank := func(r netip.AddrPort) int {
		if at, noted := q.since[r]; noted && now.Sub(at) < avoid {
			return 1
		}
		return 0
	}
	out := slices.Clone(resolvers)
	slices.SortStableFunc(out, func(a, b netip.AddrPort) int { return rank(a) - rank(b) })
	return out
}
