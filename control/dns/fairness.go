package dns

import "time"

// contention is for how long after the last sign of it endpoints are taken to
// compete for a network's socket.
const contention = 100 * time.Millisecond

// fairness decides who of a network is answered over UDP, where a packet of one
// waits behind those of all others. An endpoint that asks alone may ask up to its
// budget; one beside others, up to its share. It is not safe for concurrent use.
type fairness struct {
	last      *budget
	contended time.Time
}

// allows takes a query from a budget, and reports whether it is to be answered.
func (f *fairness) allows(b *budget, now time.Time) bool {
	if b != f.last {
		if f.last != nil {
			f.contended = now
		}
		f.last = b
	}
	within, fair := b.queries.AllowN(now, 1), b.share.AllowN(now, 1)
	return within && (fair || now.Sub(f.contended) > contention)
}
