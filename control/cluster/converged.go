package cluster

// Converged reports whether, as far as this host can know, it has seen every
// write that exists among the live hosts:
//
//   - no row of an event waits to be merged,
//   - every hint has been followed up: what it announced has been seen,
//   - every peer that came, or came back, has been compared with, or was left
//     to other hosts in a large cluster,
//   - what each live peer last said to have seen is covered by what this host
//     has seen, and at least one has spoken since it came.
//
// A host that is alone has converged. What a partition hides, or was written a
// moment ago and not heard of yet, nobody can know: true means "nothing is
// known to be missing". It turns false before the first row of a healed
// partition is merged, because a peer's return is known before its rows are.
func (c *Cluster) Converged() bool {
	if !c.inbox.empty() {
		return false
	}
	seen := c.store.Vector()
	if c.syncer.pending(seen) {
		return false
	}
	ahead, spoken, alone := c.peers.unseen(seen)
	return alone || spoken && !ahead
}
