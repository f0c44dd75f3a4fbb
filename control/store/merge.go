package store

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/bbolt"
)

// Merge takes in rows that came singly or in part, such as those of events.
// They are on disk when it returns. The vector moves only past rows that
// directly follow what was seen. A malformed row refuses the whole call and
// changes nothing; rows that are refused by a rule about who may write them
// are left out, counted, and do not keep the others away. It returns how many
// rows have changed.
func (s *Store) Merge(rows []Row) (changed int, err error) {
	return s.merge(rows, nil)
}

// MergeTransfer takes in rows and what a sender's snapshot says that they
// amount to, both in one transaction. The caller vouches that, of the rows
// that Snapshot.Missing yielded there for a vector that this store has or
// once had, all those that the sender's vector covers are in this or an
// earlier call; otherwise this node would claim to have seen what it has not.
func (s *Store) MergeTransfer(rows []Row, sender Vector) (changed int, err error) {
	if err := sender.validate(); err != nil {
		s.raise(Alarm{Reason: AlarmMalformed, Text: err.Error()})
		return 0, err
	}
	return s.merge(rows, sender)
}

func (s *Store) merge(rows []Row, sender Vector) (int, error) {
	rows, err := normalize(rows)
	if err != nil {
		s.raise(Alarm{Reason: AlarmMalformed, Text: err.Error()})
		return 0, err
	}
	changed, alarms, err := s.mergeRows(rows, sender)
	s.raise(alarms...)
	return changed, err
}

// normalize checks rows from a peer and returns copies that share no memory
// with the buffers they were read from, in the order in which their origins
// wrote them.
func normalize(rows []Row) ([]Row, error) {
	rows = slices.Clone(rows)
	for i := range rows {
		if err := rows[i].validate(); err != nil {
			return nil, err
		}
		if rows[i].Deleted {
			rows[i].Value = nil
			continue
		}
		var b bytes.Buffer
		b.Grow(len(rows[i].Value))
		if err := json.Compact(&b, rows[i].Value); err != nil {
			return nil, fmt.Errorf("%w: %s %q: %w", ErrMalformed, rows[i].Table, clip(rows[i].Key), err)
		}
		rows[i].Value = b.Bytes()
	}
	slices.SortStableFunc(rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(a.Stamp.Origin, b.Stamp.Origin), cmp.Compare(a.Stamp.Seq, b.Stamp.Seq))
	})
	return rows, nil
}

func (s *Store) mergeRows(rows []Row, sender Vector) (changed int, alarms []Alarm, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err = s.writeLocked(func(*bbolt.Tx) (*change, error) {
		c := s.newChangeLocked()
		horizon := clockAt(s.opt.Now().Add(s.opt.MaxClockAhead))
		for i := range rows {
			alarms = append(alarms, c.merge(&rows[i], horizon)...)
		}
		if own := c.next.vector[s.nodeID]; sender[s.nodeID].Seq > own.Seq {
			alarms = append(alarms, Alarm{Reason: AlarmCloned, Text: fmt.Sprintf(
				"a peer has seen write %d of this node, which has made only %d", sender[s.nodeID].Seq, own.Seq)})
			sender = maps.Clone(sender)
			delete(sender, s.nodeID)
		}
		c.next.vector.Merge(sender)
		for _, mark := range sender {
			c.clock = max(c.clock, mark.Clock)
		}
		changed = len(c.touched)
		return c, nil
	})
	if err != nil {
		return 0, alarms, err
	}
	return changed, alarms, nil
}

// merge takes one valid row into the change, or leaves it out.
func (c *change) merge(r *Row, horizon Clock) (alarms []Alarm) {
	s, next := c.store, c.next
	if r.Stamp.Origin == s.nodeID {
		return c.checkOwn(r)
	}
	if twin := next.wrote(r.Stamp); twin != nil && !twin.equal(*r) {
		alarms = append(alarms, alarmf(AlarmDuplicateWrite, *r, "%s %q has the same number", twin.Table, clip(twin.Key)))
	}
	if next.vector.Has(r.Stamp) {
		return alarms
	}
	if r.Stamp.Seq == next.vector[r.Stamp.Origin].Seq+1 {
		next.vector[r.Stamp.Origin] = r.Stamp.mark()
	}
	held, _ := next.held(r.Table, r.Key)
	if owner := s.mayWrite(*r, held); owner != "" {
		return append(alarms, alarmf(AlarmForeign, *r, "belongs to %s", clip(owner)))
	}
	if r.Stamp.Clock > horizon {
		alarms = append(alarms, alarmf(AlarmClockAhead, *r, "clock says %s", r.Stamp.Clock.Time().UTC()))
	}
	c.clock = max(c.clock, r.Stamp.Clock)
	if s.departed(next, *r) || held != nil && !r.Wins(*held) {
		return alarms
	}
	c.set(r)
	if r.Deleted && r.Table == s.opt.NodeTable {
		for _, gone := range s.ownedBy(next, r.Key) {
			if gone.Stamp.Clock < r.Stamp.Clock {
				c.remove(gone)
			}
		}
	}
	return alarms
}

// checkOwn looks at a row of this node that came back from a peer. It is
// never merged: what this store has written, it has. A write that it cannot
// have made is an alarm.
func (c *change) checkOwn(r *Row) []Alarm {
	next := c.next
	if made := next.vector[c.store.nodeID]; r.Stamp.Seq > made.Seq {
		return []Alarm{alarmf(AlarmCloned, *r, "this node has made only %d writes", made.Seq)}
	}
	if twin := next.wrote(r.Stamp); twin != nil {
		if !twin.equal(*r) {
			return []Alarm{alarmf(AlarmCloned, *r, "this node wrote something else under this number")}
		}
		return nil
	}
	// A write of ours that is no longer held was replaced by a higher one,
	// or its tombstone was collected.
	if held, ok := next.held(r.Table, r.Key); ok && r.Wins(*held) {
		return []Alarm{alarmf(AlarmCloned, *r, "this node never wrote it")}
	}
	return nil
}
