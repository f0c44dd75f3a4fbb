package store

import "go.etcd.io/bbolt"

// AckVector records that a member has seen, on its disk, what v covers. What
// members have acknowledged is not kept across restarts: they say it again
// with every exchange. What others than members say is not kept: Collect does
// not ask it, and there is no end of names.
func (s *Store) AckVector(node string, v Vector) error {
	if err := v.validate(); err != nil {
		s.raise(Alarm{Reason: AlarmMalformed, Text: err.Error()})
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, member := s.Snapshot().Get(s.opt.NodeTable, node); !member || node == s.nodeID {
		return nil
	}
	ack := s.acks[node].Clone()
	ack.Merge(v)
	s.acks[node] = ack
	return nil
}

// Collect forgets the tombstones that every member has seen, however long
// that takes: a member that has failed but was not removed holds them back.
// It returns how many went.
//
// It rests on how nodes join: a new node's own rows are merged by a peer
// before that peer sends it any, and the new node takes in no events before
// it has merged what the peer sent. So a peer's acknowledgement of a tombstone
// is either older than the new node's first look at the tables, or covers the
// new node's row of the node table; and nothing is collected by an
// acknowledgement that this node's own vector does not cover.
//
// A node that left is not waited for: should it come back with its old file,
// rows could return with it whose tombstones are gone. So a node that leaves
// removes its file, and comes back as a new one.
func (s *Store) Collect() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	snap := s.Snapshot()
	seen, ok := s.seenByAllLocked(snap)
	if !ok {
		return 0, nil
	}
	var gone []*Row
	snap.rows.Ascend(func(r *Row) bool {
		if r.Deleted && seen(r.Stamp) {
			gone = append(gone, r)
		}
		return true
	})
	if len(gone) == 0 {
		return 0, nil
	}
	err := s.writeLocked(func(*bbolt.Tx) (*change, error) {
		c := s.newChangeLocked()
		for _, r := range gone {
			c.remove(r)
		}
		return c, nil
	})
	if err != nil {
		return 0, err
	}
	return len(gone), nil
}

// seenByAllLocked returns whether every member has seen a write. It cannot
// tell while this node is not a member, or a member has not spoken.
func (s *Store) seenByAllLocked(snap *Snapshot) (seen func(Stamp) bool, ok bool) {
	members := map[string]bool{}
	for r := range snap.All(s.opt.NodeTable) {
		members[r.Key] = true
	}
	if !members[s.nodeID] {
		return nil, false
	}
	for node := range s.acks {
		if !members[node] {
			delete(s.acks, node)
		}
	}
	vectors := []Vector{snap.vector}
	for node := range members {
		if node == s.nodeID {
			continue
		}
		ack, spoke := s.acks[node]
		if !spoke || !snap.vector.Covers(ack) {
			return nil, false
		}
		vectors = append(vectors, ack)
	}
	return func(st Stamp) bool {
		for _, v := range vectors {
			if !v.Has(st) {
				return false
			}
		}
		return true
	}, true
}
