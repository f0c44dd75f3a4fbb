package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ovlnet/ovl/control/store"
)

const (
	nodeA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	nodeB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	nodeC = "cccccccccccccccccccccccccccccccc"
)

// row returns a well-formed row of another node.
func row(table, key, origin string, seq uint64, clock store.Clock) store.Row {
	return store.Row{Table: table, Key: key, Value: []byte(`"v"`), Stamp: store.Stamp{Origin: origin, Incarnation: 1, Seq: seq, Clock: clock}}
}

func merge(t *testing.T, s *store.Store, rows ...store.Row) int {
	t.Helper()
	n, err := s.Merge(rows)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestVectorMovesOnlyWithoutGaps(t *testing.T) {
	s := open(t, file(t), store.Options{NodeID: nodeA})
	for _, step := range []struct {
		row  store.Row
		want uint64
	}{
		{row("network", "b", nodeB, 2, 20), 0},
		{row("network", "a", nodeB, 1, 10), 1},
		{row("network", "b", nodeB, 2, 20), 2}, // again, now it follows
		{row("network", "c", nodeB, 4, 40), 2},
		{row("network", "a", nodeB, 1, 10), 2},
	} {
		merge(t, s, step.row)
		if got := s.Vector()[nodeB].Seq; got != step.want {
			t.Errorf("after write %d the vector says %d, not %d", step.row.Stamp.Seq, got, step.want)
		}
	}
	// A new incarnation goes on with the numbers.
	next := row("network", "d", nodeB, 3, 50)
	next.Stamp.Incarnation = 2
	merge(t, s, next)
	if got := s.Vector()[nodeB]; got.Seq != 3 || got.Incarnation != 2 {
		t.Errorf("vector %+v", got)
	}
	ahead := put(t, s, "network", "own", 1).Stamp.Clock + 1000<<16
	if n, err := s.MergeTransfer(nil, store.Vector{nodeB: {Incarnation: 2, Seq: 9, Clock: ahead}}); err != nil || n != 0 {
		t.Error(n, err)
	}
	if r := put(t, s, "network", "own", 2); r.Stamp.Clock <= ahead {
		t.Error("a write comes before what the vector covers")
	}
	if got := s.Vector()[nodeB].Seq; got != 9 {
		t.Errorf("a transfer brings the vector to %d", got)
	}
}

func TestMalformedRowsAreRefusedWhole(t *testing.T) {
	good := row("network", "good", nodeB, 1, 10)
	for name, spoil := range map[string]func(*store.Row){
		"no table":         func(r *store.Row) { r.Table = "" },
		"long table":       func(r *store.Row) { r.Table = strings.Repeat("t", store.MaxTable+1) },
		"odd table":        func(r *store.Row) { r.Table = "Net work" },
		"no key":           func(r *store.Row) { r.Key = "" },
		"long key":         func(r *store.Row) { r.Key = strings.Repeat("k", store.MaxKey+1) },
		"key with NUL":     func(r *store.Row) { r.Key = "a\x00b" },
		"key not UTF-8":    func(r *store.Row) { r.Key = "\xff" },
		"no value":         func(r *store.Row) { r.Value = nil },
		"value not JSON":   func(r *store.Row) { r.Value = []byte("{") },
		"long value":       func(r *store.Row) { r.Value = []byte(`"` + strings.Repeat("v", store.MaxValue) + `"`) },
		"tombstone, value": func(r *store.Row) { r.Deleted = true },
		"origin":           func(r *store.Row) { r.Stamp.Origin = "b" },
		"origin in capitals": func(r *store.Row) {
			r.Stamp.Origin = strings.ToUpper(nodeB)
		},
		"sequence 0":    func(r *store.Row) { r.Stamp.Seq = 0 },
		"sequence":      func(r *store.Row) { r.Stamp.Seq = 1 << 63 },
		"incarnation 0": func(r *store.Row) { r.Stamp.Incarnation = 0 },
		"clock 0":       func(r *store.Row) { r.Stamp.Clock = 0 },
		"clock":         func(r *store.Row) { r.Stamp.Clock = 1 << 63 },
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, file(t), store.Options{NodeID: nodeA})
			bad := row("network", "bad", nodeB, 2, 20)
			spoil(&bad)
			before := s.Snapshot()
			_, err := s.MergeTransfer([]store.Row{good, bad}, store.Vector{nodeB: {Incarnation: 1, Seq: 2}})
			if !errors.Is(err, store.ErrMalformed) || len(err.Error()) > 400 {
				t.Errorf("error %v", err)
			}
			if s.Snapshot() != before {
				t.Error("something was merged")
			}
			if s.Alarms()[store.AlarmMalformed] != 1 {
				t.Error("not counted")
			}
		})
	}
	s := open(t, file(t), store.Options{NodeID: nodeA})
	for name, v := range map[string]store.Vector{
		"origin":   {"x": {Seq: 1}},
		"sequence": {nodeB: {Seq: 1 << 60}},
		"clock":    {nodeB: {Seq: 1, Clock: 1 << 63}},
	} {
		if _, err := s.MergeTransfer(nil, v); !errors.Is(err, store.ErrMalformed) {
			t.Errorf("vector with a bad %s: %v", name, err)
		}
		if err := s.AckVector(nodeB, v); !errors.Is(err, store.ErrMalformed) {
			t.Errorf("acknowledgement with a bad %s: %v", name, err)
		}
	}
	if _, err := s.Put("network", "x", strings.Repeat("v", store.MaxValue)); !errors.Is(err, store.ErrMalformed) {
		t.Errorf("own value that is too long: %v", err)
	}
	if _, err := s.Put("network", "", 1); !errors.Is(err, store.ErrMalformed) {
		t.Errorf("own empty key: %v", err)
	}
}

func TestForeignRowsAreRefused(t *testing.T) {
	var raised []store.Alarm
	s := open(t, file(t), store.Options{NodeID: nodeA, Owner: owner, Alarm: func(a store.Alarm) { raised = append(raised, a) }})
	merge(t, s, row("node", nodeB, nodeB, 1, 10), row("node", nodeB, nodeC, 1, 99))
	if got, _ := s.Snapshot().Get("node", nodeB); got.Stamp.Origin != nodeB {
		t.Errorf("row of node B is by %s", got.Stamp.Origin)
	}
	if len(raised) != 1 || raised[0].Reason != store.AlarmForeign || s.Alarms()[store.AlarmForeign] != 1 {
		t.Errorf("alarms %+v", raised)
	}
	e := row("endpoint", "e", nodeB, 2, 11)
	e.Value = []byte(`{"Node":"` + nodeB + `"}`)
	merge(t, s, e)
	gone := row("endpoint", "e", nodeC, 2, 99)
	gone.Value, gone.Deleted = nil, true
	merge(t, s, gone)
	if _, ok := s.Snapshot().Get("endpoint", "e"); !ok {
		t.Error("node C deleted an endpoint of node B")
	}
	if s.Vector()[nodeC].Seq != 2 {
		t.Error("what is refused for good counts as seen")
	}
	if _, err := s.Delete("endpoint", "e"); !errors.Is(err, store.ErrNotOwner) {
		t.Errorf("deleting it from here: %v", err)
	}
	if _, err := s.Put("node", nodeB, 1); !errors.Is(err, store.ErrNotOwner) {
		t.Errorf("writing node B's row from here: %v", err)
	}
}

func TestRowsOfANodeThatLeft(t *testing.T) {
	a := open(t, file(t), store.Options{NodeID: nodeA, Owner: owner})
	b := open(t, file(t), store.Options{NodeID: nodeB, Owner: owner})
	up := put(t, b, "node", nodeB, "up")
	e1 := put(t, b, "endpoint", "e1", map[string]string{"Node": nodeB})
	e2 := put(t, b, "endpoint", "e2", map[string]string{"Node": nodeB})
	merge(t, a, up, e1)
	rows, err := b.Update(func(tx *store.Tx) error { return tx.Delete("node", nodeB) })
	if err != nil || len(rows) != 3 || rows[2].Table != "node" {
		t.Fatalf("%v, leaving wrote %+v", err, rows)
	}
	// Only the node's tombstone arrives, then an endpoint that was late.
	merge(t, a, rows[2])
	merge(t, a, e2)
	if n := a.Snapshot().Len(); n != 0 {
		t.Errorf("%d rows of a node that left", n)
	}
	merge(t, a, rows...)
	if a.Snapshot().Tombstones() != 3 {
		t.Errorf("%d tombstones", a.Snapshot().Tombstones())
	}
	// It is there again: what it writes now counts.
	merge(t, a, put(t, b, "node", nodeB, "up"), put(t, b, "endpoint", "e3", map[string]string{"Node": nodeB}))
	if n := a.Snapshot().Len(); n != 2 {
		t.Errorf("%d rows of a node that came back", n)
	}
}

func TestClonedDisk(t *testing.T) {
	path := file(t)
	s := open(t, path, store.Options{NodeID: nodeA})
	put(t, s, "network", "n", 1)
	copied, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "clone.db")
	if err := os.WriteFile(other, copied, 0o600); err != nil {
		t.Fatal(err)
	}
	clone := open(t, other, store.Options{})
	stray := put(t, clone, "network", "stray", 2)

	refused := func(want uint64) {
		t.Helper()
		if got := s.Alarms()[store.AlarmCloned]; got != want {
			t.Errorf("%d alarms, not %d", got, want)
		}
		if _, ok := s.Snapshot().Get("network", "stray"); ok {
			t.Error("a clone's row was taken in")
		}
	}
	merge(t, s, stray) // a number that this node has not reached
	refused(1)
	if _, err := s.MergeTransfer(nil, clone.Vector()); err != nil {
		t.Fatal(err)
	}
	refused(2)
	if s.Vector()[nodeA].Seq != 1 {
		t.Error("a peer's vector moved this node's own number")
	}
	put(t, s, "network", "own", 3)
	merge(t, s, stray) // a number under which this node wrote something else
	refused(3)
	merge(t, s, slices.Collect(s.Snapshot().Missing(nil))...) // its own rows are fine
	refused(3)

	// A third node sees two writes with one number.
	third := open(t, file(t), store.Options{NodeID: nodeC})
	merge(t, third, slices.Collect(s.Snapshot().Missing(nil))...)
	merge(t, third, stray)
	if third.Alarms()[store.AlarmDuplicateWrite] != 1 {
		t.Error("a third node did not notice")
	}
}

func TestClockNeverGoesBack(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	opt := store.Options{NodeID: nodeA, Now: func() time.Time { return now }}
	path := file(t)
	s := open(t, path, opt)
	first := put(t, s, "network", "n", 1)
	if !first.Stamp.Clock.Time().Equal(now) {
		t.Errorf("clock says %s", first.Stamp.Clock.Time())
	}
	second := put(t, s, "network", "n", 2)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	now = now.Add(-time.Hour)
	s = open(t, path, opt)
	third := put(t, s, "network", "m", 3)
	if second.Stamp.Clock <= first.Stamp.Clock || third.Stamp.Clock <= second.Stamp.Clock {
		t.Errorf("clocks %s, %s, %s", first.Stamp.Clock, second.Stamp.Clock, third.Stamp.Clock)
	}
	near := row("network", "near", nodeB, 1, third.Stamp.Clock+(60_000<<16))
	now = now.Add(time.Hour)
	merge(t, s, near)
	if n := s.Alarms()[store.AlarmClockAhead]; n != 0 {
		t.Errorf("%d alarms for a minute", n)
	}
	far := row("network", "far", nodeB, 2, third.Stamp.Clock+(3_600_000<<16))
	merge(t, s, far)
	if n := s.Alarms()[store.AlarmClockAhead]; n != 1 {
		t.Errorf("%d alarms for an hour", n)
	}
	if _, ok := s.Snapshot().Get("network", "far"); !ok {
		t.Error("the row was not merged")
	}
	if r := put(t, s, "network", "after", 1); r.Stamp.Clock <= far.Stamp.Clock {
		t.Error("a later write has an earlier clock")
	}
}

func TestClockText(t *testing.T) {
	var c store.Clock
	if err := c.UnmarshalText([]byte("01a3185c50000001")); err != nil || c.String() != "01a3185c50000001" {
		t.Error(c, err)
	}
	for _, bad := range []string{"", "1", "01A3185C50000001", "01a3185c5000000g", "+1a3185c50000001", "001a3185c50000001"} {
		if err := c.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestTombstonesWaitForEveryMember(t *testing.T) {
	a := open(t, file(t), store.Options{NodeID: nodeA, Owner: owner})
	put(t, a, "network", "n", 1)
	if _, err := a.Delete("network", "n"); err != nil {
		t.Fatal(err)
	}
	collect := func(want int) {
		t.Helper()
		if n, err := a.Collect(); err != nil || n != want {
			t.Errorf("collected %d, %v, not %d", n, err, want)
		}
	}
	collect(0) // not a member itself
	put(t, a, "node", nodeA, "up")
	merge(t, a, row("node", nodeB, nodeB, 1, 10))
	collect(0) // node B has said nothing
	ack := func(v store.Vector) {
		t.Helper()
		if err := a.AckVector(nodeB, v); err != nil {
			t.Fatal(err)
		}
	}
	ack(store.Vector{nodeA: {Incarnation: 1, Seq: 1}})
	collect(0) // it has the value, not the tombstone
	ack(store.Vector{nodeA: {Incarnation: 1, Seq: 2}, nodeC: {Incarnation: 1, Seq: 1}})
	collect(0) // it knows something of node C, which may be a member by now
	if err := a.AckVector(nodeC, store.Vector{nodeA: {Incarnation: 1, Seq: 3}}); err != nil {
		t.Fatal(err)
	}
	merge(t, a, row("node", nodeC, nodeC, 1, 10))
	collect(0) // it is, and what it said before does not count
	if err := a.AckVector(nodeC, store.Vector{nodeA: {Incarnation: 1, Seq: 3}}); err != nil {
		t.Fatal(err)
	}
	collect(1)
	merge(t, a, row("network", "n", nodeB, 2, 1))
	if a.Snapshot().Tombstones() != 0 {
		t.Error("a tombstone is left")
	}
}

func TestLocked(t *testing.T) {
	path := file(t)
	open(t, path, store.Options{})
	_, err := store.Open(path, store.Options{LockTimeout: 10 * time.Millisecond, Logger: quiet})
	if !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v", err)
	}
}

func TestDamage(t *testing.T) {
	path := file(t)
	s := open(t, path, store.Options{NodeID: nodeA})
	for i := range 300 {
		put(t, s, "network", fmt.Sprint("n", i), strings.Repeat("x", 100)+"needle")
	}
	if err := s.SetMeta("secret", []byte("localneedle")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flip := func(b []byte, needle string) []byte {
		b = slices.Clone(b)
		for at, n := 0, 0; ; n++ {
			i := bytes.Index(b[at:], []byte(needle))
			if i < 0 {
				if n == 0 {
					t.Fatalf("no %q in the file", needle)
				}
				return b
			}
			b[at+i] ^= 1 // every copy, stale pages included
			at += i + 1
		}
	}
	format := func(line string) []byte {
		p := filepath.Join(t.TempDir(), "f.db")
		if err := os.WriteFile(p, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := bbolt.Open(p, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = db.Update(func(tx *bbolt.Tx) error {
			if line == "" {
				return tx.DeleteBucket([]byte("store"))
			}
			return tx.Bucket([]byte("store")).Put([]byte("format"), []byte(line))
		})
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, content := range map[string][]byte{
		"empty":             {},
		"short":             whole[:100],
		"one page":          whole[:4096],
		"meta pages only":   whole[:8192],
		"half":              whole[:len(whole)/2/4096*4096],
		"text":              bytes.Repeat([]byte("not a state file\n"), 4096),
		"zeros":             make([]byte, len(whole)),
		"row":               flip(whole, "xneedle"),
		"local record":      flip(whole, "localneedle"),
		"identity":          flip(whole, `"incarnation"`),
		"newer format":      format("ovl store 2"),
		"foreign format":    format("other"),
		"foreign bbolt":     format(""),
		"pages overwritten": append(slices.Clone(whole[:8192]), bytes.Repeat([]byte{0xa5}, len(whole)-8192)...),
	} {
		t.Run(name, func(t *testing.T) {
			p := filepath.Join(t.TempDir(), "state.db")
			if err := os.WriteFile(p, content, 0o600); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the first attempt keeps no lock
				s, err := store.Open(p, store.Options{Logger: quiet, LockTimeout: 50 * time.Millisecond})
				if err == nil {
					s.Close()
				}
				if !errors.Is(err, store.ErrDamaged) {
					t.Fatalf("error %v", err)
				}
				for _, want := range []string{p, "put back a copy"} {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%q is not in %q", want, err)
					}
				}
			}
			if got, err := os.ReadFile(p); err != nil || !bytes.Equal(got, content) {
				t.Error("the damaged file was changed", err)
			}
		})
	}
}
