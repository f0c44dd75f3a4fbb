package store

import (
	"cmp"
	"iter"
	"strings"

	"github.com/google/btree"
)

// degree of the trees: a changed row copies three or four nodes of this size
// out of a hundred thousand rows.
const degree = 16

// Snapshot is an unchanging view of the tables and of the vector that goes
// with them. It is cheap to take and to keep.
type Snapshot struct {
	version uint64
	vector  Vector
	rows    *btree.BTreeG[*Row] // by table, key
	written *btree.BTreeG[*Row] // by origin, sequence
	live    int
	log     *changeLog
}

func newSnapshot() *Snapshot {
	return &Snapshot{
		log:     new(changeLog),
		vector:  Vector{},
		rows:    btree.NewG(degree, byKey),
		written: btree.NewG(degree, byWrite),
	}
}

func byKey(a, b *Row) bool {
	if c := cmp.Compare(a.Table, b.Table); c != 0 {
		return c < 0
	}
	return a.Key < b.Key
}

func byWrite(a, b *Row) bool {
	if c := cmp.Compare(a.Stamp.Origin, b.Stamp.Origin); c != 0 {
		return c < 0
	}
	if c := cmp.Compare(a.Stamp.Seq, b.Stamp.Seq); c != 0 {
		return c < 0
	}
	// Two writes with one number exist only if two machines share a node ID.
	return byKey(a, b)
}

// Version grows with every change of the rows; equal versions of one store
// show equal rows.
func (s *Snapshot) Version() uint64 { return s.version }

// Vector returns what the snapshot has seen. It must not be changed.
func (s *Snapshot) Vector() Vector { return s.vector }

// Len returns how many live rows there are in all tables.
func (s *Snapshot) Len() int { return s.live }

// Tombstones returns how many tombstones wait to be collected.
func (s *Snapshot) Tombstones() int { return s.rows.Len() - s.live }

// Get returns the live row under table and key.
func (s *Snapshot) Get(table, key string) (Row, bool) {
	r, ok := s.held(table, key)
	if !ok || r.Deleted {
		return Row{}, false
	}
	return *r, true
}

// All yields the live rows of a table by ascending key.
func (s *Snapshot) All(table string) iter.Seq[Row] {
	return func(yield func(Row) bool) {
		s.rows.AscendGreaterOrEqual(&Row{Table: table}, func(r *Row) bool {
			return r.Table == table && (r.Deleted || yield(*r))
		})
	}
}

// Beginning yields the live rows of a table whose keys begin with prefix, by
// ascending key.
func (s *Snapshot) Beginning(table, prefix string) iter.Seq[Row] {
	return func(yield func(Row) bool) {
		s.rows.AscendGreaterOrEqual(&Row{Table: table, Key: prefix}, func(r *Row) bool {
			return r.Table == table && strings.HasPrefix(r.Key, prefix) && (r.Deleted || yield(*r))
		})
	}
}

// ChangedSince returns the table and key of each row that is another than in
// the snapshot of that version, or was then or is now not there; one may be
// named twice. It is false if that was too long ago to be known.
func (s *Snapshot) ChangedSince(version uint64) ([]RowName, bool) {
	return s.log.between(version, s.version)
}

// Missing yields, by origin and sequence number, the rows and tombstones that
// a node with vector v has not seen. A receiver that has merged all of them
// has seen what s.Vector says.
func (s *Snapshot) Missing(v Vector) iter.Seq[Row] {
	return func(yield func(Row) bool) {
		for from := new(Row); from != nil; {
			pivot, more := from, true
			from = nil
			s.written.AscendGreaterOrEqual(pivot, func(r *Row) bool {
				if v.Has(r.Stamp) {
					// Jump to the origin's first write that is not covered.
					from = &Row{Stamp: Stamp{Origin: r.Stamp.Origin, Seq: v[r.Stamp.Origin].Seq + 1}}
					return false
				}
				more = yield(*r)
				return more
			})
			if !more {
				return
			}
		}
	}
}

// held returns the row or tombstone under table and key.
func (s *Snapshot) held(table, key string) (*Row, bool) {
	return s.rows.Get(&Row{Table: table, Key: key})
}

// next returns a copy to be changed and then published.
func (s *Snapshot) next() *Snapshot {
	return &Snapshot{
		version: s.version,
		vector:  s.vector.Clone(),
		rows:    s.rows.Clone(),
		written: s.written.Clone(),
		live:    s.live,
		log:     s.log,
	}
}

// set puts r in the place of what its key holds.
func (s *Snapshot) set(r *Row) {
	if old, ok := s.rows.ReplaceOrInsert(r); ok {
		s.written.Delete(old)
		if !old.Deleted {
			s.live--
		}
	}
	if !r.Deleted {
		s.live++
	}
	s.written.ReplaceOrInsert(r)
}

// remove forgets r altogether.
func (s *Snapshot) remove(r *Row) {
	s.rows.Delete(r)
	s.written.Delete(r)
	if !r.Deleted {
		s.live--
	}
}

// wrote returns the row that a write left behind, or nil.
func (s *Snapshot) wrote(st Stamp) (found *Row) {
	s.written.AscendGreaterOrEqual(&Row{Stamp: Stamp{Origin: st.Origin, Seq: st.Seq}}, func(r *Row) bool {
		if r.Stamp.Origin == st.Origin && r.Stamp.Seq == st.Seq {
			found = r
		}
		return false
	})
	return found
}
