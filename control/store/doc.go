// Package store holds the replicated tables of the cluster and this node's
// own durable state, in one bbolt file.
//
// What flows through it, in order:
//
//	local change ─▶ Update ─▶ stamp ─▶ one transaction on disk ─▶ new Snapshot ─▶ rows returned, to be spread
//	event        ─▶ Merge ─────────────▶ validate, ownership, highest clock wins ─▶ one transaction ─▶ new Snapshot
//	anti-entropy ─▶ MergeTransfer ─────▶ the same, and the sender's vector in the same transaction
//	peer asks    ─▶ Missing(vector) ◀── rows the peer has not seen, and the vector that they amount to
//	peer says    ─▶ AckVector ─▶ Collect ─▶ tombstones that every member has seen are forgotten
//
// A row is a value or a tombstone under (table, key), stamped with the node
// that wrote it, that node's incarnation and sequence number, and a hybrid
// logical clock. The highest (clock, origin) wins a key, so merging is
// commutative, associative and idempotent, and losing every event costs only
// delay.
//
// The version vector says up to which sequence number everything of an origin
// has been seen. A single row moves it only if it is the direct successor of
// what was seen; a completed transfer brings it to the sender's. Sequence
// numbers go on across incarnations, which makes "direct successor" mean the
// same before and after a restart; the incarnation tells them apart in logs
// and alarms. A row that the vector already covers is never looked at again,
// so a duplicate that arrives after its tombstone was collected cannot bring
// the row back.
//
// Some tables hold rows that only one node may write, the one that they are
// about (Options.Owner). A row of such a table with another origin is refused
// at merge and counted.
//
// Nothing is published before it is on disk: a snapshot never shows what a
// crash could take back. A file that is damaged is refused (ErrDamaged), never
// repaired by guessing.
package store
