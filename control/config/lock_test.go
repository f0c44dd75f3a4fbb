package config_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/config"
)

func mustPrefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func locked(t *testing.T) (config.Config, *config.Lock) {
	t.Helper()
	c := config.Default()
	c.Root, c.Instance = t.TempDir(), "h1"
	l, err := config.Acquire(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { release(t, l) })
	return c, l
}

func release(t *testing.T, l *config.Lock) {
	t.Helper()
	if err := l.Release(); err != nil {
		t.Error(err)
	}
}

func TestLockIsHeldOnce(t *testing.T) {
	c, l := locked(t)
	_, err := config.Acquire(c)
	le, ok := errors.AsType[*config.LockedError](err)
	if !ok || !errors.Is(err, config.ErrLocked) || le.PID != os.Getpid() {
		t.Fatalf("second Acquire: %v, want a LockedError with pid %d", err, os.Getpid())
	}
	if pid, held, err := config.Holder(c); pid != os.Getpid() || !held || err != nil {
		t.Errorf("Holder: %d, %t, %v", pid, held, err)
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	if err := l.Release(); err != nil {
		t.Errorf("second Release: %v", err)
	}
	if _, held, err := config.Holder(c); held || err != nil {
		t.Errorf("Holder after Release: %t, %v", held, err)
	}
	again, err := config.Acquire(c)
	if err != nil {
		t.Fatalf("Acquire after Release: %v", err)
	}
	release(t, again)
}

func TestRemoveRunDir(t *testing.T) {
	c, l := locked(t)
	if err := os.WriteFile(c.Socket(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.RemoveRunDir(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(c.RunDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("run folder is still there: %v", err)
	}
	if _, held, err := config.Holder(c); held || err != nil {
		t.Errorf("Holder of nothing: %t, %v", held, err)
	}
	if err := config.WaitReleased(t.Context(), c); err != nil {
		t.Errorf("WaitReleased of nothing: %v", err)
	}
}

func TestWaitReleased(t *testing.T) {
	c, l := locked(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := config.WaitReleased(ctx, c); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while it is held: %v, want DeadlineExceeded", err)
	}
	released := make(chan error, 1)
	go func() { released <- config.WaitReleased(t.Context(), c) }()
	if err := l.RemoveRunDir(); err != nil {
		t.Fatal(err)
	}
	release(t, l)
	if err := <-released; err != nil {
		t.Errorf("after release: %v", err)
	}
}

// TestLockAgainstRemoval: processes that take, remove and release one after
// another never hold the instance two at a time.
func TestLockAgainstRemoval(t *testing.T) {
	c := config.Default()
	c.Root = t.TempDir()
	var holders sync.Mutex
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for taken := 0; taken < 100; {
				l, err := config.Acquire(c)
				if errors.Is(err, config.ErrLocked) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if !holders.TryLock() {
					t.Error("two hold the lock")
					return
				}
				taken++
				holders.Unlock()
				err = l.RemoveRunDir()
				release(t, l)
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
