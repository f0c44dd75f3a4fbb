package resolvconf

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

const (
	firstText  = "# by ovl: written anew at each attach and detach\nnameserver 10.0.0.1\n"
	secondText = "# by ovl: written anew at each attach and detach\nnameserver 10.0.0.1\nnameserver 10.0.1.1\n"
	operators  = "nameserver 192.0.2.53\n"
)

func TestNamed(t *testing.T) {
	etc := t.TempDir()
	dir := filepath.Join(etc, "netns")
	n := NewNamed(dir, "")
	path := filepath.Join(dir, "c1", "resolv.conf")
	for range 2 {
		for _, text := range []string{firstText, secondText, secondText, firstText} {
			if err := n.Write("c1", text, false); err != nil {
				t.Fatal(err)
			}
			wantFile(t, path, text)
			wantUntouched(t, path, func() error { return n.Write("c1", text, false) })
			if got, want := tree(t, filepath.Join(dir, "c1")), []string{"resolv.conf"}; !slices.Equal(got, want) {
				t.Errorf("the namespace's folder has %v, want %v: `ip netns exec` mounts all of it", got, want)
			}
			if got, err := n.List(); err != nil || !slices.Equal(got, []string{"c1"}) {
				t.Errorf("namespaces are %v, %v", got, err)
			}
		}
		for range 2 {
			if err := n.Remove("c1"); err != nil {
				t.Fatal(err)
			}
		}
		if left := tree(t, etc); len(left) > 0 {
			t.Fatalf("left behind: %v", left)
		}
	}
}

// A folder that the operator has made stays.
func TestNamedFolder(t *testing.T) {
	etc := t.TempDir()
	n := NewNamed(filepath.Join(etc, "netns"), "")
	if err := os.MkdirAll(filepath.Join(n.dir, "c1"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := n.Write("c1", firstText, false); err != nil {
		t.Fatal(err)
	}
	if err := n.Remove("c1"); err != nil {
		t.Fatal(err)
	}
	if left, want := tree(t, etc), []string{"netns", "netns/c1"}; !slices.Equal(left, want) {
		t.Errorf("there are %v, want %v", left, want)
	}
}

// A process that has the file mounted sees what is written into it.
func TestNamedStaysTheFile(t *testing.T) {
	n := NewNamed(filepath.Join(t.TempDir(), "netns"), "")
	if err := n.Write("c1", firstText, false); err != nil {
		t.Fatal(err)
	}
	mounted, err := os.Open(n.path("c1"))
	if err != nil {
		t.Fatal(err)
	}
	defer mounted.Close()
	if err := n.Write("c1", secondText, false); err != nil {
		t.Fatal(err)
	}
	if got, err := read(mounted); err != nil || string(got) != secondText {
		t.Errorf("who had it open reads %q, %v", got, err)
	}
}

func TestNamedOperators(t *testing.T) {
	for _, c := range []struct {
		name string
		// make puts the operator's file at path.
		make func(path string) error
	}{
		{"file", func(path string) error { return os.WriteFile(path, []byte(operators), 0o640) }},
		{"link", func(path string) error {
			if err := os.WriteFile(path+".real", []byte(operators), 0o640); err != nil {
				return err
			}
			return os.Symlink(filepath.Base(path)+".real", path)
		}},
		{"another instance's", func(path string) error { return os.WriteFile(path, []byte(Mark("h2")), 0o640) }},
		{"empty", func(path string) error { return os.WriteFile(path, nil, 0o640) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			etc := t.TempDir()
			n := NewNamed(filepath.Join(etc, "netns"), "")
			path := n.path("c1")
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := c.make(path); err != nil {
				t.Fatal(err)
			}
			before, files := describe(t, path), tree(t, etc)
			check := func(when string) {
				t.Helper()
				if now := describe(t, path); now != before {
					t.Errorf("%s the operator's file is %s, it was %s", when, now, before)
				}
				if now := tree(t, etc); !slices.Equal(now, files) {
					t.Errorf("%s there are %v, there were %v", when, now, files)
				}
			}
			if err := n.Write("c1", firstText, false); !errors.Is(err, ErrNotOurs) {
				t.Errorf("error is %v, want ErrNotOurs", err)
			}
			check("after a refusal")
			if err := n.Remove("c1"); err != nil {
				t.Error(err)
			}
			check("after a detach")
			for _, text := range []string{firstText, secondText} {
				if err := n.Write("c1", text, true); err != nil {
					t.Fatal(err)
				}
				wantFile(t, path, text)
			}
			// Replaced once, it stays so until the last detach.
			if err := n.Write("c1", firstText, false); err != nil {
				t.Fatal(err)
			}
			wantFile(t, path, firstText)
			if err := n.Remove("c1"); err != nil {
				t.Fatal(err)
			}
			check("after all")
		})
	}
}

// What the operator writes while ours is there is what he wants.
func TestNamedEdited(t *testing.T) {
	etc := t.TempDir()
	n := NewNamed(filepath.Join(etc, "netns"), "")
	path := n.path("c1")
	write(t, path, operators)
	if err := n.Write("c1", firstText, true); err != nil {
		t.Fatal(err)
	}
	write(t, path, "nameserver 192.0.2.54\n")
	if err := n.Write("c1", secondText, false); !errors.Is(err, ErrNotOurs) {
		t.Errorf("error is %v, want ErrNotOurs", err)
	}
	if err := n.Write("c1", secondText, true); err != nil {
		t.Fatal(err)
	}
	if err := n.Remove("c1"); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, "nameserver 192.0.2.54\n")

	if err := n.Write("c1", firstText, true); err != nil {
		t.Fatal(err)
	}
	write(t, path, operators)
	if err := n.Remove("c1"); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, operators)
	if _, err := os.Lstat(n.aside); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", n.aside, err)
	}
}

// A crash between any two steps of Write leaves something that Remove and another
// Write get along with.
func TestNamedCrash(t *testing.T) {
	steps := map[string]func(n Named) error{
		"nothing but the folder aside": func(n Named) error { return os.MkdirAll(filepath.Join(n.aside, "c1"), 0o755) },
		"folder": func(n Named) error {
			return errors.Join(os.MkdirAll(filepath.Join(n.aside, "c1"), 0o755), os.WriteFile(n.folder("c1"), nil, 0o644), os.Mkdir(filepath.Dir(n.path("c1")), 0o755))
		},
		"new": func(n Named) error {
			return errors.Join(os.MkdirAll(filepath.Join(n.aside, "c1"), 0o755), os.WriteFile(n.folder("c1"), nil, 0o644), os.Mkdir(filepath.Dir(n.path("c1")), 0o755),
				os.WriteFile(filepath.Join(n.aside, "c1", "new"), []byte("# by"), 0o644))
		},
	}
	for name, crash := range steps {
		t.Run(name, func(t *testing.T) {
			for _, again := range []bool{false, true} {
				etc := t.TempDir()
				n := NewNamed(filepath.Join(etc, "netns"), "")
				if err := crash(n); err != nil {
					t.Fatal(err)
				}
				if again {
					if err := n.Write("c1", firstText, false); err != nil {
						t.Fatal(err)
					}
					wantFile(t, n.path("c1"), firstText)
				}
				if err := n.Remove("c1"); err != nil {
					t.Fatal(err)
				}
				if left := tree(t, etc); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
			}
		})
	}
	t.Run("kept", func(t *testing.T) {
		for _, again := range []bool{false, true} {
			etc := t.TempDir()
			n := NewNamed(filepath.Join(etc, "netns"), "")
			write(t, n.path("c1"), operators)
			write(t, filepath.Join(n.aside, "c1", "new"), firstText)
			if err := os.Link(n.path("c1"), n.before("c1")); err != nil {
				t.Fatal(err)
			}
			if again {
				if err := n.Write("c1", firstText, true); err != nil {
					t.Fatal(err)
				}
			}
			if err := n.Remove("c1"); err != nil {
				t.Fatal(err)
			}
			wantFile(t, n.path("c1"), operators)
			if _, err := os.Lstat(n.aside); !os.IsNotExist(err) {
				t.Errorf("%s is left: %v", n.aside, err)
			}
		}
	})
}

// What cannot be written leaves nothing half-done.
func TestNamedFails(t *testing.T) {
	for name, odd := range map[string]func(n Named) error{
		"the namespace's folder is a file": func(n Named) error {
			return errors.Join(os.MkdirAll(n.dir, 0o755), os.WriteFile(filepath.Join(n.dir, "c1"), nil, 0o644))
		},
		"the file is a folder": func(n Named) error { return os.MkdirAll(n.path("c1"), 0o755) },
		"the folder aside is a file": func(n Named) error {
			return errors.Join(os.MkdirAll(n.dir, 0o755), os.WriteFile(n.aside, nil, 0o644))
		},
	} {
		t.Run(name, func(t *testing.T) {
			etc := t.TempDir()
			n := NewNamed(filepath.Join(etc, "netns"), "")
			if err := odd(n); err != nil {
				t.Fatal(err)
			}
			before := tree(t, etc)
			if err := n.Write("c1", firstText, true); err == nil {
				t.Error("it was written")
			}
			if after := tree(t, etc); !slices.Equal(after, before) {
				t.Errorf("there are %v, there were %v", after, before)
			}
		})
	}
}

// describe tells files apart by all that an operator would miss.
func describe(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().String() + " " + info.ModTime().String() + " " + string(content)
}
