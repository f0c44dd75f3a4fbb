package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/control/api"
)

// TestDiskFull: a change that cannot be kept is refused, whole; what was there
// before goes on, and with room again so does everything else. An agent that
// finds no room for its state does not come up.
func TestDiskFull(t *testing.T) {
	c := newRunning(t, 1)
	h := c.hosts[0]
	h.must("down")
	disk(t, h, 16<<10)
	if err := h.begin().await(); err == nil || !strings.Contains(h.log.String(), unix.ENOSPC.Error()) {
		t.Errorf("on a disk of four pages: %v:\n%s", err, h.log.String())
	}
	if left := h.leftovers(); len(left) != 1 { // the folder, which is a mount
		t.Errorf("left behind by the agent that did not come up: %v", left)
	}

	disk(t, h, 1<<20)
	h.up()
	h.must("network", "create", "first")
	e := h.attach("first", "c1")
	filler := h.dataDir() + "/filler"
	if err := fill(filler); err != nil {
		t.Fatal(err)
	}

	// The file has room of its own for a while.
	refused := ""
	var names []string
	for i := 0; refused == ""; i++ {
		name := fmt.Sprintf("n%d", i)
		_, stderr, err := h.ctl("network", "create", name, "--label", "filler="+strings.Repeat("x", 250))
		if err != nil {
			refused = name
			if strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, unix.ENOSPC.Error()) {
				t.Errorf("refused with %q, want one line that says why", stderr)
			}
		}
		names = append(names, name)
	}
	t.Logf("%d networks fitted before", len(names)-1)
	ns := c.lab.Endpoint("c2")
	if stdout, stderr, err := h.ctl("attach", "first", "--netns", ns.Name, "--name", "c2"); err == nil || !strings.Contains(stderr, unix.ENOSPC.Error()) {
		t.Errorf("attach on a full disk: %v: %s%s", err, stdout, stderr)
	}
	if devices, err := h.devices(); err != nil || len(devices) != 1 {
		t.Errorf("devices are %v, want that of c1 alone: %v", devices, err)
	}
	var list []api.Endpoint
	h.query(&list, "endpoint", "ls")
	if len(list) != 1 || list[0].Name != "c1" {
		t.Errorf("endpoints are %+v, want c1 alone", list)
	}
	if text := h.must("network", "ls"); strings.Contains(text, refused+" ") {
		t.Errorf("the network that was refused is there:\n%s", text)
	}

	// Killed and started on the full disk it has lost nothing, or says why it
	// does not run.
	h.kill()
	if err := h.begin().await(); err != nil && !strings.Contains(h.log.String(), unix.ENOSPC.Error()) {
		t.Errorf("the agent ends on a full disk and does not say why: %v", err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if !h.running() {
		h.up()
	}
	h.query(&list, "endpoint", "ls")
	if len(list) != 1 || list[0].ID != e.info.ID {
		t.Errorf("with room again the endpoints are %+v, want c1 alone", list)
	}
	h.must("network", "create", refused)
	var second api.Endpoint
	h.query(&second, "attach", "first", "--netns", ns.Name, "--name", "c2", "--ip", "10.0.0.3")
	if second.Addresses[0].String() != "10.0.0.3/24" {
		t.Errorf("c2 has %v", second.Addresses)
	}
	h.stop()
}

// disk puts one of that size under the host's data folder. It is gone when the
// test ends, and so is what the folder held.
func disk(t *testing.T, h *host, size int) {
	t.Helper()
	path := h.dataDir()
	_ = unix.Unmount(path, 0) // an earlier one
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("ovl-e2e", path, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Fatalf("mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		h.kill()
		_ = unix.Unmount(path, 0) // one of several
	})
}

// fill writes a file until nothing more fits.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	page := make([]byte, os.Getpagesize())
	for {
		if _, err := f.Write(page); err != nil {
			return nil
		}
	}
}
