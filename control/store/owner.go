package store

// mayWrite returns the node that alone may write r, if that is not the one
// that did; held is the row that r's key has now, or nil.
func (s *Store) mayWrite(r Row, held *Row) (owner string) {
	owner = s.opt.Owner(r)
	if owner == "" && r.Deleted && held != nil && !held.Deleted {
		owner = s.opt.Owner(*held)
	}
	if owner == r.Stamp.Origin {
		return ""
	}
	return owner
}

// ownedBy returns the live rows that only node may write, but for its own row
// of the node table.
func (s *Store) ownedBy(snap *Snapshot, node string) []*Row {
	var rows []*Row
	first := &Row{Stamp: Stamp{Origin: node}}
	snap.written.AscendGreaterOrEqual(first, func(r *Row) bool {
		if r.Stamp.Origin != node {
			return false
		}
		if !r.Deleted && r.Table != s.opt.NodeTable && s.opt.Owner(*r) == node {
			rows = append(rows, r)
		}
		return true
	})
	return rows
}

// departed reports whether the owner of a live row has left the cluster after
// it was written: such rows are not taken in, whoever still has them.
func (s *Store) departed(snap *Snapshot, r Row) bool {
	if r.Deleted || r.Table == s.opt.NodeTable {
		return false
	}
	owner := s.opt.Owner(r)
	if owner == "" {
		return false
	}
	node, ok := snap.held(s.opt.NodeTable, owner)
	return ok && node.Deleted && node.Stamp.Clock > r.Stamp.Clock
}
