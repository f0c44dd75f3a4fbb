package e2e

import (
	"bytes"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// watcher pings a thousand times a second and tells afterwards for how long
// there was no connection.
type watcher struct {
	what   string
	out    bytes.Buffer
	finish func() error
}

// gap is what a watcher saw.
type gap struct {
	sent, received int
	// lost is the longest time between two pings that were answered, if some
	// between them were not, and late how long the slowest answer took.
	lost, late time.Duration
}

func startWatcher(t *testing.T, from, to *endpoint) *watcher {
	t.Helper()
	w := &watcher{what: from.info.Name + " to " + to.info.Name}
	cmd := from.Command(t.Context(), "ping", "-n", "-D", "-i", "0.001", "-W", "2", to.addr())
	cmd.Stdout, cmd.Stderr = &w.out, &w.out
	if err := cmd.Start(); err != nil {
		t.Fatalf("ping: %v", err)
	}
	w.finish = func() error {
		_ = cmd.Process.Signal(unix.SIGINT) // it then prints its summary
		return cmd.Wait()
	}
	return w
}

// stopWhole ends it and wants every reply.
func (w *watcher) stopWhole(t *testing.T) {
	t.Helper()
	if g := w.stop(t); g.lost > 0 {
		t.Errorf("%s: packets are lost over %v", w.what, g.lost)
	}
}

var pingReply = regexp.MustCompile(`(?m)^\[([0-9.]+)\] .*icmp_seq=(\d+) .*time=([0-9.]+) ms`)

// stop ends it.
func (w *watcher) stop(t *testing.T) gap {
	t.Helper()
	time.Sleep(100 * time.Millisecond) // for what is on its way
	err := w.finish()
	text := w.out.String()
	m := pingSummary.FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("%s: ping: %v: %.500s", w.what, err, text)
	}
	var g gap
	g.sent, _ = strconv.Atoi(m[1])
	g.received, _ = strconv.Atoi(m[2])
	at := make(map[int]time.Duration) // when each that was answered had been sent
	for line := range strings.Lines(text) {
		m := pingReply.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		received, _ := strconv.ParseFloat(m[1], 64)
		seq, _ := strconv.Atoi(m[2])
		ms, _ := strconv.ParseFloat(m[3], 64)
		took := time.Duration(ms * float64(time.Millisecond))
		at[seq] = time.Duration(received*float64(time.Second)) - took
		g.late = max(g.late, took)
	}
	last := 0
	for _, seq := range slices.Sorted(maps.Keys(at)) {
		if last > 0 && seq > last+1 {
			g.lost = max(g.lost, at[seq]-at[last])
		}
		last = seq
	}
	t.Logf("%s: %d of %d pings came back, at worst none for %v, at the latest after %v", w.what, g.received, g.sent, g.lost, g.late)
	if last == 0 || last < g.sent-200 {
		t.Errorf("%s: the last ping that was answered is number %d of %d", w.what, last, g.sent)
	}
	return g
}
