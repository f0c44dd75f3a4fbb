package link

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// CreateNamed makes a network namespace as `ip netns add` does and returns
// the file in NamedDir that stands for it. Its lo is down. The error wraps
// os.ErrExist if the name is taken; nothing is left behind on any error.
func CreateNamed(name string) (path string, err error) {
	if name == "" || name == "." || name == ".." || strings.Contains(name, "/") {
		return "", fmt.Errorf("network namespace %q: not a file name", name)
	}
	if err := shareNamedDir(); err != nil {
		return "", err
	}
	path = filepath.Join(NamedDir, name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return "", fmt.Errorf("network namespace %s: %w", name, err)
	}
	f.Close() //nolint:errcheck // an empty file that is only a mount point
	err = onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := unix.Mount(ownNamespace, path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind mount: %w", err)
		}
		return nil
	})
	if err != nil {
		return "", errors.Join(fmt.Errorf("network namespace %s: %w", name, err), RemoveNamed(name))
	}
	return path, nil
}

// RemoveNamed takes a namespace's name away, as `ip netns del` does; the
// kernel destroys the namespace when nothing uses it any more. One that is
// missing is success.
func RemoveNamed(name string) error {
	path := filepath.Join(NamedDir, name)
	err := unix.Unmount(path, unix.MNT_DETACH)
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) { // EINVAL: not a mount point
		return fmt.Errorf("unmount network namespace %s: %w", name, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove network namespace: %w", err)
	}
	return nil
}

// shareNamedDir makes NamedDir the shared mount that `ip netns` expects, so
// that a name taken away is gone in every mount namespace.
func shareNamedDir() error {
	if err := os.MkdirAll(NamedDir, 0o755); err != nil {
		return err
	}
	unlock, err := lockDir(NamedDir) // as iproute2 does
	if err != nil {
		return err
	}
	defer unlock()
	err = unix.Mount("", NamedDir, "", unix.MS_SHARED|unix.MS_REC, "")
	if errors.Is(err, unix.EINVAL) { // not a mount yet
		if err := unix.Mount(NamedDir, NamedDir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("bind mount %s: %w", NamedDir, err)
		}
		err = unix.Mount("", NamedDir, "", unix.MS_SHARED|unix.MS_REC, "")
	}
	if err != nil {
		return fmt.Errorf("share %s: %w", NamedDir, err)
	}
	return nil
}

// lockDir waits until no other process holds the lock on the folder as it is
// now; something mounted over it while waiting does not matter.
func lockDir(path string) (unlock func(), err error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(dir.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		dir.Close() //nolint:errcheck // read only
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { dir.Close() }, nil //nolint:errcheck // closing unlocks
}
