package contender

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/ovlnet/ovl/bench/crowd"
	"github.com/ovlnet/ovl/datapath/link"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// TestMain also is what the process of a crowd begins with: this program,
// started again.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == crowd.Subcommand {
		os.Exit(crowd.Main(os.Args[2:]))
	}
	linktest.VerifyNoLeaks(m)
}

const dead = 1<<22 + 1 // above any PID

func TestLeftoversOfAKilledBench(t *testing.T) {
	linktest.NeedRoot(t)
	instance := instanceName(dead, 1)
	for _, path := range instancePaths(instance) {
		if strings.HasPrefix(path, "/sys/") {
			continue // made only where there is a bpffs
		}
		if err := os.Mkdir(path, 0o700); err != nil { // a folder stands for a file, too
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Remove(path) })
		if found := instances(); !slices.Contains(found, instance) {
			t.Errorf("for %s, found %q", path, found)
		}
		if err := CheckLeftovers(); err == nil || !strings.Contains(err.Error(), instance) {
			t.Errorf("the leftover is not named: %v", err)
		}
		if err := removeInstance(t.Context(), Options{Ovlctl: "/nonexistent"}, instance); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", path, err)
		}
	}
}

func TestGatewaysOfAKilledBench(t *testing.T) {
	linktest.NeedRoot(t)
	instance := instanceName(dead, 1)
	name := "ovl-4096-" + instance
	if _, err := link.CreateNamed(name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = link.RemoveNamed(name) })
	if err := CheckLeftovers(); err == nil || !strings.Contains(err.Error(), instance) {
		t.Errorf("the leftover is not named: %v", err)
	}
	if err := removeInstance(t.Context(), Options{Ovlctl: "/nonexistent"}, instance); err != nil {
		t.Error(err)
	}
	if left := instanceNamespaces(instance); len(left) > 0 {
		t.Errorf("%q are still there", left)
	}
}

func TestFilesOfAKilledBench(t *testing.T) {
	linktest.NeedRoot(t)
	socket := (&wireguardTunnel{device: wireguardDevice(dead, 1)}).socket()
	for _, dir := range []string{logFolder(dead), socket} { // a folder stands for the socket, too
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Remove(dir) })
		if err := CheckLeftovers(); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s is not named: %v", dir, err)
		}
		if found := files(func(pid int) bool { return pid == dead }); !slices.Equal(found, []string{dir}) {
			t.Errorf("found %q, not %s", found, dir)
		}
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	}
	_ = os.Remove(wireguardSockets) // unless somebody has some there
}

func TestInstanceNames(t *testing.T) {
	name := instanceName(4194303, 2)
	if len(name) > 15 {
		t.Errorf("%s is longer than an instance's name may be", name)
	}
	if device := wireguardDevice(4194303, 2); len(device) > 15 {
		t.Errorf("%s is longer than a device's name may be", device)
	}
	if pid := instancePID(name); pid != 4194303 {
		t.Errorf("instancePID(%s) = %d", name, pid)
	}
	for _, other := range []string{"bench", "benchmark", "h1", ""} {
		if pid := instancePID(other); pid != 0 {
			t.Errorf("instancePID(%q) = %d: not one of bench's", other, pid)
		}
	}
}
