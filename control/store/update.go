package store

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"go.etcd.io/bbolt"
)

// Tx is one local change: rows and local data that reach the disk together or
// not at all. It is valid only inside the function given to Update.
type Tx struct {
	store *Store
	base  *Snapshot
	db    *bbolt.Tx
	// staged are the writes so far, the last one of a key only; order is
	// that in which they are numbered.
	staged map[RowName]*Row
	order  []RowName
	local  bool // UpdateBucket was called
}

// RowName is a row's place.
type RowName struct{ Table, Key string }

// compare orders names as the file does.
func (n RowName) compare(o RowName) int {
	return cmp.Or(strings.Compare(n.Table, o.Table), strings.Compare(n.Key, o.Key))
}

// Put writes one row. It is on disk when Put returns.
func (s *Store) Put(table, key string, value any) (Row, error) {
	return s.one(func(tx *Tx) error { return tx.Put(table, key, value) })
}

// Delete writes one tombstone. It is on disk when Delete returns. Deleting
// what is not there is ErrNotFound.
func (s *Store) Delete(table, key string) (Row, error) {
	return s.one(func(tx *Tx) error { return tx.Delete(table, key) })
}

// one runs an Update that ends in the row that it is about.
func (s *Store) one(fn func(*Tx) error) (Row, error) {
	rows, err := s.Update(fn)
	if err != nil {
		return Row{}, err
	}
	return rows[len(rows)-1], nil
}

// Update runs fn and writes what it staged, as one transaction. If fn or the
// disk fails, nothing has changed. It returns the rows as they were stamped,
// in the order of their numbers, for the caller to spread. fn must not call
// the store's own methods that write.
func (s *Store) Update(fn func(*Tx) error) ([]Row, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var rows []Row
	err := s.writeLocked(func(db *bbolt.Tx) (*change, error) {
		tx := &Tx{store: s, base: s.Snapshot(), db: db, staged: map[RowName]*Row{}}
		if err := fn(tx); err != nil {
			return nil, err
		}
		c := s.newChangeLocked()
		c.local = tx.local
		for _, name := range tx.order {
			r := tx.staged[name]
			if err := c.stamp(r); err != nil {
				return nil, err
			}
			c.set(r)
			rows = append(rows, *r)
		}
		return c, nil
	})
	if err != nil {
		return nil, err
	}
	return rows, nil
}

// Get returns the live row under table and key, as this change would leave
// it. The stamp of a row that the change itself has put is still zero.
func (tx *Tx) Get(table, key string) (Row, bool) {
	if r, ok := tx.staged[RowName{table, key}]; ok {
		return *r, !r.Deleted
	}
	return tx.base.Get(table, key)
}

// Snapshot returns the rows as they were before this change; nobody else can
// change them before it ends.
func (tx *Tx) Snapshot() *Snapshot { return tx.base }

// Put stages a row with value as JSON.
func (tx *Tx) Put(table, key string, value any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("value of %s %q: %w", table, clip(key), err)
	}
	r := &Row{Table: table, Key: key, Value: b}
	if err := validateName(table, key); err != nil {
		return err
	}
	if len(b) > MaxValue {
		return fmt.Errorf("%w: value of %s %q has %d bytes, at most %d are allowed", ErrMalformed, table, clip(key), len(b), MaxValue)
	}
	return tx.stage(r)
}

// Delete stages a tombstone. Deleting this node's own row of the node table
// is how it leaves: every other row that only it may write goes first, in the
// same change, so that nothing of a node outlives its membership.
func (tx *Tx) Delete(table, key string) error {
	if _, ok := tx.Get(table, key); !ok {
		return fmt.Errorf("%w: %s %q", ErrNotFound, table, clip(key))
	}
	self := tx.store.nodeID
	if table == tx.store.opt.NodeTable && key == self {
		for _, r := range tx.store.ownedBy(tx.base, self) {
			if _, ok := tx.Get(r.Table, r.Key); !ok {
				continue
			}
			if err := tx.stage(&Row{Table: r.Table, Key: r.Key, Deleted: true}); err != nil {
				return err
			}
		}
	}
	return tx.stage(&Row{Table: table, Key: key, Deleted: true})
}

// stage records a write, after those that were staged before.
func (tx *Tx) stage(r *Row) error {
	r.Stamp.Origin = tx.store.nodeID
	held, _ := tx.base.held(r.Table, r.Key)
	if owner := tx.store.mayWrite(*r, held); owner != "" {
		return fmt.Errorf("%w: %s %q belongs to %s", ErrNotOwner, r.Table, clip(r.Key), clip(owner))
	}
	name := RowName{r.Table, r.Key}
	if _, again := tx.staged[name]; again {
		for i, n := range tx.order {
			if n == name {
				tx.order = append(tx.order[:i], tx.order[i+1:]...)
				break
			}
		}
	}
	tx.staged[name] = r
	tx.order = append(tx.order, name)
	return nil
}
