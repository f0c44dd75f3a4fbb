package linktest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// netnsDir is where iproute2 keeps named namespaces.
const netnsDir = "/run/netns"

// ownNetns is the calling thread's namespace. It is not /proc/self: that is
// the main thread's, and another thread may have moved.
const ownNetns = "/proc/thread-self/ns/net"

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
	ns := &Namespace{Name: name, NetnsPath: filepath.Join(netnsDir, name)}
	if err := shareNetnsDir(); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(ns.NetnsPath, os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return nil, fmt.Errorf("network namespace %s: %w", name, err)
	}
	f.Close() //nolint:errcheck // an empty file that is only a mount point
	err = onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := unix.Mount(ownNetns, ns.NetnsPath, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind mount: %w", err)
		}
		return setUp("lo")
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("network namespace %s: %w", name, err), ns.Delete())
	}
	return ns, nil
}

// shareNetnsDir makes netnsDir the shared mount that `ip netns` expects, so
// that a deleted namespace goes away in every mount namespace. The lock is
// the one that iproute2 takes.
func shareNetnsDir() error {
	if err := os.MkdirAll(netnsDir, 0o755); err != nil {
		return err
	}
	dir, err := os.Open(netnsDir)
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // read only
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", netnsDir, err)
	}
	err = unix.Mount("", netnsDir, "", unix.MS_SHARED|unix.MS_REC, "")
	if errors.Is(err, unix.EINVAL) { // not a mount yet
		if err := unix.Mount(netnsDir, netnsDir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("bind mount %s: %w", netnsDir, err)
		}
		err = unix.Mount("", netnsDir, "", unix.MS_SHARED|unix.MS_REC, "")
	}
	if err != nil {
		return fmt.Errorf("share %s: %w", netnsDir, err)
	}
	return nil
}

// Do runs fn in the namespace, on a thread of its own that is thrown away
// afterwards, and returns its error. Only what fn does itself happens there:
// not what goroutines do that it starts. A socket or a process that fn opens
// stays in the namespace. If fn ends its goroutine, as testing.T.FailNow
// does, Do ends the caller's.
func (ns *Namespace) Do(fn func() error) error {
	return onOwnThread(func() error {
		f, err := os.Open(ns.NetnsPath)
		if err != nil {
			return fmt.Errorf("enter network namespace %s: %w", ns.Name, err)
		}
		err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
		f.Close() //nolint:errcheck // read only
		if err != nil {
			return fmt.Errorf("enter network namespace %s: %w", ns.Name, err)
		}
		return fn()
	})
}

// onOwnThread runs fn on a thread that nothing else will ever run on: the
// goroutine ends while it is locked to it, so that the runtime destroys it
// and no way back has to succeed.
func onOwnThread(fn func() error) error {
	var err error
	returned := false
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		err = fn()
		returned = true
	}()
	<-done
	if !returned {
		runtime.Goexit()
	}
	return err
}

// Command is exec.CommandContext inside the namespace. The process started
// becomes the command itself, so that signals and its PID are the command's.
func (ns *Namespace) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + ns.NetnsPath, "--", name}, args...)...)
}

// Delete removes the namespace, as `ip netns del` does; one that is gone
// already is no error. The lab need not be closed for it.
func (ns *Namespace) Delete() error {
	if err := unix.Unmount(ns.NetnsPath, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount %s: %w", ns.NetnsPath, err)
	}
	if err := os.Remove(ns.NetnsPath); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove network namespace: %w", err)
	}
	return nil
}

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
