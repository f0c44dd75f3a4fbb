package store

import (
	"fmt"
	"strings"

	"go.etcd.io/bbolt"
)

// metaBucket is the local bucket of SetMeta.
const metaBucket = "meta"

// SetMeta keeps a value that never leaves this node, such as the cluster's
// secret; nil removes it. It is on disk when SetMeta returns.
func (s *Store) SetMeta(key string, value []byte) error {
	return s.UpdateBucket(metaBucket, map[string][]byte{key: value})
}

// GetMeta returns a value that SetMeta kept.
func (s *Store) GetMeta(key string) (value []byte, ok bool, err error) {
	err = s.view(func(db *bbolt.Tx) error {
		b := db.Bucket(bucketLocal).Bucket([]byte(metaBucket))
		if b == nil {
			return nil
		}
		sealed := b.Get([]byte(key))
		if sealed == nil {
			return nil
		}
		value, err = unseal([]byte(key), sealed)
		ok = err == nil
		return err
	})
	return value, ok, err
}

// ReadBucket returns all that a local bucket holds. A bucket that was never
// written is empty.
func (s *Store) ReadBucket(bucket string) (map[string][]byte, error) {
	out := map[string][]byte{}
	err := s.view(func(db *bbolt.Tx) error {
		b := db.Bucket(bucketLocal).Bucket([]byte(bucket))
		if b == nil {
			return nil
		}
		return b.ForEach(func(k, sealed []byte) error {
			v, err := unseal(k, sealed)
			if err != nil {
				return fmt.Errorf("local bucket %q: %w", bucket, err)
			}
			out[string(k)] = v
			return nil
		})
	})
	return out, err
}

// Buckets returns the names of the local buckets that begin with prefix.
func (s *Store) Buckets(prefix string) ([]string, error) {
	var names []string
	err := s.view(func(db *bbolt.Tx) error {
		c := db.Bucket(bucketLocal).Cursor()
		for k, _ := c.Seek([]byte(prefix)); k != nil && strings.HasPrefix(string(k), prefix); k, _ = c.Next() {
			names = append(names, string(k))
		}
		return nil
	})
	return names, err
}

// UpdateBucket changes several keys of a local bucket as one transaction; nil
// removes a key, and a bucket that becomes empty goes. It is on disk when
// UpdateBucket returns.
func (s *Store) UpdateBucket(bucket string, changes map[string][]byte) error {
	_, err := s.Update(func(tx *Tx) error { return tx.UpdateBucket(bucket, changes) })
	return err
}

// UpdateBucket is Store.UpdateBucket as part of a larger change.
func (tx *Tx) UpdateBucket(bucket string, changes map[string][]byte) error {
	tx.local = true
	local := tx.db.Bucket(bucketLocal)
	b, err := local.CreateBucketIfNotExists([]byte(bucket))
	if err != nil {
		return fmt.Errorf("local bucket %q: %w", bucket, err)
	}
	for k, v := range changes {
		if v == nil {
			err = b.Delete([]byte(k))
		} else {
			err = b.Put([]byte(k), seal([]byte(k), v))
		}
		if err != nil {
			return fmt.Errorf("local bucket %q, key %q: %w", bucket, k, err)
		}
	}
	if k, _ := b.Cursor().First(); k != nil {
		return nil
	}
	return local.DeleteBucket([]byte(bucket))
}

// view runs fn in a reading transaction. Damage that it meets is reported
// with the file's path.
func (s *Store) view(fn func(*bbolt.Tx) error) error {
	err := s.db.View(fn)
	switch {
	case err == nil:
		return nil
	case isClosed(err):
		return ErrClosed
	default:
		return fmt.Errorf("read %s: %w", s.path, err)
	}
}
