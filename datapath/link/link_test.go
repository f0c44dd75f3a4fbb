package link_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

func TestMain(m *testing.M) { linktest.VerifyNoLeaks(m) }

func TestCheckName(t *testing.T) {
	for name, ok := range map[string]bool{
		"eth0": true, "a": true, "ovl0123456789": true, "fifteen-bytes.1": true, "eth0.5": true, "x@y": true,
		"": false, "sixteen-bytes.12": false, ".": false, "..": false, "all": false, "default": false,
		"a/b": false, "a b": false, "a:1": false, "eth%d": false, "é": false, "a\n": false, "a\x00": false,
	} {
		err := link.CheckName(name)
		if (err == nil) != ok {
			t.Errorf("CheckName(%q) = %v", name, err)
		}
		if err != nil && !errors.Is(err, link.ErrName) {
			t.Errorf("CheckName(%q): %v does not wrap ErrName", name, err)
		}
	}
}

func TestDumpRetriesInterruption(t *testing.T) {
	other := errors.New("other")
	for _, c := range []struct {
		name        string
		interrupted int
		then        error
		calls       int
		want        error
	}{
		{"at once", 0, nil, 1, nil},
		{"interrupted", 3, nil, 4, nil},
		{"other error", 0, other, 1, other},
		{"other error later", 2, other, 3, other},
		{"always", 1000, nil, 10, netlink.ErrDumpInterrupted},
	} {
		t.Run(c.name, func(t *testing.T) {
			calls := 0
			got, err := link.Dump(func() (int, error) {
				if calls++; calls <= c.interrupted {
					return -1, fmt.Errorf("list: %w", netlink.ErrDumpInterrupted)
				}
				return calls, c.then
			})
			if calls != c.calls || !errors.Is(err, c.want) || (err == nil && got != c.calls) {
				t.Errorf("%d calls, result %d, %v; want %d calls, %v", calls, got, err, c.calls, c.want)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", ".", "..", "ovl-no-such-namespace", dir, file, file + "/x", fifo, "/proc/self/ns/uts"} {
		if ns, err := link.OpenNamed(name); !errors.Is(err, link.ErrNoNamespace) {
			t.Errorf("OpenNamed(%q) = %v, %v; want ErrNoNamespace", name, ns, err)
		}
	}
	for _, pid := range []int{-1, 0, 1 << 30} {
		if ns, err := link.OpenPID(pid); !errors.Is(err, link.ErrNoNamespace) || !strings.Contains(err.Error(), fmt.Sprint(pid)) {
			t.Errorf("OpenPID(%d) = %v, %v; want ErrNoNamespace", pid, ns, err)
		}
	}
}

func TestOpenOwn(t *testing.T) {
	ns, err := link.OpenPID(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if own, err := ns.Current(); err != nil || !own {
		t.Errorf("Current() = %v, %v", own, err)
	}
	if err := ns.Present(); err != nil {
		t.Error(err)
	}
	target, err := os.Readlink(ns.Path())
	if want := fmt.Sprintf("net:[%d]", ns.Inode()); err != nil || target != want {
		t.Errorf("%s leads to %s, %v; Inode says %s", ns.Path(), target, err, want)
	}
	for range 2 {
		if err := ns.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
}

// TestDoSparesMainThread: the main thread can be parked only, and would hold
// the namespace for good.
func TestDoSparesMainThread(t *testing.T) {
	ns, err := link.OpenPID(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	for range 200 { // one of so many goroutines starts on the main thread
		tid := make(chan int, 1)
		done := make(chan error, 1)
		go func() {
			done <- ns.Do(func() error { tid <- unix.Gettid(); return errors.ErrUnsupported })
		}()
		err := <-done
		if errors.Is(err, os.ErrPermission) {
			t.Skip("may not enter a network namespace, not even its own")
		}
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Fatal(err)
		}
		if <-tid == os.Getpid() {
			t.Fatal("Do used the main thread")
		}
	}
}

func TestRemovalsOfMessages(t *testing.T) {
	message := func(kind uint16, family uint8, name string) syscall.NetlinkMessage {
		data := make([]byte, unix.SizeofIfInfomsg)
		data[0] = family
		if name != "" {
			data = append(data, byte(4+len(name)+1), 0, unix.IFLA_IFNAME, 0)
			data = append(data, name...)
			for data = append(data, 0); len(data)%4 != 0; {
				data = append(data, 0)
			}
		}
		return syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: kind}, Data: data}
	}
	got := link.Removals([]syscall.NetlinkMessage{
		message(unix.RTM_DELLINK, unix.AF_UNSPEC, "gone0"),
		message(unix.RTM_NEWLINK, unix.AF_UNSPEC, "new0"),
		message(unix.RTM_DELLINK, unix.AF_BRIDGE, "port0"),
		{Header: syscall.NlMsghdr{Type: unix.RTM_DELLINK}, Data: []byte{0, 0}},
		message(unix.RTM_DELLINK, unix.AF_UNSPEC, "gone1"),
	})
	if want := "[gone0 gone1]"; fmt.Sprint(got) != want {
		t.Errorf("removals = %v, want %s", got, want)
	}
}
