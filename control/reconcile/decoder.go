package reconcile

import (
	"iter"
	"maps"

	"github.com/ovlnet/ovl/control/store"
)

// decoder decodes the rows of one table, each once.
type decoder[T any] struct {
	known map[string]*decoded[T]
	// alarms are of the rows that cannot be decoded, by key.
	alarms map[string]Alarm
	pass   uint64
}

type decoded[T any] struct {
	stamp store.Stamp
	value T
	bad   bool
	pass  uint64 // that the row was last seen in
}

// decode returns the value of a row, the same one as long as the row is the
// same; nil if it cannot be read.
func (d *decoder[T]) decode(row store.Row) *T {
	if d.known == nil {
		d.known, d.alarms = make(map[string]*decoded[T]), make(map[string]Alarm)
	}
	v := d.known[row.Key]
	if v == nil || v.stamp != row.Stamp {
		v = &decoded[T]{stamp: row.Stamp}
		d.known[row.Key] = v
		delete(d.alarms, row.Key)
		if err := row.Decode(&v.value); err != nil {
			v.bad = true
			d.alarms[row.Key] = Alarm{
				Object: row.Table + " " + row.Key,
				Text:   "row of node " + row.Stamp.Origin + " is ignored: " + err.Error(),
			}
		}
	}
	v.pass = d.pass
	if v.bad {
		return nil
	}
	return &v.value
}

// all decodes a whole table.
func (d *decoder[T]) all(rows iter.Seq[store.Row]) map[string]T {
	d.pass++
	out := make(map[string]T, len(d.known))
	for row := range rows {
		if v := d.decode(row); v != nil {
			out[row.Key] = *v
		}
	}
	maps.DeleteFunc(d.known, func(_ string, v *decoded[T]) bool { return v.pass != d.pass })
	maps.DeleteFunc(d.alarms, func(key string, _ Alarm) bool { return d.known[key] == nil })
	return out
}

// some returns what a table has become of last by changes of rows with these
// keys: last itself if there are none.
func (d *decoder[T]) some(s *store.Snapshot, table string, keys []string, last map[string]T) map[string]T {
	if len(keys) == 0 {
		return last
	}
	d.forget(s, table, keys)
	out := maps.Clone(last)
	for _, key := range keys {
		delete(out, key)
		if row, there := s.Get(table, key); there {
			if v := d.decode(row); v != nil {
				out[key] = *v
			}
		}
	}
	return out
}

// forget drops, of the rows with these keys, those that are gone.
func (d *decoder[T]) forget(s *store.Snapshot, table string, keys []string) {
	for _, key := range keys {
		if _, there := s.Get(table, key); !there {
			delete(d.known, key)
			delete(d.alarms, key)
		}
	}
}
