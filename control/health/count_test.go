package health

import (
	"testing"
	"time"
)

func TestCount(t *testing.T) {
	begin := time.Unix(1000, 0)
	for _, c := range []struct {
		name       string
		results    string // + good, - bad; one a second
		rise, fall int
		changes    string // what each made of it: = nothing, H healthy, U unhealthy
	}{
		{"first good", "+", 2, 3, "H"},
		{"first bad", "-", 2, 3, "U"},
		{"falls with the third", "+---", 2, 3, "H==U"},
		{"a good one between begins anew", "+--+--+---", 2, 3, "H========U"},
		{"rises with the second", "-++", 2, 3, "U=H"},
		{"a bad one between begins anew", "-+-++", 2, 3, "U===H"},
		{"at once", "+-+", 1, 1, "HUH"},
		{"what was counted before a change does not count after", "+---+-++", 2, 3, "H==U===H"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var n count
			for i, r := range c.results {
				now := begin.Add(time.Duration(i) * time.Second)
				got := '='
				if n.add(r == '+', now, c.rise, c.fall) {
					got = map[bool]rune{true: 'H', false: 'U'}[n.healthy]
					if n.since != now {
						t.Errorf("result %d: since %v, want %v", i, n.since, now)
					}
				}
				if want := rune(c.changes[i]); got != want {
					t.Fatalf("result %d: %c, want %c", i, got, want)
				}
			}
		})
	}
}
