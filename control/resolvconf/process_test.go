package resolvconf

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// newProcess has a folder for its root, and beside it a file that it must not
// reach.
func newProcess(t *testing.T) (p Process, root, outside string) {
	t.Helper()
	dir := t.TempDir()
	root, outside = filepath.Join(dir, "root"), filepath.Join(dir, "outside")
	if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, outside, "not the container's\n")
	f, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return Process{Root: f, Kept: filepath.Join(dir, "kept", "7-1"), Mark: Mark("")}, root, outside
}

func TestProcess(t *testing.T) {
	for name, before := range map[string]string{"file": operators, "long": strings.Repeat(operators, 9), "empty": "", "none": "-", "no newline": "nameserver 192.0.2.53"} {
		t.Run(name, func(t *testing.T) {
			p, root, _ := newProcess(t)
			path := filepath.Join(root, "etc/resolv.conf")
			if before != "-" {
				write(t, path, before)
			}
			for range 2 {
				for _, text := range []string{firstText, secondText, secondText, firstText} {
					if err := p.Write(text); err != nil {
						t.Fatal(err)
					}
					wantFile(t, path, text)
					wantUntouched(t, path, func() error { return p.Write(text) })
				}
				for range 2 {
					if err := p.Restore(); err != nil {
						t.Fatal(err)
					}
					wantFile(t, path, before)
				}
				if left := tree(t, filepath.Dir(p.Kept)); len(left) > 0 {
					t.Errorf("kept are still %v", left)
				}
			}
		})
	}
}

// It stays the same file: it may be a mount.
func TestProcessStaysTheFile(t *testing.T) {
	p, root, _ := newProcess(t)
	mount := filepath.Join(root, "etc/resolv.conf")
	write(t, mount, operators)
	host := filepath.Join(root, "..", "host-side")
	if err := os.Link(mount, host); err != nil {
		t.Fatal(err)
	}
	if err := p.Write(firstText); err != nil {
		t.Fatal(err)
	}
	wantFile(t, host, firstText)
	if err := p.Restore(); err != nil {
		t.Fatal(err)
	}
	wantFile(t, host, operators)
}

// A container that leads its resolv.conf out of its root is not followed.
func TestProcessLeadsOut(t *testing.T) {
	for _, there := range []bool{true, false} {
		for name, link := range map[string]struct {
			path, to string
			// inside is where it leads within the root.
			inside string
		}{
			"absolute":           {"etc/resolv.conf", "/outside", "outside"},
			"relative":           {"etc/resolv.conf", "../../../../outside", "outside"},
			"folder":             {"etc", "../..", "resolv.conf"},
			"magic":              {"etc/resolv.conf", "/proc/self/root/outside", "proc/self/root/outside"},
			"as distributions":   {"etc/resolv.conf", "../run/resolve/stub.conf", "run/resolve/stub.conf"},
			"a link to the same": {"etc/resolv.conf", "resolv.conf", ""},
		} {
			t.Run(name, func(t *testing.T) {
				p, root, outside := newProcess(t)
				at := filepath.Join(root, link.path)
				if err := os.RemoveAll(at); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(link.to, at); err != nil {
					t.Fatal(err)
				}
				write(t, filepath.Join(filepath.Dir(root), "resolv.conf"), "nor this one\n")
				inside := filepath.Join(root, link.inside)
				if there && link.inside != "" {
					write(t, inside, operators)
				}
				err := p.Write(firstText)
				if there && link.inside != "" {
					if err != nil {
						t.Fatal(err)
					}
					wantFile(t, inside, firstText)
				} else if name != "folder" && err == nil {
					t.Error("a link to nothing was written through")
				}
				wantFile(t, outside, "not the container's\n")
				wantFile(t, filepath.Join(filepath.Dir(root), "resolv.conf"), "nor this one\n")
				if err := p.Restore(); err != nil && link.inside != "" {
					t.Error(err)
				}
				if there && link.inside != "" {
					wantFile(t, inside, operators)
				}
				if to, err := os.Readlink(at); err != nil || to != link.to {
					t.Errorf("the link leads to %q now, %v", to, err)
				}
			})
		}
	}
}

// What is no file is not opened, and what cannot be kept not overwritten.
func TestProcessOdd(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"pipe":   func(path string) error { return unix.Mkfifo(path, 0o644) },
		"folder": func(path string) error { return os.Mkdir(path, 0o755) },
		"huge":   func(path string) error { return os.WriteFile(path, make([]byte, maxFile+1), 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			p, root, _ := newProcess(t)
			if err := put(filepath.Join(root, "etc/resolv.conf")); err != nil {
				t.Fatal(err)
			}
			if err := p.Write(firstText); !errors.Is(err, ErrOdd) {
				t.Errorf("error is %v, want ErrOdd", err)
			} else if strings.Contains(err.Error(), root) || strings.Contains(err.Error(), "/proc/self") {
				t.Errorf("the error tells of the host's paths: %v", err)
			}
			if _, err := os.Lstat(p.Kept); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("something was kept: %v", err)
			}
		})
	}
	t.Run("no etc", func(t *testing.T) {
		p, root, _ := newProcess(t)
		if err := os.Remove(filepath.Join(root, "etc")); err != nil {
			t.Fatal(err)
		}
		if err := p.Write(firstText); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("error is %v", err)
		}
		if left := tree(t, filepath.Dir(p.Kept)); len(left) > 0 {
			t.Errorf("kept are %v", left)
		}
	})
}

// What somebody else writes while ours is there stays.
func TestProcessEdited(t *testing.T) {
	p, root, _ := newProcess(t)
	path := filepath.Join(root, "etc/resolv.conf")
	write(t, path, operators)
	if err := p.Write(firstText); err != nil {
		t.Fatal(err)
	}
	write(t, path, "nameserver 192.0.2.54\n")
	if err := p.Restore(); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, "nameserver 192.0.2.54\n")

	if err := p.Write(firstText); err != nil {
		t.Fatal(err)
	}
	write(t, path, "nameserver 192.0.2.55\n")
	if err := p.Write(secondText); err != nil {
		t.Fatal(err)
	}
	if err := p.Restore(); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, "nameserver 192.0.2.55\n")

	if err := p.Write(firstText); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := p.Restore(); err != nil {
		t.Fatal(err)
	}
	if got := tree(t, filepath.Join(root, "etc")); !slices.Equal(got, nil) {
		t.Errorf("there are %v", got)
	}
}
