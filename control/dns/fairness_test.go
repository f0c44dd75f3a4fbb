package dns

import (
	"testing"
	"time"

	"golang.org/x/time/rate"
)

// An endpoint that asks alone is not held to its share; beside another it is, until
// the other has been quiet for a while.
func TestFairness(t *testing.T) {
	newBudget := func() *budget {
		return &budget{queries: rate.NewLimiter(1000, 1000), share: rate.NewLimiter(10, 10)}
	}
	greedy, modest := newBudget(), newBudget()
	var f fairness
	now := time.Unix(1, 0)
	ask := func(queries int) (answered int) {
		for range queries {
			if f.allows(greedy, now) {
				answered++
			}
		}
		return answered
	}
	if n := ask(600); n != 600 {
		t.Errorf("%d of 600 were answered alone", n)
	}
	if !f.allows(modest, now) {
		t.Error("the other was not answered")
	}
	if n := ask(100); n != 0 {
		t.Errorf("%d were answered beside another, with the share used up", n)
	}
	now = now.Add(contention)
	if n := ask(100); n != 1 {
		t.Errorf("%d were answered beside another, want what has come since", n)
	}
	now = now.Add(2 * time.Second)
	if n := ask(2000); n != 1000 {
		t.Errorf("%d of 2000 were answered alone again, want the budget", n)
	}
}
