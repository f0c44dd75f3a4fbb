package main

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/config"
)

// TestSystemdIsTold: READY once the agent answers, after the line for the
// other hosts; STOPPING when it is told to end.
func TestSystemdIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	next := func() string {
		t.Helper()
		if err := systemd.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		n, err := systemd.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var stdout, stderr bytes.Buffer
	code := execute(ctx, host{
		stdout: &stdout,
		stderr: &stderr,
		getenv: func(string) string { return "" },
		euid:   func() int { return 0 },
		run: func(ctx context.Context, c config.Config, ready readyFunc) error {
			if c.Name != "h" || c.Instance != "i" {
				t.Errorf("agent got %+v", c)
			}
			ready(netip.MustParseAddrPort("[2001:db8::1]:7000"), "ovl1.x")
			if got := next(); got != "READY=1" {
				t.Errorf("systemd got %q, want READY=1", got)
			}
			cancel()
			if got := next(); got != "STOPPING=1" {
				t.Errorf("systemd got %q, want STOPPING=1", got)
			}
			return nil
		},
	}, []string{"up", "--name", "h", "--instance", "i"})
	if want := "ovlctl up --join [2001:db8::1]:7000 --token ovl1.x\n"; code != exitDone || stdout.String() != want {
		t.Errorf("exit code %d, standard output %q, want %q; standard error %q", code, stdout.String(), want, stderr.String())
	}
}

// TestCellsStayInTheirTable: what others named cannot break the rows apart.
func TestCellsStayInTheirTable(t *testing.T) {
	var b strings.Builder
	row(&b, "a\tb", "c\nd", "")
	if got, want := b.String(), "a b\tc d\t-\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWithoutNulls(t *testing.T) {
	type inner struct{ List []string }
	v := []inner{{}, {List: []string{"x"}}}
	got := withoutNulls(struct {
		A []inner
		B map[string]string
		C []string
	}{A: v})
	a := &app{output: formatJSON}
	var b bytes.Buffer
	a.stdout = &b
	if err := a.print(got, nil); err != nil {
		t.Fatal(err)
	}
	want := `{ "A": [ { "List": [] }, { "List": [ "x" ] } ], "B": {}, "C": [] }`
	if s := strings.Join(strings.Fields(b.String()), " "); s != want {
		t.Errorf("got %s, want %s", s, want)
	}
}
