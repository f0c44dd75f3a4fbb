package linktest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link"
)

// Namespace is a named network namespace: `ip netns exec NAME` finds it, and
// so does `nsenter --net=PATH`, which keeps /sys/fs/bpf visible.
type Namespace struct {
	// Name is the full name, unique on this machine.
	Name string
	// NetnsPath is the file that stands for it, below /run/netns.
	NetnsPath string
}

// newNamespace makes a namespace of that name, with lo up.
func newNamespace(name string) (*Namespace, error) {
	path, err := link.CreateNamed(name)
	if err != nil {
		return nil, err
	}
	ns := &Namespace{Name: name, NetnsPath: path}
	if err := ns.Do(func() error { return setUp("lo") }); err != nil {
		return nil, errors.Join(fmt.Errorf("network namespace %s: %w", name, err), ns.Delete())
	}
	return ns, nil
}

// Do runs fn in the namespace, as link.Namespace's Do does: on a thread of its
// own, so that only what fn does itself happens there, not what goroutines do
// that it starts. FailNow and Fatal work in fn.
func (ns *Namespace) Do(fn func() error) error {
	n, err := link.OpenNamed(ns.NetnsPath)
	if err != nil {
		return err
	}
	defer n.Close() //nolint:errcheck // read only
	return n.Do(fn)
}

// Command is exec.CommandContext inside the namespace. The process started
// becomes the command itself, so that signals and its PID are the command's.
func (ns *Namespace) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + ns.NetnsPath, "--", name}, args...)...)
}

// Delete removes the namespace, as `ip netns del` does; one that is gone
// already is no error. The lab need not be closed for it.
func (ns *Namespace) Delete() error { return link.RemoveNamed(ns.Name) }

// processes returns "NAME (PID n)" for each process inside the namespace.
func (ns *Namespace) processes() []string {
	var want unix.Stat_t
	if unix.Stat(ns.NetnsPath, &want) != nil {
		return nil
	}
	var out []string
	dirs, _ := filepath.Glob("/proc/[0-9]*") // the pattern is well-formed
	for _, dir := range dirs {
		var have unix.Stat_t
		if unix.Stat(dir+"/ns/net", &have) != nil || have.Dev != want.Dev || have.Ino != want.Ino {
			continue
		}
		comm, err := os.ReadFile(dir + "/comm")
		if err != nil {
			continue // it ended just now
		}
		out = append(out, fmt.Sprintf("%s (PID %s)", strings.TrimSpace(string(comm)), filepath.Base(dir)))
	}
	return out
}

// setUp brings a device of the calling thread's namespace up.
func setUp(name string) error {
	d, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := netlink.LinkSetUp(d); err != nil {
		return fmt.Errorf("%s: set up: %w", name, err)
	}
	return nil
}
