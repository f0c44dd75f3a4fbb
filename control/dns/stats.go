package dns

import (
	"sync/atomic"
	"time"
)

// Result is what became of a query.
type Result int

// The results.
const (
	// Answered: with what the name has in the network.
	Answered Result = iota
	// Negative: the name is not there, or has nothing of the type.
	Negative
	// Forwarded: with what a resolver of the host said.
	Forwarded
	// Cached: with what a resolver of the host said before.
	Cached
	// Refused: the query is none that is answered, or comes from no endpoint.
	Refused
	// Failed: no resolver of the host had an answer, or too much was being asked.
	Failed
	// Malformed: the message is no query.
	Malformed
	// Limited: the client had asked too much; there was no answer.
	Limited

	results
)

var resultNames = [results]string{"answered", "negative", "forwarded", "cached", "refused", "failed", "malformed", "limited"}

// String returns a result as metrics have it.
func (r Result) String() string { return resultNames[r] }

// Bounds are the upper bounds of the buckets that queries are counted in by how
// long they took, from when they were read until the answer was written. There is
// one bucket more for those that took longer.
var Bounds = [...]time.Duration{
	20 * time.Microsecond, 50 * time.Microsecond,
	100 * time.Microsecond, 200 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond,
	10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2 * time.Second, 5 * time.Second,
}

// Stats are counted since the Server was made.
type Stats struct {
	// Results are in the order of the results.
	Results []ResultStats
	// Connections are the TCP connections that are open, Outstanding how many
	// questions are being asked of the host's resolvers, and Cached how many of
	// their replies are known.
	Connections, Outstanding, Cached int
}

// ResultStats are the queries that one thing became of.
type ResultStats struct {
	Result  Result
	Queries uint64
	// Took is how long all of them took together.
	Took time.Duration
	// Buckets are how many took how long: one for each of Bounds, and one more.
	Buckets []uint64
}

// counters are behind Stats.
type counters struct {
	results     [results]counter
	connections atomic.Int64
}

type counter struct {
	took    atomic.Int64
	buckets [len(Bounds) + 1]atomic.Uint64
}

func (c *counters) count(r Result, took time.Duration) {
	i := 0
	for i < len(Bounds) && took > Bounds[i] {
		i++
	}
	c.results[r].buckets[i].Add(1)
	c.results[r].took.Add(int64(took))
}

func (c *counters) stats() Stats {
	s := Stats{Connections: int(c.connections.Load())}
	for r := range results {
		from := &c.results[r]
		to := ResultStats{Result: r, Took: time.Duration(from.took.Load()), Buckets: make([]uint64, len(from.buckets))}
		for i := range from.buckets {
			to.Buckets[i] = from.buckets[i].Load()
			to.Queries += to.Buckets[i]
		}
		s.Results = append(s.Results, to)
	}
	return s
}
