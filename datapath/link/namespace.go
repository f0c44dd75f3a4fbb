package link

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// NamedDir is where named network namespaces live, as `ip netns` has them.
const NamedDir = "/run/netns"

// ownNamespace is the calling thread's. It is not /proc/self: that is the
// main thread's, and the caller may run on one that has moved.
const ownNamespace = "/proc/thread-self/ns/net"

// Namespace is a network namespace that is held open, so that it stays the
// same one until Close, whatever happens to the name or process it was
// opened by; or, from UnseenPID, one that cannot be opened.
type Namespace struct {
	path  string
	file  *os.File // nil where only pid is known
	pid   int
	id    fileID
	close func() error
}

// fileID tells namespaces apart: their inode numbers are unique on one nsfs,
// whose device number is the same for all.
type fileID struct{ dev, ino uint64 }

// OpenNamed opens the network namespace of that name in NamedDir, or, if
// there is a slash in it, the one that the path leads to. The error wraps
// ErrNoNamespace if there is none.
func OpenNamed(nameOrPath string) (*Namespace, error) {
	path := nameOrPath
	if !strings.Contains(path, "/") {
		path = filepath.Join(NamedDir, path)
	}
	if nameOrPath == "" || nameOrPath == "." || nameOrPath == ".." {
		return nil, fmt.Errorf("%w: %q is no name", ErrNoNamespace, nameOrPath)
	}
	ns, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("network namespace %s: %w", nameOrPath, err)
	}
	return ns, nil
}

// OpenPID opens the network namespace of a process. The error wraps
// ErrNoNamespace if there is no such process.
func OpenPID(pid int) (*Namespace, error) {
	ns, err := open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return nil, fmt.Errorf("network namespace of process %d: %w", pid, err)
	}
	return ns, nil
}

// UnseenPID stands for the network namespace of a process that the caller may
// not look into: that takes the process's capabilities, or CAP_SYS_PTRACE
// (ptrace(2), "Ptrace access mode checking"). Interfaces can be put there all
// the same. inode is what somebody says who may look. It cannot be entered, and
// Present only sees that there is such a process.
func UnseenPID(pid int, inode uint64) *Namespace {
	return &Namespace{
		path: fmt.Sprintf("/proc/%d/ns/net", pid), pid: pid, id: fileID{ino: inode},
		close: func() error { return nil },
	}
}

// asPeer is how rtnetlink is told of it.
func (n *Namespace) asPeer() any {
	if n.file == nil {
		return netlink.NsPid(n.pid)
	}
	return netlink.NsFd(n.file.Fd())
}

func open(path string) (*Namespace, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO must not block
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, fmt.Errorf("%w: %s is not there", ErrNoNamespace, path)
	}
	if err != nil {
		return nil, err
	}
	if kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE); err != nil || kind != unix.CLONE_NEWNET {
		f.Close() //nolint:errcheck // read only
		return nil, fmt.Errorf("%w: %s is something else", ErrNoNamespace, path)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		f.Close() //nolint:errcheck // read only
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &Namespace{path: path, file: f, id: idOf(&st), close: sync.OnceValue(f.Close)}, nil
}

func idOf(st *unix.Stat_t) fileID { return fileID{st.Dev, st.Ino} }

// Path returns the file that it was opened by.
func (n *Namespace) Path() string { return n.path }

// Inode returns the number by which the kernel names it: `ls -i`, and
// "net:[4026531840]" in /proc. It is not used again while n is open.
func (n *Namespace) Inode() uint64 { return n.id.ino }

// Current reports whether it is the calling thread's own.
func (n *Namespace) Current() (bool, error) { return n.is(ownNamespace) }

// Present returns an error that wraps ErrNoNamespace unless the name or
// process that it was opened by still leads to it.
func (n *Namespace) Present() error {
	if n.file == nil {
		if err := unix.Kill(n.pid, 0); errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("%w: process %d is gone", ErrNoNamespace, n.pid)
		}
		return nil
	}
	same, err := n.is(n.path)
	if err == nil && !same {
		err = fmt.Errorf("%w: %s is another one now", ErrNoNamespace, n.path)
	}
	return err
}

func (n *Namespace) is(path string) (bool, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return false, fmt.Errorf("%w: %s is gone", ErrNoNamespace, path)
	} else if err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	return idOf(&st) == n.id, nil
}

// Do runs fn in the namespace, on a thread of its own that is thrown away
// afterwards, and returns its error. Only what fn does itself happens there,
// not what goroutines do that it starts; a socket or a process that it opens
// stays there. If fn ends its goroutine (runtime.Goexit, as in FailNow of a
// test), so does Do.
func (n *Namespace) Do(fn func() error) error {
	if n.file == nil {
		return fmt.Errorf("enter network namespace %s: %w", n.path, unix.EPERM)
	}
	return onOwnThread(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", n.path, err)
		}
		return fn()
	})
}

// Close lets go of the namespace. It may be called twice.
func (n *Namespace) Close() error { return n.close() }

// onOwnThread runs fn on a thread that nothing else will ever run on: the
// goroutine ends while it is locked to it, so that the runtime destroys the
// thread, and no way back into the old namespace has to succeed.
//
// The main thread is no such thread. The runtime cannot destroy it, only park
// it: it would hold the namespace for as long as the process lives, and be
// what /proc/PID/ns/net shows. So a goroutine that finds itself there holds it
// back until another has done the work.
func onOwnThread(fn func() error) error {
	var err error
	returned := false
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			defer runtime.UnlockOSThread()
			err = onOwnThread(fn)
		} else {
			err = fn()
		}
		returned = true
	}()
	<-done
	if !returned {
		runtime.Goexit()
	}
	return err
}
