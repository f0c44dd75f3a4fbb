package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// The file's format. Every record is a CRC-32C of key and value, then the
// value; bbolt's own checksums cover its meta pages only.
//
//	store   "format"          the line of formatLine, not sealed
//	        "identity"        JSON of identity
//	rows    table NUL key     JSON of Row
//	vector  origin            JSON of Mark, for every origin but this node
//	local   bucket: key       bytes
const formatLine = "ovl store 1"

var (
	bucketStore  = []byte("store")
	bucketRows   = []byte("rows")
	bucketVector = []byte("vector")
	bucketLocal  = []byte("local")

	keyFormat   = []byte("format")
	keyIdentity = []byte("identity")
)

// identity is what the file knows of the node that it belongs to.
type identity struct {
	NodeID      string `json:"node_id"`
	Incarnation uint64 `json:"incarnation"`
	// Written is the place of the last local write.
	Written Mark `json:"written"`
	// Clock is the highest that was seen, so that it never goes back.
	Clock Clock `json:"clock"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

func seal(key, value []byte) []byte {
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(value)), checksum(key, value)), value...)
}

// unseal returns a copy of a sealed value.
func unseal(key, sealed []byte) ([]byte, error) {
	if len(sealed) < 4 || binary.BigEndian.Uint32(sealed) != checksum(key, sealed[4:]) {
		return nil, fmt.Errorf("%w: record %q does not match its checksum", ErrDamaged, clip(string(key)))
	}
	return append([]byte{}, sealed[4:]...), nil
}

func rowKey(table, key string) []byte {
	return append(append([]byte(table), 0), key...)
}

// save writes what a change makes different.
func (s *Store) save(db *bbolt.Tx, c *change) error {
	rows := db.Bucket(bucketRows)
	// In the order of the file: bbolt keeps what a transaction adds in sorted
	// slices, and anywhere but at their ends adding moves the rest: quadratic,
	// felt from some 10 000 rows in one change on.
	for _, name := range slices.SortedFunc(maps.Keys(c.touched), RowName.compare) {
		r := c.touched[name]
		k := rowKey(name.Table, name.Key)
		if r == nil {
			if err := rows.Delete(k); err != nil {
				return err
			}
			continue
		}
		if err := putJSON(rows, k, r); err != nil {
			return err
		}
	}
	vector, before := db.Bucket(bucketVector), s.Snapshot().vector
	for origin, mark := range c.next.vector {
		if origin == s.nodeID || before[origin] == mark {
			continue
		}
		if err := putJSON(vector, []byte(origin), mark); err != nil {
			return err
		}
	}
	if c.clock == s.clock && before[s.nodeID] == c.next.vector[s.nodeID] {
		return nil
	}
	return putJSON(db.Bucket(bucketStore), keyIdentity, identity{
		NodeID:      s.nodeID,
		Incarnation: s.incarnation,
		Written:     c.next.vector[s.nodeID],
		Clock:       c.clock,
	})
}

func putJSON(b *bbolt.Bucket, key []byte, v any) error {
	value, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return b.Put(key, seal(key, value))
}

func getJSON(key, sealed []byte, v any) error {
	value, err := unseal(key, sealed)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(value, v); err != nil {
		return fmt.Errorf("%w: record %q: %w", ErrDamaged, clip(string(key)), err)
	}
	return nil
}

func isClosed(err error) bool {
	return errors.Is(err, berrors.ErrDatabaseNotOpen)
}
