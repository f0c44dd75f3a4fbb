package linktest

import (
	"bytes"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestMain(m *testing.M) { VerifyNoLeaks(m) }

func TestLabPID(t *testing.T) {
	for name, want := range map[string]int{
		"ovllab-12-1-h1": 12, "ovllab-7-20-ep-a": 7,
		"ovllab-": 0, "ovllab-x-1-h1": 0, "ovllab--1": 0, "ovllab-12": 0, "other-12-1": 0, "ovllab-0-1-h1": 0,
	} {
		if got, ok := labPID(name); ok != (want != 0) || (ok && got != want) {
			t.Errorf("labPID(%q) = %d, %v; want %d", name, got, ok, want)
		}
	}
}

func TestDescriptorKind(t *testing.T) {
	for target, want := range map[string]string{
		"socket:[4711]":          "socket",
		"pipe:[12]":              "pipe",
		"net:[4026531840]":       "net",
		"anon_inode:[eventfd]":   "anon_inode:[eventfd]",
		"anon_inode:bpf-map":     "anon_inode:bpf-map",
		"/dev/null":              "/dev/null",
		"/run/a:b (deleted)":     "/run/a:b (deleted)",
		"anon_inode:[eventpoll]": "anon_inode:[eventpoll]",
	} {
		if got := descriptorKind(target); got != want {
			t.Errorf("descriptorKind(%q) = %q, want %q", target, got, want)
		}
	}
}

func TestNamesProcess(t *testing.T) {
	for name, want := range map[string]bool{"ovllab-42-1-h1": true, "t42": true, "ovllab-421-1-h1": false, "ovllab-1-h": false} {
		if got := namesProcess(name, 42); got != want {
			t.Errorf("namesProcess(%q, 42) = %v, want %v", name, got, want)
		}
	}
}

// runFunc is a test run that does one thing.
type runFunc func() int

func (f runFunc) Run() int { return f() }

func TestVerifyFindsLeaks(t *testing.T) {
	var closers []func()
	for _, c := range []struct {
		name string
		leak func()
		want string
	}{
		{"nothing", func() {}, ""},
		{"socket", func() {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			closers = append(closers, func() { l.Close() })
		}, "descriptor socket (1)"},
		{"file", func() {
			f, err := os.Open(os.DevNull)
			if err != nil {
				t.Fatal(err)
			}
			closers = append(closers, func() { f.Close() })
		}, "descriptor /dev/null (1)"},
		{"goroutine", func() {
			stop := make(chan struct{})
			go func() { <-stop }()
			closers = append(closers, func() { close(stop) })
		}, "found unexpected goroutines"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			code := runAndVerify(runFunc(func() int { c.leak(); return 0 }), &out)
			for _, f := range closers {
				f()
			}
			closers = nil
			if (code != 0) != (c.want != "") || !strings.Contains(out.String(), c.want) {
				t.Errorf("exit %d, output %q; want %q in it", code, out.String(), c.want)
			}
		})
	}
}

func TestVerifyKeepsFailure(t *testing.T) {
	if code := runAndVerify(runFunc(func() int { return 2 }), os.Stderr); code != 2 {
		t.Errorf("exit %d, want the tests' own 2", code)
	}
}

func TestHoldingsLeaked(t *testing.T) {
	before := holdings{"descriptor socket": 2, "device lo": 1, "device gone": 1}
	got := before.leaked(holdings{"descriptor socket": 4, "device lo": 1, "device new": 1})
	if want := []string{"descriptor socket (2)", "device new (1)"}; !slices.Equal(got, want) {
		t.Errorf("leaked = %q, want %q", got, want)
	}
}
