package store

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Limits of a row's form, in bytes. They bound what a peer can make this node
// hold in memory with one row.
const (
	MaxTable = 64
	MaxKey   = 1 << 10
	MaxValue = 64 << 10
)

// maxSeq keeps sequence numbers and incarnations exact in every JSON reader,
// and far from wrapping around.
const maxSeq = 1 << 53

// Row is one entry of a replicated table: a value, or a tombstone that says
// that the key was deleted. Rows are never changed after they were made;
// Value is shared and must not be written to.
type Row struct {
	Table string `json:"table"`
	Key   string `json:"key"`
	Stamp Stamp  `json:"stamp"`
	// Value is valid JSON, at most MaxValue bytes; absent from a tombstone.
	Value   json.RawMessage `json:"value,omitempty"`
	Deleted bool            `json:"deleted,omitempty"`
}

// Stamp says who wrote a row, and when in the order of all writes.
type Stamp struct {
	// Origin is the ID of the node that wrote the row.
	Origin string `json:"origin"`
	// Incarnation counts the starts of Origin's store.
	Incarnation uint64 `json:"inc"`
	// Seq numbers the writes of Origin from 1, across its incarnations.
	Seq uint64 `json:"seq"`
	// Clock decides which of two rows with one key is the later.
	Clock Clock `json:"clock"`
}

// Decode unmarshals the row's value into v.
func (r Row) Decode(v any) error {
	if err := json.Unmarshal(r.Value, v); err != nil {
		return fmt.Errorf("value of %s %q: %w", r.Table, r.Key, err)
	}
	return nil
}

// Wins reports whether r replaces o, a row with the same key. It is a strict
// total order over the rows that honest nodes write.
func (r Row) Wins(o Row) bool {
	if r.Stamp.Clock != o.Stamp.Clock {
		return r.Stamp.Clock > o.Stamp.Clock
	}
	if r.Stamp.Origin != o.Stamp.Origin {
		return r.Stamp.Origin > o.Stamp.Origin
	}
	return r.Stamp.Seq > o.Stamp.Seq
}

// equal reports whether two rows are the same write.
func (r Row) equal(o Row) bool {
	return r.Table == o.Table && r.Key == o.Key && r.Stamp == o.Stamp &&
		r.Deleted == o.Deleted && bytes.Equal(r.Value, o.Value)
}

// validate checks the form of a row, not whether it may be written.
func (r Row) validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s %q: %s", ErrMalformed, clip(r.Table), clip(r.Key), fmt.Sprintf(format, args...))
	}
	if err := validateName(r.Table, r.Key); err != nil {
		return err
	}
	switch {
	case !validNodeID(r.Stamp.Origin):
		return bad("origin %q is not a node ID", clip(r.Stamp.Origin))
	case r.Stamp.Seq == 0 || r.Stamp.Seq > maxSeq:
		return bad("sequence %d is not in 1..%d", r.Stamp.Seq, uint64(maxSeq))
	case r.Stamp.Incarnation == 0 || r.Stamp.Incarnation > maxSeq:
		return bad("incarnation %d is not in 1..%d", r.Stamp.Incarnation, uint64(maxSeq))
	case r.Stamp.Clock == 0 || r.Stamp.Clock > maxClock:
		return bad("clock %s is out of range", r.Stamp.Clock)
	case r.Deleted && len(r.Value) != 0:
		return bad("tombstone has a value")
	case r.Deleted:
		return nil
	case len(r.Value) > MaxValue:
		return bad("value has %d bytes, at most %d are allowed", len(r.Value), MaxValue)
	case !json.Valid(r.Value):
		return bad("value is not JSON")
	}
	return nil
}

// validateName checks the form of a table's name and a key.
func validateName(table, key string) error {
	switch {
	case table == "" || len(table) > MaxTable || strings.Trim(table, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "":
		return fmt.Errorf("%w: table %q is not 1..%d of a-z 0-9 - _", ErrMalformed, clip(table), MaxTable)
	case key == "" || len(key) > MaxKey:
		return fmt.Errorf("%w: key of table %s has %d bytes, not 1..%d", ErrMalformed, table, len(key), MaxKey)
	case !utf8.ValidString(key) || strings.ContainsRune(key, 0):
		return fmt.Errorf("%w: key %q of table %s is not plain UTF-8", ErrMalformed, clip(key), table)
	}
	return nil
}

// validNodeID reports whether s is 128 bits in lower-case hexadecimal.
func validNodeID(s string) bool {
	if len(s) != 32 || strings.ToLower(s) != s {
		return false
	}
	_, err := hex.DecodeString(s)
	return err == nil
}

// clip shortens what a peer sent, so that it can be quoted in an error.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
