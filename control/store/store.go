package store

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
)

// Options of Open. The zero value is usable.
type Options struct {
	// NodeID is used in place of a random one when the file is made.
	NodeID string
	// Owner returns the ID of the only node that may write a row, or "" if
	// any may. It is called with rows of every table that peers sent; for a
	// row whose owner it cannot make out it should return something that is
	// not a node ID. A tombstone has no value: where the key alone does not
	// tell the owner, return "", and the store goes by the row that is held.
	// Default: any node may write any row.
	Owner func(Row) string
	// NodeTable holds one row a member, under its node ID. Members are the
	// rows that are not tombstones. Default "node".
	NodeTable string
	// MaxClockAhead is how far a peer's clock may be ahead of this host's
	// before an alarm is raised. Default 10 minutes.
	MaxClockAhead time.Duration
	// LockTimeout is how long Open waits for another process to close the
	// file. Default 1 second.
	LockTimeout time.Duration
	// Now is the wall clock. Default time.Now.
	Now func() time.Time
	// Alarm is told what peers sent that should not happen; it must not call
	// the store's writing methods. Default: alarms are counted and logged.
	Alarm func(Alarm)
	// Logger defaults to slog.Default.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Owner == nil {
		o.Owner = func(Row) string { return "" }
	}
	if o.NodeTable == "" {
		o.NodeTable = "node"
	}
	if o.MaxClockAhead == 0 {
		o.MaxClockAhead = 10 * time.Minute
	}
	if o.LockTimeout == 0 {
		o.LockTimeout = time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

// Store is the node's open state file. All methods may be called from any
// goroutine; those that write are one after the other, those that read never
// wait for them.
type Store struct {
	opt         Options
	log         *slog.Logger
	db          *bbolt.DB
	path        string
	nodeID      string
	incarnation uint64

	current atomic.Pointer[Snapshot]

	// mu is held by whoever writes.
	mu     sync.Mutex
	clock  Clock             // never below that of a local write or a merged row
	acks   map[string]Vector // what members have said that they have seen
	broken error             // set once a failed write left the disk in doubt
	closed bool

	subMu sync.Mutex
	subs  map[chan struct{}]struct{}

	alarmMu sync.Mutex
	alarms  map[AlarmReason]uint64
}

// NodeID returns the ID that this node keeps for its life: 128 random bits in
// hexadecimal.
func (s *Store) NodeID() string { return s.nodeID }

// Incarnation returns how many times the store was opened, this time
// included.
func (s *Store) Incarnation() uint64 { return s.incarnation }

// Path returns the path of the file.
func (s *Store) Path() string { return s.path }

// Snapshot returns the current rows and vector.
func (s *Store) Snapshot() *Snapshot { return s.current.Load() }

// Vector returns what this node has seen. It must not be changed.
func (s *Store) Vector() Vector { return s.Snapshot().Vector() }

// Subscribe returns a channel that has an element after rows have changed,
// however many have since the last one was taken. The function ends the
// subscription; the channel is never closed.
func (s *Store) Subscribe() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	s.subMu.Lock()
	s.subs[ch] = struct{}{}
	s.subMu.Unlock()
	return ch, func() {
		s.subMu.Lock()
		delete(s.subs, ch)
		s.subMu.Unlock()
	}
}

// publish makes next the current snapshot, and tells subscribers if rows have
// changed. The caller holds mu and has next on disk.
func (s *Store) publish(next *Snapshot) {
	changed := next.version != s.Snapshot().version
	s.current.Store(next)
	if !changed {
		return
	}
	s.subMu.Lock()
	defer s.subMu.Unlock()
	for ch := range s.subs {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// Close closes the file. The last snapshot stays readable. Close may be
// called twice.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return s.db.Close()
}

// writableLocked returns why nothing can be written, if so.
func (s *Store) writableLocked() error {
	if s.closed {
		return ErrClosed
	}
	return s.broken
}
