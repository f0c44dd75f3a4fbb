package e2e

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/link/linktest"
	"github.com/ovlnet/ovl/datapath/userspace/hold"
)

// wantDatapath checks what status says of it.
func (h *host) wantDatapath(kind datapath.Kind, reason string) {
	h.c.tb.Helper()
	var s api.Status
	if h.query(&s, "status"); s.Datapath.Kind != kind || !strings.Contains(s.Datapath.Reason, reason) || strings.Contains(s.Datapath.Reason, "\n") {
		h.c.tb.Errorf("%s runs the datapath %q because %q, want %q because of %q", h.name, s.Datapath.Kind, s.Datapath.Reason, kind, reason)
	}
}

// newMixed is a cluster of a kernel host and a userspace one, each with an
// endpoint.
func newMixed(t *testing.T) (h1, h2 *host, c1, c2 *endpoint) {
	linktest.NeedRoot(t)
	c := newCluster(t, linktest.Options{Hosts: 2})
	h1, h2 = c.hosts[0], c.hosts[1]
	h1.up()
	h2.up(append(h2.joinArgs(), "--datapath", "userspace")...)
	h2.wantDatapath(datapath.Userspace, "--datapath userspace")
	h1.must("network", "create", "shop")
	c1, c2 = h1.attach("shop", "c1"), h2.attach("shop", "c2")
	checkPings(t, c1, c2)
	return h1, h2, c1, c2
}

// TestUserspaceRestarts: what is sent while there is no agent waits for the
// next one.
func TestUserspaceRestarts(t *testing.T) {
	_, h2, c1, c2 := newMixed(t)
	near := h2.attach("shop", "near")
	for name, how := range map[string]unix.Signal{"stopped": unix.SIGTERM, "killed": unix.SIGKILL} {
		watchers := []*watcher{startWatcher(t, c1, c2), startWatcher(t, c2, c1), startWatcher(t, c2, near)}
		time.Sleep(200 * time.Millisecond)
		if err := h2.signal(how); err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond) // a new version has to be unpacked
		h2.up("--datapath", "userspace")
		time.Sleep(200 * time.Millisecond)
		for _, w := range watchers {
			if g := w.stop(t); g.lost > 50*time.Millisecond {
				t.Errorf("%s: %s: %v of packets are lost", name, w.what, g.lost)
			}
		}
		checkPings(t, c1, c2, near)
	}
}

// TestHolderDies: the agent goes on, and what it needs for its next start is
// held again; where both are killed, the next one comes up all the same.
func TestHolderDies(t *testing.T) {
	_, h2, c1, c2 := newMixed(t)
	// Twice: the second agent has its queues from the first.
	for range 2 {
		first, held := h2.holder(t)
		if len(held) == 0 {
			t.Fatal("nothing is held")
		}
		if err := unix.Kill(first, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		checkPings(t, c1, c2)
		within(t, "another holder has the same", time.Now(), 10*time.Second, func() error {
			if next, now := h2.holder(t); next == first || !slices.Equal(now, held) {
				return fmt.Errorf("process %d after %d holds %q after %q", next, first, now, held)
			}
			return nil
		})
		w := startWatcher(t, c1, c2)
		time.Sleep(200 * time.Millisecond)
		h2.stop()
		time.Sleep(300 * time.Millisecond)
		h2.up("--datapath", "userspace")
		time.Sleep(200 * time.Millisecond)
		if g := w.stop(t); g.lost > 50*time.Millisecond {
			t.Errorf("%v of packets are lost in a restart with the new holder", g.lost)
		}
	}

	h2.kill()
	pid, _ := h2.holder(t)
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	h2.up("--datapath", "userspace")
	checkPings(t, c1, c2)
}

// TestUserspaceDown: down takes everything away, whoever is still there.
func TestUserspaceDown(t *testing.T) {
	linktest.NeedRoot(t)
	c := newCluster(t, linktest.Options{Hosts: 1})
	h := c.hosts[0]
	for _, killed := range [][]string{{}, {"agent"}, {"holder"}, {"agent", "holder"}} {
		h.up("--datapath", "userspace")
		h.must("network", "create", "shop")
		e := h.attach("shop", "c"+strings.Join(killed, ""))
		holder, _ := h.holder(t)
		if slices.Contains(killed, "agent") {
			h.kill()
		}
		if slices.Contains(killed, "holder") {
			if err := unix.Kill(holder, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		if out, stderr, err := h.inside("down"); err != nil || out != "down\n" || stderr != "" {
			t.Errorf("down with no %v running: %v: %q %q", killed, err, out, stderr)
		}
		checkNothingLeft(t, h)
		within(t, "the holder has ended", time.Now(), 5*time.Second, func() error {
			if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", holder)); err == nil && !strings.Contains(string(stat), ") Z ") {
				return fmt.Errorf("it goes on: %s", stat)
			}
			return nil
		})
		if err := e.Delete(); err != nil {
			t.Error(err)
		}
	}
}

// holder is the process that holds for this host, and the names of what it holds.
func (h *host) holder(t *testing.T) (pid int, held []string) {
	t.Helper()
	for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		pid, files, err := h.askHolder()
		if err == nil {
			return pid, files
		}
		if time.Since(begin) > 10*time.Second {
			t.Fatalf("%s: %v", h.name, err)
		}
	}
}

func (h *host) askHolder() (pid int, held []string, err error) {
	c, err := hold.Dial(h.holderSocket())
	if err != nil {
		return 0, nil, err
	}
	defer c.Close() //nolint:errcheck // nothing was asked that could be lost
	files, err := c.All()
	for _, f := range files {
		_ = f.Close()
	}
	return c.PID(), slices.Sorted(maps.Keys(files)), err
}

// TestMoveDatapath: endpoints keep what they have while their host moves from
// one datapath to the other and back.
func TestMoveDatapath(t *testing.T) {
	c := newRunning(t, 2)
	h1, h2 := c.hosts[0], c.hosts[1]
	h1.must("network", "create", "shop")
	c1, c2 := h1.attach("shop", "c1"), h2.attach("shop", "c2")
	near := h2.attach("shop", "near")
	tcp := startIperf(t, c2, c1, "-t", "12", "-i", "0.5", "-b", "100M")

	for _, to := range []datapath.Kind{datapath.Userspace, datapath.Kernel, datapath.Userspace} {
		watchers := []*watcher{startWatcher(t, c1, c2), startWatcher(t, c2, near)}
		time.Sleep(200 * time.Millisecond)
		h2.stop()
		h2.up("--datapath", string(to))
		time.Sleep(200 * time.Millisecond)
		h2.wantDatapath(to, "--datapath")
		for _, w := range watchers {
			if g := w.stop(t); max(g.lost, g.late) >= time.Second {
				t.Errorf("to %s: %s: no connection for %v, answers up to %v late", to, w.what, g.lost, g.late)
			}
		}
		checkPings(t, c1, c2, near)
	}
	if s := tcp(); s.End.SumReceived.BitsPerSecond < 1e6 {
		t.Errorf("the connection that went on through it all has carried %.0f b/s", s.End.SumReceived.BitsPerSecond)
	}

	// A host that cannot move stays as it is.
	h2.stop()
	h2.up("--datapath", "kernel")
	h2.stop()
	h2.under = []string{"setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"}
	h2.mustNotCome(t, "CAP_NET_ADMIN", "--datapath", "userspace")
	checkPings(t, c1, c2)
	h2.under = nil
	h2.up()
}

// mustNotCome wants `up` to end by itself, and to say why.
func (h *host) mustNotCome(t *testing.T, why string, args ...string) {
	t.Helper()
	a := h.begin(args...)
	if err := a.await(); !errors.Is(err, errEnded) {
		t.Fatalf("%s: up %s: want it to refuse because of %q, and it came up or hangs: %v", h.name, strings.Join(args, " "), why, err)
	}
	if log := h.log.String(); !strings.Contains(log, why) {
		t.Errorf("%s: the log does not say %q:\n%s", h.name, why, log)
	}
}

// restricted is a way to run an agent in which it cannot have the kernel
// datapath.
type restricted struct {
	name  string
	under []string
	// reason is what has to be in the line that names what is missing.
	reason string
	// nameless: it may not make namespaces, so that nobody answers names.
	nameless bool
	// moves: it can remove the kernel datapath of an agent that had it.
	moves bool
}

// withoutEBPF lists them. CAP_SYS_ADMIN implies CAP_BPF, so they can only be
// dropped together.
func withoutEBPF(t *testing.T) []restricted {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []restricted{
		{"no CAP_BPF", []string{"setpriv", "--bounding-set=-bpf,-sys_admin", "--inh-caps=-bpf,-sys_admin"}, "CAP_BPF", true, true},
		{"CAP_NET_ADMIN alone", []string{"setpriv", "--bounding-set=-all,+net_admin", "--inh-caps=-all"}, "CAP_BPF", true, true},
		{"no bpffs", []string{
			"unshare", "--mount", "--propagation", "slave", "sh", "-c",
			"umount -l /sys/fs/bpf && exec \"$@\"", "sh", self, without, "mount",
		}, "BPF file system", true, false},
		{"bpf refused", []string{self, without, "bpf"}, "forbids", false, true},
	}
}

// TestFallsBack: where the kernel datapath cannot be had, auto takes the other
// and says why, also on a host that had it before.
func TestFallsBack(t *testing.T) {
	linktest.NeedRoot(t)
	for _, tt := range withoutEBPF(t) {
		t.Run(tt.name, func(t *testing.T) {
			c := newCluster(t, linktest.Options{Hosts: 2})
			h1, h2 := c.hosts[0], c.hosts[1]
			h1.up()
			h2.join()
			h2.wantDatapath(datapath.Kernel, "eBPF")
			h1.must("network", "create", "shop")
			c1, c2 := h1.attach("shop", "c1"), h2.attach("shop", "c2")
			h2.stop()
			h2.under = tt.under
			if tt.moves {
				h2.up()
				h2.wantDatapath(datapath.Userspace, tt.reason)
				checkPings(t, c1, c2)
			} else {
				h2.mustNotCome(t, "the kernel datapath of an earlier agent")
				checkPings(t, c1, c2)
				h2.under = nil
				h2.up()
			}

			// As the first thing that it ever ran.
			h2.must("down")
			checkNothingLeft(t, h2)
			h2.under = tt.under
			h2.mustNotCome(t, tt.reason, append(h2.joinArgs(), "--datapath", "kernel")...)
			checkNothingLeft(t, h2)
			h2.join()
			h2.wantDatapath(datapath.Userspace, tt.reason)
			checkPings(t, c1, h2.attach("shop", "new"))
		})
	}
}
