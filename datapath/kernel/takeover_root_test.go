package kernel

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	ebpflink "github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"github.com/ovlnet/ovl/bpf"
	"github.com/ovlnet/ovl/datapath/link"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// TestTakeOver ends and begins the datapath of a host again and again under
// traffic: nothing is lost, whatever the next process finds.
func TestTakeOver(t *testing.T) { onUnderlays(t, linktest.Options{Hosts: 2}, testTakeOver) }

func testTakeOver(t *testing.T, o linktest.Options) {
	needTool(t, "iperf3")
	for name, hook := range hooksOn(o) {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, o, hook)
			a := b.attach(0, testVNI, "10.0.0.2/24")
			near := b.attach(0, testVNI, "10.0.0.3/24")
			far := b.attach(1, testVNI, "10.0.0.4/24")
			b.connect()
			h := b.hosts[0]

			echoes := []*echo{startEcho(t, a, far), startEcho(t, far, a), startEcho(t, a, near)}
			defer iperfServer(t, far.Namespace)()
			tcp := startIperf(t, a.Namespace, far.addr().String(), "-t", "2", "-i", "0.5")

			before := attachedTo(t, h)
			for _, next := range []func(){
				func() {},
				func() { replacePinnedMap(t, h, bpf.OvlMapOvlFdb) },
				func() { replacePinnedMap(t, h, bpf.OvlMapOvlConfig) },
				func() { replacePinnedMap(t, h, bpf.OvlMapOvlPeers) },
			} {
				h.close(t)
				next()
				time.Sleep(50 * time.Millisecond)
				h.open(t)
				// The old programs go on until the maps are filled.
				time.Sleep(50 * time.Millisecond)
				h.apply(t)
				after := attachedTo(t, h)
				checkTakenOver(t, before, after)
				before = after
				if drift := h.stats(t).Drift; drift != 0 {
					t.Errorf("the take-over counts as drift: %d", drift)
				}
			}

			for _, s := range tcp().Intervals {
				if s.Sum.BitsPerSecond < crawl {
					t.Errorf("TCP stood still for an interval: %+v", s.Sum)
				}
			}
			for _, e := range echoes {
				if sent, got := e.stop(); sent < 500 || got != sent {
					t.Errorf("%s: %d of %d echoes came back", e.name, got, sent)
				}
			}
		})
	}
}

// attachment is what the kernel tells of a program at its place.
type attachment struct {
	program ebpf.ProgramID
	link    ebpflink.ID // 0 for clsact
}

// attachedTo lists a host's programs.
func attachedTo(t *testing.T, h *bedHost) map[at]attachment {
	t.Helper()
	out := map[at]attachment{}
	err := h.Do(func() error {
		if h.opts.Hook == HookClsact {
			return filtersOf(out)
		}
		return linksOf(filepath.Join(h.opts.Dir, linksDir), out)
	})
	if err != nil {
		t.Fatalf("list attachments of %s: %v", h.Name, err)
	}
	return out
}

func linksOf(dir string, out map[at]attachment) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		l, err := ebpflink.LoadPinnedLink(filepath.Join(dir, e.Name()), nil)
		if err != nil {
			return err
		}
		info, err := l.Info()
		_ = l.Close()
		if err != nil {
			return err
		}
		a, _ := parsePin(e.Name())
		out[a] = attachment{info.Program, info.ID}
	}
	return nil
}

func filtersOf(out map[at]attachment) error {
	devices, err := netlink.LinkList()
	if err != nil {
		return err
	}
	for _, d := range devices {
		filters, err := netlink.FilterList(d, netlink.HANDLE_MIN_INGRESS)
		if err != nil {
			continue // no clsact
		}
		for _, f := range filters {
			if b, ok := f.(*netlink.BpfFilter); ok {
				out[at{b.Name, uint32(d.Attrs().Index)}] = attachment{program: ebpf.ProgramID(b.Id)}
			}
		}
	}
	return nil
}

// checkTakenOver wants other programs at the same places, by the same links.
func checkTakenOver(t *testing.T, before, after map[at]attachment) {
	t.Helper()
	if len(before) < 4 || len(after) != len(before) {
		t.Fatalf("attached before %v, after %v, want two programs and a port's two", before, after)
	}
	for a := range maps.Keys(before) {
		if after[a].link != before[a].link || after[a].program == before[a].program || after[a].program == 0 {
			t.Errorf("%v: %+v became %+v, want the same link and another program", a, before[a], after[a])
		}
	}
}

// replacePinnedMap puts a map in the place of one of ours that a program of
// another version might have left there.
func replacePinnedMap(t *testing.T, h *bedHost, name string) {
	t.Helper()
	path := filepath.Join(h.opts.Dir, name)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: name, Type: ebpf.Hash, KeySize: 24, ValueSize: 40, MaxEntries: 16,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Close() }()
	if err := m.Pin(path); err != nil {
		t.Fatal(err)
	}
}

// TestCloseLeavesForwarding: between the end of one process and the start of
// the next the host forwards, and Remove ends it.
func TestCloseLeavesForwarding(t *testing.T) {
	b := newBed(t, linktest.Options{Hosts: 2}, HookAuto)
	a := b.attach(0, testVNI, "10.0.0.2/24")
	far := b.attach(1, testVNI, "10.0.0.4/24")
	b.connect()
	for _, h := range b.hosts {
		h.close(t)
		h.close(t) // twice is no error
	}
	checkPing(t, a.Namespace, far.addr().String())
	if err := b.hosts[0].Do(func() error { return Remove(b.hosts[0].opts.Dir) }); err != nil {
		t.Fatal(err)
	}
	if out, err := tryRun(a.Namespace, "ping", "-n", "-c", "1", "-W", "1", far.addr().String()); err == nil {
		t.Errorf("a removed datapath forwards:\n%s", out)
	}
	err := b.hosts[0].Do(func() error {
		there, err := link.Exists(VXLANDevice)
		if there {
			t.Errorf("%s is there", VXLANDevice)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range b.hosts {
		h.open(t) // for the bed's log of a failure
	}
}
