package store

import (
	"fmt"
	"maps"
)

// maxOrigins bounds a vector that a peer sends.
const maxOrigins = 1 << 16

// Mark is a place in the writes of one origin.
type Mark struct {
	// Incarnation is that of the write with number Seq.
	Incarnation uint64 `json:"inc"`
	Seq         uint64 `json:"seq"`
	// Collected is the highest number of a tombstone of the origin that was
	// forgotten, here or where this vector's rows came from. Who has seen
	// less than that cannot be told of the deletion by a row any more.
	Collected uint64 `json:"collected,omitempty"`
}

// Vector says, by origin, up to which write everything has been seen: the row
// itself, or one that replaced it. The zero Vector has seen nothing. A Vector
// that a Store handed out is shared and must not be written to.
type Vector map[string]Mark

// Clone returns a copy that the caller may change.
func (v Vector) Clone() Vector {
	if v == nil {
		return Vector{}
	}
	return maps.Clone(v)
}

// Merge raises v to cover what o covers as well.
func (v Vector) Merge(o Vector) {
	for origin, m := range o {
		mine := v[origin]
		m.Collected = max(m.Collected, mine.Collected)
		if m.Seq < mine.Seq {
			m.Incarnation, m.Seq = mine.Incarnation, mine.Seq
		}
		v[origin] = m
	}
}

// advance notes a write that directly follows what was seen of its origin.
func (v Vector) advance(s Stamp) {
	v[s.Origin] = Mark{Incarnation: s.Incarnation, Seq: s.Seq, Collected: v[s.Origin].Collected}
}

// behind reports whether tombstones that v has not seen were collected where
// o comes from. Then only all the rows of o's snapshot bring v up to o: what
// o has seen and its snapshot does not hold was deleted.
func (v Vector) behind(o Vector) bool {
	for origin, m := range o {
		if m.Collected > v[origin].Seq {
			return true
		}
	}
	return false
}

// Covers reports whether v has seen everything that o has.
func (v Vector) Covers(o Vector) bool {
	for origin, m := range o {
		if m.Seq > v[origin].Seq {
			return false
		}
	}
	return true
}

// Equal reports whether v and o have seen the same.
func (v Vector) Equal(o Vector) bool { return v.Covers(o) && o.Covers(v) }

// Has reports whether v covers the write that s stamps.
func (v Vector) Has(s Stamp) bool { return s.Seq <= v[s.Origin].Seq }

// validate checks the form of a vector that a peer sent.
func (v Vector) validate() error {
	if len(v) > maxOrigins {
		return fmt.Errorf("%w: vector names %d origins, at most %d are allowed", ErrMalformed, len(v), maxOrigins)
	}
	for origin, m := range v {
		if !validNodeID(origin) {
			return fmt.Errorf("%w: vector names %q, which is not a node ID", ErrMalformed, clip(origin))
		}
		if m.Seq > maxSeq || m.Incarnation > maxSeq || m.Collected > m.Seq {
			return fmt.Errorf("%w: vector is out of range for origin %s", ErrMalformed, origin)
		}
	}
	return nil
}
