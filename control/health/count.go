package health

import "time"

// count makes a state of results. Its zero value knows nothing yet.
type count struct {
	known   bool
	healthy bool
	since   time.Time
	// against is how many of the last results in a row spoke against healthy.
	against int
}

// add counts a result and reports whether the state has changed with it.
func (c *count) add(ok bool, now time.Time, rise, fall int) bool {
	if c.known && ok == c.healthy {
		c.against = 0
		return false
	}
	need := fall
	if ok {
		need = rise
	}
	c.against++
	if c.known && c.against < need {
		return false
	}
	*c = count{known: true, healthy: ok, since: now}
	return true
}
