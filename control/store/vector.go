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
	// Clock is that of the write. A node's own clock follows it, so that it
	// writes nothing that would lose against a tombstone that was collected
	// before the node could see it.
	Clock Clock `json:"clock,omitzero"`
}

// mark returns the place that a write brings its origin to.
func (s Stamp) mark() Mark {
	return Mark{Incarnation: s.Incarnation, Seq: s.Seq, Clock: s.Clock}
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
		if m.Seq > v[origin].Seq {
			v[origin] = m
		}
	}
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
		if m.Seq > maxSeq || m.Incarnation > maxSeq || m.Clock > maxClock {
			return fmt.Errorf("%w: vector is out of range for origin %s", ErrMalformed, origin)
		}
	}
	return nil
}
