package config

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrLocked is wrapped by errors that say another process runs the instance.
var ErrLocked = errors.New("instance is already running")

// LockedError names the process that runs the instance. It wraps ErrLocked.
type LockedError struct {
	Instance string
	// PID is 0 where it could not be read.
	PID int
}

// Error says which instance and process.
func (e *LockedError) Error() string {
	name := "the default instance"
	if e.Instance != "" {
		name = fmt.Sprintf("instance %q", e.Instance)
	}
	if e.PID == 0 {
		return name + " is already running"
	}
	return fmt.Sprintf("%s is already running (pid %d)", name, e.PID)
}

// Unwrap returns ErrLocked.
func (e *LockedError) Unwrap() error { return ErrLocked }

// Lock is held by the one process that may run an instance, change its
// folders or clean them up. The kernel releases it when the process ends,
// however it ends.
type Lock struct {
	cfg  Config
	file *os.File
}

// Acquire takes the lock of c's instance, making its run folder (0700) if it
// is not there. It never waits: held by another process, the error is a
// *LockedError.
func Acquire(c Config) (*Lock, error) {
	for {
		// The last holder may be removing the folder: a call can then find
		// it there, and the next one not.
		err := os.MkdirAll(c.RunDir(), 0o700)
		if errors.Is(err, fs.ErrExist) && !isFile(c.RunDir()) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("run folder: %w", err)
		}
		f, err := os.OpenFile(lockPath(c), os.O_RDWR|os.O_CREATE, 0o600)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("lock: %w", err)
		}
		if err := fcntl(f, unix.F_OFD_SETLK, wholeFile()); err != nil {
			pid := readPID(f)
			f.Close()
			if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
				return nil, &LockedError{Instance: c.Instance, PID: pid}
			}
			return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		// Between open and lock the last holder may have removed the file:
		// what is locked then is a file that nobody else will find.
		if !samePath(f) {
			f.Close()
			continue
		}
		if err := writePID(f); err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		return &Lock{cfg: c, file: f}, nil
	}
}

// Config returns the configuration that the lock was acquired for.
func (l *Lock) Config() Config { return l.cfg }

// Release gives the instance up. It may be called twice.
func (l *Lock) Release() error {
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

// RemoveRunDir removes the run folder, the lock's own file last. From then on
// the instance is given up: another process can make the folder and the lock
// anew. Release is still due.
func (l *Lock) RemoveRunDir() error {
	dir := l.cfg.RunDir()
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("run folder: %w", err)
	}
	for _, e := range entries {
		if e.Name() == lockName {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("run folder: %w", err)
		}
	}
	if err := os.Remove(lockPath(l.cfg)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("run folder: %w", err)
	}
	// Another process may have made its lock file in the folder by now; the
	// folder is then that one's.
	if err := os.Remove(dir); err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("run folder: %w", err)
	}
	return nil
}

// Holder returns the process that holds the lock of c's instance; ok is false
// if none does.
func Holder(c Config) (pid int, ok bool, err error) {
	f, err := os.Open(lockPath(c))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("lock: %w", err)
	}
	defer f.Close()
	l := wholeFile()
	if err := fcntl(f, unix.F_OFD_GETLK, l); err != nil {
		return 0, false, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	if l.Type == unix.F_UNLCK {
		return 0, false, nil
	}
	return readPID(f), true, nil
}

// WaitReleased returns when no process holds the lock of c's instance, or
// with ctx's error.
func WaitReleased(ctx context.Context, c Config) error {
	// A file lock cannot be waited for together with a context.
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		_, held, err := Holder(c)
		if err != nil || !held {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

const lockName = "lock"

func lockPath(c Config) string { return filepath.Join(c.RunDir(), lockName) }

// wholeFile asks for a write lock of the open file description (Linux 3.15):
// unlike a POSIX lock it is not lost when another descriptor of the file is
// closed, and unlike flock it can be looked at without taking it.
func wholeFile() *unix.Flock_t { return &unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart} }

func fcntl(f *os.File, cmd int, l *unix.Flock_t) error {
	for {
		if err := unix.FcntlFlock(f.Fd(), cmd, l); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func isFile(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && !info.IsDir()
}

func samePath(f *os.File) bool {
	ours, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(f.Name())
	return err == nil && os.SameFile(ours, there)
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

func readPID(f *os.File) int {
	b := make([]byte, 32)
	n, _ := f.ReadAt(b, 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil {
		return 0
	}
	return pid
}
