package store_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/ovlnet/ovl/control/store"
)

// TestChangedSince: what has changed between two snapshots is named, whoever
// wrote it, and what is not known is not guessed.
func TestChangedSince(t *testing.T) {
	s := open(t, file(t), store.Options{NodeID: nodeA})
	first := s.Snapshot()
	if _, err := s.Put("a", "1", 1); err != nil {
		t.Fatal(err)
	}
	second := s.Snapshot()
	_, err := s.Update(func(tx *store.Tx) error {
		if err := tx.Put("a", "2", 2); err != nil {
			return err
		}
		return tx.Delete("a", "1")
	})
	if err != nil {
		t.Fatal(err)
	}
	merge(t, s, row("b", "1", nodeB, 1, store.Clock(1)))
	third := s.Snapshot()

	names := func(s *store.Snapshot, since uint64) string {
		t.Helper()
		changed, ok := s.ChangedSince(since)
		if !ok {
			return "unknown"
		}
		slices.SortFunc(changed, func(a, b store.RowName) int {
			return slices.Compare([]string{a.Table, a.Key}, []string{b.Table, b.Key})
		})
		return fmt.Sprint(changed)
	}
	for _, c := range []struct {
		s     *store.Snapshot
		since uint64
		want  string
	}{
		{third, third.Version(), "[]"},
		{third, first.Version(), "[{a 1} {a 1} {a 2} {b 1}]"},
		{third, second.Version(), "[{a 1} {a 2} {b 1}]"},
		{second, first.Version(), "[{a 1}]"},
		{first, second.Version(), "unknown"},
		{third, 0, "unknown"},
	} {
		if got := names(c.s, c.since); got != c.want {
			t.Errorf("version %d since %d: %s, want %s", c.s.Version(), c.since, got, c.want)
		}
	}
	var keys []string
	for r := range third.Beginning("a", "2") {
		keys = append(keys, r.Key)
	}
	if !slices.Equal(keys, []string{"2"}) {
		t.Errorf("keys that begin with 2: %v", keys)
	}
}

// TestChangesAreForgotten: the memory of changes is bounded.
func TestChangesAreForgotten(t *testing.T) {
	s := open(t, file(t), store.Options{NodeID: nodeA})
	write := func(n int) {
		t.Helper()
		_, err := s.Update(func(tx *store.Tx) error {
			for i := range n {
				if err := tx.Put("a", fmt.Sprint(i), i); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	write(1)
	old := s.Snapshot()
	write(1<<16 - 1)
	if names, ok := s.Snapshot().ChangedSince(old.Version()); !ok || len(names) != 1<<16-1 {
		t.Errorf("%d names, %v", len(names), ok)
	}
	between := s.Snapshot()
	write(2)
	if _, ok := s.Snapshot().ChangedSince(old.Version()); ok {
		t.Error("more is remembered than there is room for")
	}
	if names, ok := s.Snapshot().ChangedSince(between.Version()); !ok || len(names) != 2 {
		t.Errorf("%d names, %v", len(names), ok)
	}
}
