package resolvconf

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func addrs(text ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range text {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func TestText(t *testing.T) {
	for _, c := range []struct {
		name     string
		networks []Network
		want     string
	}{
		{"none", nil, ""},
		{"nobody answers", []Network{{Name: "blue"}}, ""},
		{"one", []Network{{"blue", addrs("10.0.0.1")}}, "nameserver 10.0.0.1\nsearch blue\noptions ndots:0\n"},
		{"both families", []Network{{"blue", addrs("10.0.0.1", "fd00::1")}}, "nameserver 10.0.0.1\nnameserver fd00::1\nsearch blue\noptions ndots:0\n"},
		{
			"the second network comes before the first one's second address",
			[]Network{{"red", addrs("10.0.1.1", "fd00:1::1")}, {"blue", addrs("10.0.0.1", "fd00::1")}},
			"nameserver 10.0.1.1\nnameserver 10.0.0.1\nnameserver fd00:1::1\nsearch red blue\noptions ndots:0\n",
		},
		{
			"more than are read",
			[]Network{{"a", addrs("10.0.0.1")}, {"b", nil}, {"c", addrs("10.0.2.1")}, {"d", addrs("fd00::1")}, {"e", addrs("10.0.4.1")}},
			"nameserver 10.0.0.1\nnameserver 10.0.2.1\nnameserver fd00::1\nsearch a c d e\noptions ndots:0\n",
		},
		{
			"two networks with one subnet",
			[]Network{{"red", addrs("10.0.0.1")}, {"blue", addrs("10.0.0.1", "fd00::1")}},
			"nameserver 10.0.0.1\nnameserver fd00::1\nsearch red blue\noptions ndots:0\n",
		},
		{
			"one network twice",
			[]Network{{"red", addrs("10.0.0.1")}, {"red", addrs("10.0.0.1")}},
			"nameserver 10.0.0.1\nsearch red\noptions ndots:0\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Text(Mark("h1"), c.networks)
			if c.want != "" {
				c.want = "# by ovl, instance h1: written anew at each attach and detach\n" + c.want
			}
			if got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// One instance's files are not another's, whose name begins as its own does.
func TestMarksDiffer(t *testing.T) {
	for _, one := range []string{"", "h", "h1"} {
		for _, other := range []string{"", "h", "h1"} {
			if got := ours(Mark(one), []byte(Mark(other)+"nameserver 10.0.0.1\n")); got != (one == other) {
				t.Errorf("a file of instance %q is %q's: %v", other, one, got)
			}
		}
	}
}

func TestOverwrite(t *testing.T) {
	for _, c := range []struct{ was, is string }{{"", "new\n"}, {"long, longer\n", "new\n"}, {"x", "new\n"}, {"some\n", ""}} {
		path := filepath.Join(t.TempDir(), "f")
		write(t, path, c.was)
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := overwrite(f, []byte(c.was), []byte(c.is)); err != nil {
			t.Error(err)
		}
		f.Close()
		wantFile(t, path, c.is)
	}
}

// Nobody reads the end of what was there behind what there is now.
func TestCover(t *testing.T) {
	for _, c := range [][3]string{{"", "new\n", "new\n"}, {"longer\n", "new\n", "new\n\n\n\n"}, {"x\n", "", "\n\n"}} {
		if got := string(cover([]byte(c[0]), []byte(c[1]))); got != c[2] {
			t.Errorf("%q over %q is %q, want %q", c[1], c[0], got, c[2])
		}
	}
}

// What cannot be written is as it was.
func TestOverwriteFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "was\n")
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := overwrite(f, []byte("was\n"), []byte("is\n")); err == nil {
		t.Error("a file that is open to be read only was written")
	}
	wantFile(t, path, "was\n")
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// wantUntouched wants do not to write the file.
func wantUntouched(t *testing.T, path string, do func() error) {
	t.Helper()
	long := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, long, long); err != nil {
		t.Fatal(err)
	}
	if err := do(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || !info.ModTime().Equal(long) {
		t.Errorf("%s was written for nothing: %v, %v", path, info.ModTime(), err)
	}
}

// wantFile wants content in the file, "-" for none.
func wantFile(t *testing.T, path, content string) {
	t.Helper()
	got, err := os.ReadFile(path)
	switch {
	case content == "-" && !os.IsNotExist(err):
		t.Errorf("%s is there: %q, %v", path, got, err)
	case content != "-" && (err != nil || string(got) != content):
		t.Errorf("%s is %q, %v; want %q", path, got, err, content)
	}
}

// tree returns what is below a folder, its own name cut off.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if path != dir && err == nil {
			out = append(out, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
