package store

import (
	"errors"
	"fmt"
	"maps"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// change is the next snapshot while it is made, with what must be written to
// disk before it may be published.
type change struct {
	store   *Store
	next    *Snapshot
	clock   Clock
	touched map[RowName]*Row // nil: removed
	local   bool             // the transaction has local data
}

func (s *Store) newChangeLocked() *change {
	return &change{store: s, next: s.Snapshot().next(), clock: s.clock, touched: map[RowName]*Row{}}
}

// stamp numbers a local write.
func (c *change) stamp(r *Row) error {
	var replaced Clock
	if held, ok := c.next.held(r.Table, r.Key); ok {
		replaced = held.Stamp.Clock
	}
	clock, err := tick(c.clock, replaced, c.store.opt.Now())
	if err != nil {
		return fmt.Errorf("write %s %q: %w", r.Table, clip(r.Key), err)
	}
	c.clock = clock
	self := c.store.nodeID
	r.Stamp = Stamp{Origin: self, Incarnation: c.store.incarnation, Seq: c.next.vector[self].Seq + 1, Clock: clock}
	c.next.vector[self] = r.Stamp.mark()
	return nil
}

func (c *change) set(r *Row) {
	c.next.set(r)
	c.touched[RowName{r.Table, r.Key}] = r
}

func (c *change) remove(r *Row) {
	c.next.remove(r)
	c.touched[RowName{r.Table, r.Key}] = nil
}

// empty reports whether nothing would be written, which is what merging rows
// for the second time comes to.
func (c *change) empty() bool {
	return !c.local && len(c.touched) == 0 && c.clock == c.store.clock &&
		maps.Equal(c.next.vector, c.store.Snapshot().vector)
}

// writeLocked runs fn inside a transaction on disk and commits what it
// returns, then publishes it. On any error the store is as before.
func (s *Store) writeLocked(fn func(*bbolt.Tx) (*change, error)) (err error) {
	if err := s.writableLocked(); err != nil {
		return err
	}
	db, err := s.db.Begin(true)
	if err != nil {
		return fmt.Errorf("write %s: %w", s.path, err)
	}
	committed := false
	defer func() {
		if !committed {
			// Also on the way of a panic in fn, which must not leave the
			// file's writer lock behind. After a failed commit the
			// transaction is closed already.
			if rerr := db.Rollback(); rerr != nil && !errors.Is(rerr, berrors.ErrTxClosed) {
				err = errors.Join(err, rerr)
			}
		}
	}()
	c, err := fn(db)
	if err != nil {
		return err
	}
	if c.empty() {
		return nil
	}
	if err := s.save(db, c); err != nil {
		return fmt.Errorf("write %s: %w", s.path, err)
	}
	id := db.ID()
	if err := db.Commit(); err != nil {
		return s.afterFailedCommit(id, err)
	}
	committed = true
	if len(c.touched) > 0 {
		c.next.version++
		c.next.log.add(c.next.version, maps.Keys(c.touched))
	}
	s.clock = c.clock
	s.publish(c.next)
	return nil
}

// afterFailedCommit finds out whether the transaction that could not be
// committed is on disk nevertheless, which a failed sync can leave behind. If
// it may be, memory and disk differ, and writing on would give one number to
// two writes.
func (s *Store) afterFailedCommit(id int, cause error) error {
	err := fmt.Errorf("write %s: %w", s.path, cause)
	last := -1
	if verr := s.db.View(func(tx *bbolt.Tx) error { last = tx.ID(); return nil }); verr != nil || last != id-1 {
		s.broken = fmt.Errorf("%w: %w", ErrBroken, err)
		return s.broken
	}
	return err
}
