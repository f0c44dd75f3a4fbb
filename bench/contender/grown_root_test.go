package contender

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/bench/measure"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

const (
	testRemotes    = 50
	attachPatience = 5 * time.Second
)

// A crowd joins two real agents, its endpoints get into the maps of both by
// the way that every endpoint goes, and what is measured beside them works.
func TestGrownOvl(t *testing.T) {
	linktest.NeedRoot(t)
	c := &ovl{binary: buildOvlctl(t), first: 1, grows: true, remotes: testRemotes}
	lab, pair := setUpIn(t, c, 3)
	for _, a := range c.agents {
		// The remotes, the two that are measured, the gateway, and what VIPs have.
		if n := countEntries(t, "/sys/fs/bpf/ovl-"+a.instance+"/ovl_fdb"); n != testRemotes+4 {
			t.Errorf("%s has %d entries, want %d", a.instance, n, testRemotes+4)
		}
	}
	if c.Filled() <= 0 {
		t.Errorf("the tables were filled in %v", c.Filled())
	}
	u, err := c.Usage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if u.Processes < 1<<20 || u.Tables < 1<<10 {
		t.Errorf("an agent and its tables take %d and %d bytes", u.Processes, u.Tables)
	}
	for range 2 {
		attachOnce(t, c, lab, pair)
	}
}

// The same for the kernel's own tables: each remote is in both, at both hosts,
// and what Attach adds is gone after it.
func TestGrownVXLAN(t *testing.T) {
	linktest.NeedRoot(t)
	c := &kernelVXLAN{grows: true, remotes: testRemotes}
	lab, pair := setUpIn(t, c, 3)
	count := func() (n []int) {
		for _, end := range c.ends {
			for _, family := range []int{unix.AF_BRIDGE, unix.AF_INET} {
				err := end.host.Do(func() error {
					entries, err := netlink.NeighList(end.vxlan.Attrs().Index, family)
					n = append(n, len(slices.DeleteFunc(entries, func(e netlink.Neigh) bool {
						return e.State&netlink.NUD_PERMANENT == 0 || e.MasterIndex != 0
					})))
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		return n
	}
	// The forwarding table leads to the peer, too.
	want := []int{testRemotes + 1, testRemotes, testRemotes + 1, testRemotes}
	if got := count(); !slices.Equal(got, want) {
		t.Errorf("entries: %v, want %v", got, want)
	}
	for range 2 {
		attachOnce(t, c, lab, pair)
	}
	if got := count(); !slices.Equal(got, want) {
		t.Errorf("entries after detach: %v, want %v", got, want)
	}
}

// Contenders that stand side by side share no instance.
func TestGrowing(t *testing.T) {
	names, numbers := map[string]bool{}, map[int]bool{}
	for _, c := range Growing(Options{}, []int{10, 1000}) {
		names[c.Name()] = true
		if o, ok := c.(*ovl); ok {
			for _, number := range []int{o.first, o.first + 1} {
				if numbers[number] {
					t.Errorf("%s shares instance %d with another", c.Name(), number)
				}
				numbers[number] = true
			}
		}
	}
	for _, name := range []string{"ovl/10", "ovl/1000", "vxlan/10", "vxlan/1000"} {
		if !names[name] {
			t.Errorf("there is no %s among %v", name, names)
		}
	}
}

// attachOnce attaches an endpoint that the pair's client reaches, and detaches
// it.
func attachOnce(t *testing.T, c Contender, lab *linktest.Lab, pair measure.Pair) {
	t.Helper()
	e, detach, err := c.(Attacher).Attach(t.Context(), lab)
	if err != nil {
		t.Error(err)
	} else if err := measure.FirstReply(t.Context(), measure.Pair{Client: pair.Client, Server: e}, attachPatience); err != nil {
		t.Error(err)
	}
	if detach != nil {
		if err := detach(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// countEntries walks through a pinned map.
func countEntries(t *testing.T, path string) (n int) {
	t.Helper()
	m, err := ebpf.LoadPinnedMap(path, &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var key any
	for {
		next, err := m.NextKeyBytes(key)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			t.Fatal(err)
		}
		if next == nil {
			return n
		}
		key = next
		n++
	}
}

// buildOvlctl returns the path of an ovlctl of this source tree.
func buildOvlctl(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ovlctl")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", path, "../../cmd/ovlctl")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}
