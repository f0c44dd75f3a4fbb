package probe

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

func TestJudge(t *testing.T) {
	good := check{"first", func() error { return nil }}
	fails := func(err error) check { return check{"second", func() error { return err }} }
	for _, c := range []struct {
		name string
		err  error
		want Answer
		text string
	}{
		{"all is well", nil, Yes, "can do all"},
		{"says no itself", missingf("no CAP_BPF"), No, "second: no CAP_BPF"},
		{"kernel too old", fmt.Errorf("helper: %w", ebpf.ErrNotSupported), No, "cannot do it"},
		{"forbidden", fmt.Errorf("map: %w", unix.EPERM), No, "forbids"},
		{"says nothing", errors.New("out of memory"), Unknown, "second: out of memory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := judge(t.Context(), []check{good, fails(c.err)})
			if r.OK != c.want || !strings.Contains(r.Reason, c.text) {
				t.Errorf("judged %q because %q, want %q and %q in the reason", r.OK, r.Reason, c.want, c.text)
			}
		})
	}
}

func TestJudgeStops(t *testing.T) {
	var tried int
	count := check{"count", func() error { tried++; return missingf("gone") }}
	if judge(t.Context(), []check{count, count}); tried != 1 {
		t.Errorf("%d checks were tried after the first said no", tried)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := judge(ctx, []check{count}); r.OK != Unknown || tried != 1 {
		t.Errorf("cancelled: judged %q after %d checks", r.OK, tried)
	}
}

func TestBPFFS(t *testing.T) {
	dir := t.TempDir() + "/ovl/deeper"
	if err := bpffs(dir); !errors.Is(err, errMissing) || !strings.Contains(err.Error(), dir) {
		t.Errorf("a folder on disk: %v", err)
	}
}

func TestLockdownMode(t *testing.T) {
	for text, want := range map[string]string{
		"[none] integrity confidentiality\n": "",
		"none [integrity] confidentiality\n": " (it is locked down: integrity)",
		"":                                   "",
	} {
		if got := lockdownMode(text); got != want {
			t.Errorf("lockdownMode(%q) = %q, want %q", text, got, want)
		}
	}
}
