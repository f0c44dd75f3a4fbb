package resolvconf

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// fullDisk returns a folder on a file system that has no room, and what makes some.
func fullDisk(t *testing.T) (dir string, empty func()) {
	t.Helper()
	linktest.NeedRoot(t)
	dir = t.TempDir()
	if err := unix.Mount("ovl-test", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir, func() {
		if err := os.Remove(filepath.Join(dir, "full")); err != nil {
			t.Error(err)
		}
	}
}

func fill(t *testing.T, dir string) {
	t.Helper()
	err := os.WriteFile(filepath.Join(dir, "full"), make([]byte, 1<<20), 0o644)
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
}

func TestNamedDiskFull(t *testing.T) {
	dir, empty := fullDisk(t)
	n := NewNamed(filepath.Join(dir, "netns"), "")
	write(t, n.path("other"), operators)
	fill(t, dir)
	for netns, replace := range map[string]bool{"c1": false, "other": true} {
		before := tree(t, dir)
		if err := n.Write(netns, firstText, replace); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("error is %v, want that of a full disk", err)
		}
		if after := tree(t, dir); !slices.Equal(after, before) {
			t.Errorf("there are %v, there were %v", after, before)
		}
	}
	wantFile(t, n.path("other"), operators)
	empty()
	if err := n.Write("other", firstText, true); err != nil {
		t.Fatal(err)
	}
	fill(t, dir)
	if err := n.Remove("other"); err != nil {
		t.Fatal(err)
	}
	wantFile(t, n.path("other"), operators)
}

func TestProcessDiskFull(t *testing.T) {
	dir, _ := fullDisk(t)
	for name, before := range map[string]string{"none": "-", "empty": "", "file": operators} {
		root := filepath.Join(dir, name)
		path := filepath.Join(root, "etc/resolv.conf")
		if before == "-" {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
		} else {
			write(t, path, before)
		}
	}
	fill(t, dir)
	long := firstText + string(make([]byte, 8<<10))
	for name, before := range map[string]string{"none": "-", "empty": "", "file": operators} {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		p := Process{Root: f, Kept: filepath.Join(t.TempDir(), "kept"), Mark: Mark("")}
		if err := p.Write(long); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%s: error is %v, want that of a full disk", name, err)
		}
		wantFile(t, filepath.Join(dir, name, "etc/resolv.conf"), before)
		if _, err := os.Lstat(p.Kept); !os.IsNotExist(err) {
			t.Errorf("%s: something was kept: %v", name, err)
		}
		f.Close()
	}
}
