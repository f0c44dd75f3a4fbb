package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"go.etcd.io/bbolt"
)

// load checks the whole file, reads it into the first snapshot, and enters
// the next incarnation.
func (s *Store) load() error {
	snap := newSnapshot()
	var id identity
	err := guard(func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			if err := checkPages(tx, s.path); err != nil {
				return err
			}
			if err := checkFormat(tx); err != nil {
				return err
			}
			if err := getJSON(keyIdentity, tx.Bucket(bucketStore).Get(keyIdentity), &id); err != nil {
				return err
			}
			if !validNodeID(id.NodeID) {
				return fmt.Errorf("%w: node ID %q", ErrDamaged, clip(id.NodeID))
			}
			if err := loadVector(tx, snap, id); err != nil {
				return err
			}
			if err := loadRows(tx, snap, id); err != nil {
				return err
			}
			return checkLocal(tx.Bucket(bucketLocal))
		})
	})
	if err != nil {
		return err
	}
	id.Incarnation++
	err = s.db.Update(func(tx *bbolt.Tx) error {
		return putJSON(tx.Bucket(bucketStore), keyIdentity, id)
	})
	if err != nil {
		return err
	}
	s.nodeID, s.incarnation, s.clock = id.NodeID, id.Incarnation, id.Clock
	snap.version = 1
	s.current.Store(snap)
	return nil
}

// checkPages makes sure that the file has the pages that it says it has, and
// that they form trees.
func checkPages(tx *bbolt.Tx, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() < tx.Size() {
		return fmt.Errorf("%w: it is cut off at %d of %d bytes", ErrDamaged, info.Size(), tx.Size())
	}
	var found []error
	for err := range tx.Check() {
		if len(found) < 3 {
			found = append(found, err)
		}
	}
	if len(found) > 0 {
		return fmt.Errorf("%w: %w", ErrDamaged, errors.Join(found...))
	}
	return nil
}

// checkFormat makes sure that the file is a store of this version.
func checkFormat(tx *bbolt.Tx) error {
	b := tx.Bucket(bucketStore)
	if b == nil {
		return fmt.Errorf("%w: it was not made by ovl", ErrDamaged)
	}
	line := string(b.Get(keyFormat))
	if line != formatLine {
		kind, _, _ := strings.Cut(formatLine, " 1")
		if strings.HasPrefix(line, kind) {
			return fmt.Errorf("%w: its format is %q, this version of ovl reads %q", ErrDamaged, clip(line), formatLine)
		}
		return fmt.Errorf("%w: it was not made by ovl", ErrDamaged)
	}
	for _, name := range [][]byte{bucketRows, bucketVector, bucketLocal} {
		if tx.Bucket(name) == nil {
			return fmt.Errorf("%w: bucket %q is missing", ErrDamaged, name)
		}
	}
	return nil
}

func loadVector(tx *bbolt.Tx, snap *Snapshot, id identity) error {
	if id.Written.Seq > 0 {
		snap.vector[id.NodeID] = id.Written
	}
	return tx.Bucket(bucketVector).ForEach(func(k, sealed []byte) error {
		var m Mark
		if err := getJSON(k, sealed, &m); err != nil {
			return err
		}
		snap.vector[string(k)] = m
		return nil
	})
}

func loadRows(tx *bbolt.Tx, snap *Snapshot, id identity) error {
	return tx.Bucket(bucketRows).ForEach(func(k, sealed []byte) error {
		r := new(Row)
		if err := getJSON(k, sealed, r); err != nil {
			return err
		}
		if err := r.validate(); err != nil {
			return fmt.Errorf("%w: record %q: %w", ErrDamaged, clip(string(k)), err)
		}
		if !bytes.Equal(k, rowKey(r.Table, r.Key)) {
			return fmt.Errorf("%w: record %q holds another row", ErrDamaged, clip(string(k)))
		}
		if r.Stamp.Origin == id.NodeID && r.Stamp.Seq > id.Written.Seq {
			return fmt.Errorf("%w: record %q has number %d, the last one written is %d", ErrDamaged, clip(string(k)), r.Stamp.Seq, id.Written.Seq)
		}
		snap.set(r)
		return nil
	})
}

// checkLocal makes sure that the local records are whole, so that damage is
// found when the agent starts and not when an address is asked for.
func checkLocal(local *bbolt.Bucket) error {
	return local.ForEachBucket(func(name []byte) error {
		return local.Bucket(name).ForEach(func(k, sealed []byte) error {
			_, err := unseal(k, sealed)
			if err != nil {
				return fmt.Errorf("local bucket %q: %w", name, err)
			}
			return nil
		})
	})
}
