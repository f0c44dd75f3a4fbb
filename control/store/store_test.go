package store_test

import (
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"

	"github.com/ovlnet/ovl/control/store"
)

var quiet = slog.New(slog.DiscardHandler)

// open opens a store in a folder of the test and closes it at the end.
func open(t *testing.T, path string, opt store.Options) *store.Store {
	t.Helper()
	if opt.Logger == nil {
		opt.Logger = quiet
	}
	s, err := store.Open(path, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func file(t *testing.T) string { return filepath.Join(t.TempDir(), "state.db") }

func put(t *testing.T, s *store.Store, table, key string, value any) store.Row {
	t.Helper()
	r, err := s.Put(table, key, value)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestPutGetDelete(t *testing.T) {
	s := open(t, file(t), store.Options{})
	changes, cancel := s.Subscribe()
	defer cancel()
	before := s.Snapshot()

	r := put(t, s, "network", "n1", map[string]string{"Name": "blue"})
	if r.Stamp.Origin != s.NodeID() || r.Stamp.Seq != 1 || r.Stamp.Incarnation != 1 || r.Stamp.Clock == 0 {
		t.Errorf("stamp %+v", r.Stamp)
	}
	select {
	case <-changes:
	default:
		t.Error("subscriber was not told")
	}
	put(t, s, "network", "n0", "x")
	put(t, s, "networks", "n0", "x")
	if _, ok := before.Get("network", "n1"); ok {
		t.Error("an older snapshot shows a newer row")
	}
	var keys []string
	for r := range s.Snapshot().All("network") {
		keys = append(keys, r.Key)
	}
	if !slices.Equal(keys, []string{"n0", "n1"}) {
		t.Errorf("keys %v", keys)
	}
	got, ok := s.Snapshot().Get("network", "n1")
	var v map[string]string
	if !ok || got.Decode(&v) != nil || v["Name"] != "blue" {
		t.Errorf("got %v, %s", ok, got.Value)
	}
	if _, err := s.Delete("network", "n1"); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Snapshot().Get("network", "n1"); ok {
		t.Error("deleted row is still there")
	}
	if _, err := s.Delete("network", "n1"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("second delete: %v", err)
	}
	if s.Snapshot().Version() <= before.Version() {
		t.Error("version did not grow")
	}
	if s.Snapshot().Len() != 2 || s.Snapshot().Tombstones() != 1 {
		t.Errorf("%d rows, %d tombstones", s.Snapshot().Len(), s.Snapshot().Tombstones())
	}
}

func TestUpdateIsAllOrNothing(t *testing.T) {
	s := open(t, file(t), store.Options{})
	stop := errors.New("stop")
	_, err := s.Update(func(tx *store.Tx) error {
		if err := tx.Put("network", "a", 1); err != nil {
			return err
		}
		if err := tx.UpdateBucket("b", map[string][]byte{"k": []byte("v")}); err != nil {
			return err
		}
		if _, ok := tx.Get("network", "a"); !ok {
			t.Error("a change does not see its own row")
		}
		return stop
	})
	if !errors.Is(err, stop) {
		t.Fatal(err)
	}
	if s.Snapshot().Len() != 0 || len(s.Vector()) != 0 {
		t.Error("a failed change left something behind")
	}
	if m, err := s.ReadBucket("b"); err != nil || len(m) != 0 {
		t.Errorf("local bucket %v, %v", m, err)
	}

	rows, err := s.Update(func(tx *store.Tx) error {
		return errors.Join(tx.Put("network", "a", 1), tx.Put("network", "b", 1), tx.Put("network", "a", 2))
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 2 || rows[0].Key != "b" || rows[0].Stamp.Seq != 1 || rows[1].Key != "a" || rows[1].Stamp.Seq != 2 || string(rows[1].Value) != "2" {
		t.Errorf("rows %+v: one number for each key, in the order of the last writes", rows)
	}
}

func TestRestart(t *testing.T) {
	path := file(t)
	s := open(t, path, store.Options{})
	id := s.NodeID()
	last := put(t, s, "network", "a", 1)
	if err := s.SetMeta("secret", []byte{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error("second close:", err)
	}
	if _, err := s.Put("network", "b", 1); !errors.Is(err, store.ErrClosed) {
		t.Errorf("put after close: %v", err)
	}

	s = open(t, path, store.Options{})
	if s.NodeID() != id || s.Incarnation() != 2 {
		t.Errorf("node %s, incarnation %d", s.NodeID(), s.Incarnation())
	}
	if v, ok, err := s.GetMeta("secret"); err != nil || !ok || string(v) != "\x01\x02\x03" {
		t.Errorf("meta %v %v %v", v, ok, err)
	}
	if _, ok, err := s.GetMeta("other"); ok || err != nil {
		t.Errorf("meta that was never set: %v %v", ok, err)
	}
	if got, _ := s.Snapshot().Get("network", "a"); got.Stamp != last.Stamp {
		t.Errorf("stamp %+v, was %+v", got.Stamp, last.Stamp)
	}
	next := put(t, s, "network", "b", 1)
	if next.Stamp.Seq != 2 || next.Stamp.Incarnation != 2 || next.Stamp.Clock <= last.Stamp.Clock {
		t.Errorf("stamp %+v after %+v", next.Stamp, last.Stamp)
	}
}
