package store_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/ovlnet/ovl/control/store"
)

// TestCrashAtAnyTransaction opens copies of the file as it was after every
// transaction, and as a crash leaves it that lets all pages of a transaction
// reach the disk but for the one that makes them count.
func TestCrashAtAnyTransaction(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state.db")
	s := open(t, path, store.Options{NodeID: nodeA, Owner: owner})
	read := func() []byte {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	check := func(what string, content []byte, want *store.Snapshot) {
		t.Helper()
		p := filepath.Join(dir, "copy.db")
		if err := os.WriteFile(p, content, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := store.Open(p, store.Options{Logger: quiet, Owner: owner})
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		defer c.Close()
		var got, wanted strings.Builder
		for r := range c.Snapshot().Missing(nil) {
			fmt.Fprintf(&got, "%+v\n", r)
		}
		for r := range want.Missing(nil) {
			fmt.Fprintf(&wanted, "%+v\n", r)
		}
		if got.String() != wanted.String() || fmt.Sprint(c.Vector()) != fmt.Sprint(want.Vector()) {
			t.Fatalf("%s: holds\n%s%v\nwant\n%s%v", what, &got, c.Vector(), &wanted, want.Vector())
		}
		if c.Snapshot().Len() != want.Len() {
			t.Fatalf("%s: %d live rows, not %d", what, c.Snapshot().Len(), want.Len())
		}
	}
	before, snapBefore := read(), s.Snapshot()
	for i := range 80 {
		var err error
		switch i % 5 {
		case 0:
			_, err = s.Put("network", fmt.Sprint("n", i%7), strings.Repeat("v", i*50))
		case 1:
			_, err = s.Update(func(tx *store.Tx) error {
				return errors.Join(tx.Put("network", "x", i), tx.UpdateBucket("b", map[string][]byte{"k": {byte(i)}}))
			})
		case 2:
			_, err = s.Merge([]store.Row{row("network", fmt.Sprint("m", i), nodeB, uint64(i), store.Clock(i))})
		case 3:
			_, err = s.MergeTransfer(nil, store.Vector{nodeB: {Incarnation: 1, Seq: uint64(i)}})
		case 4:
			_, err = s.Delete("network", "x")
		}
		if err != nil {
			t.Fatal(err)
		}
		after, snapAfter := read(), s.Snapshot()
		check(fmt.Sprint("after transaction ", i), after, snapAfter)
		torn := append([]byte{}, after...)
		copy(torn[:2*os.Getpagesize()], before)
		check(fmt.Sprint("in the middle of transaction ", i), torn, snapBefore)
		before, snapBefore = after, snapAfter
	}
}

// TestDiskFull fills a small file system of its own.
func TestDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, "state.db")
	s, err := store.Open(path, store.Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	// Closed before the file system goes.
	defer func() { s.Close() }()
	var last *store.Snapshot
	for i := 0; ; i++ {
		last = s.Snapshot()
		if _, err = s.Put("network", fmt.Sprint("n", i), strings.Repeat("v", 10_000)); err != nil {
			break
		}
		if i > 1000 {
			t.Fatal("the disk never fills")
		}
	}
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v", err)
	}
	if s.Snapshot() != last {
		t.Error("a write that failed changed the tables")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = store.Open(path, store.Options{Logger: quiet}); err != nil {
		t.Fatalf("open after the disk was full: %v", err)
	}
	if s.Snapshot().Len() != last.Len() {
		t.Errorf("%d rows, not %d", s.Snapshot().Len(), last.Len())
	}
}

// TestConcurrentUse writes, merges, reads and collects at once; the race
// detector and the counts are the judges.
func TestConcurrentUse(t *testing.T) {
	s := open(t, file(t), store.Options{NodeID: nodeA})
	put(t, s, "node", nodeA, "up")
	const n = 40
	var wg sync.WaitGroup
	for _, work := range []func(i int) error{
		func(i int) error { _, err := s.Put("network", fmt.Sprint("a", i), i); return err },
		func(i int) error { _, err := s.Put("network", fmt.Sprint("b", i), i); return err },
		func(i int) error {
			_, err := s.Merge([]store.Row{row("network", fmt.Sprint("c", i), nodeB, uint64(i+1), store.Clock(i+1))})
			return err
		},
		func(int) error { _, err := s.Collect(); return err },
		func(int) error {
			snap, rows := s.Snapshot(), 0
			for range snap.All("network") {
				rows++
			}
			for range snap.All("node") {
				rows++
			}
			if rows != snap.Len() {
				return fmt.Errorf("a snapshot of %d rows shows %d", snap.Len(), rows)
			}
			return nil
		},
		func(i int) error { return s.SetMeta("k", []byte{byte(i)}) },
	} {
		wg.Go(func() {
			for i := range n {
				if err := work(i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := s.Snapshot().Len(); got != 3*n+1 {
		t.Errorf("%d rows, not %d", got, 3*n+1)
	}
	if v := s.Vector(); v[nodeA].Seq != 2*n+1 || v[nodeB].Seq != n {
		t.Errorf("vector %v", v)
	}
}
