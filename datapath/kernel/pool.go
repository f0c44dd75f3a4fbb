package kernel

// pool hands out the places of an array from 1 on: what was given back first,
// then those that were never used.
type pool[N uint16 | uint32] struct {
	free  []N
	next  N // from here on none was ever used
	limit N // the last
}

// take returns a place, false if there is none.
func (p *pool[N]) take() (place N, ok bool) {
	switch {
	case len(p.free) > 0:
		place, p.free = p.free[len(p.free)-1], p.free[:len(p.free)-1]
	case p.next <= p.limit:
		place = p.next
		p.next++
	default:
		return 0, false
	}
	return place, true
}
