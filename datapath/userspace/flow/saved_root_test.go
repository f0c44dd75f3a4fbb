package flow

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// TestNoSpace: where the file system is full, flows go on and are not written. A
// mapped file that has a hole there kills.
func TestNoSpace(t *testing.T) {
	linktest.NeedRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=128k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, "flows")
	c := &clock{time.Unix(1000, 0)}
	m := openMemory(t, path, c, 1<<16)
	for i := range uint16(20_000) {
		m.back(m.add(key(tcp, i)))
	}
	if err := m.Tick(); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("no space: %v", err)
	}
	if n := len(m.All()); n != 20_000 {
		t.Errorf("%d flows, want all 20000", n)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("closed without space: %v", err)
	}
	next, err := Open(path, Options{})
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("opened without space: %v", err)
	}
	if n := len(next.All()); n == 0 || n > int(info.Size())/recordSize {
		t.Errorf("%d flows of a file of %d bytes", n, info.Size())
	}
}
