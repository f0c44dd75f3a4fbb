package resolvconf

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// inRoot is the file's path below a process's root.
const inRoot = "etc/" + fileName

// Process is the file below the root of a process.
type Process struct {
	// Root is the process's /proc/PID/root, open. The names and links below it are
	// whatever the process makes of them, and nothing leads out of it (RESOLVE_IN_ROOT
	// of openat2(2), Linux 5.6).
	Root *os.File
	// Kept is where what was there before is kept, a path outside of it.
	Kept string
	Mark string
}

// before is what Kept holds.
type before struct {
	// There: there was a file, with this content.
	There   bool   `json:"there"`
	Content []byte `json:"content,omitempty"`
}

// Write makes the file say text, and keeps what somebody else has written.
func (p Process) Write(text string) (err error) {
	f, content, err := p.open()
	there := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if there && string(content) == text {
		return f.Close()
	}
	if !there || !ours(p.Mark, content) {
		if err := p.keep(before{There: there, Content: content}); err != nil {
			return errors.Join(err, closeIf(f))
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, remove(p.Kept))
			}
		}()
	}
	if !there {
		if f, err = p.create(); err != nil {
			return err
		}
	}
	err = overwrite(f, content, []byte(text))
	if err != nil && !there {
		err = errors.Join(err, p.unlink())
	}
	return errors.Join(err, f.Close())
}

// Restore brings back what was there before the first Write. What somebody else has
// written since then stays.
func (p Process) Restore() error {
	b, err := os.ReadFile(p.Kept)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var was before
	if err := json.Unmarshal(b, &was); err != nil {
		return fmt.Errorf("%s: %w", p.Kept, err)
	}
	f, content, err := p.open()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = nil // somebody wants none
	case err != nil:
		return err
	case !ours(p.Mark, content):
		err = f.Close()
	case was.There:
		err = errors.Join(overwrite(f, content, was.Content), f.Close())
	default:
		err = errors.Join(p.unlink(), f.Close())
	}
	if err != nil {
		return err
	}
	return remove(p.Kept)
}

// keep puts what was there to the disk before it is overwritten.
func (p Process) keep(b before) error {
	text, err := json.Marshal(b)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(p.Kept), 0o700); err != nil {
		return err
	}
	fresh := p.Kept + ".new"
	f, err := os.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(text); err == nil {
		err = f.Sync() // it outlives what is overwritten
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(fresh, p.Kept)
	}
	if err != nil {
		return errors.Join(err, remove(fresh))
	}
	return nil
}

// open returns the file and what it holds. It is looked at before it is opened: what
// is no file may do anything when it is.
func (p Process) open() (*os.File, []byte, error) {
	at, err := p.openat(inRoot, unix.O_PATH, 0)
	if err != nil {
		return nil, nil, err
	}
	defer at.Close()
	info, err := at.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("/%s of the process: %w: it is no file", inRoot, ErrOdd)
	}
	f, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(int(at.Fd())), os.O_RDWR, 0)
	if err != nil {
		return nil, nil, pathError("open", err)
	}
	content, err := read(f)
	if err != nil {
		return nil, nil, errors.Join(pathError("read", err), f.Close())
	}
	return f, content, nil
}

func (p Process) create() (*os.File, error) {
	return p.openat(inRoot, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o644)
}

func (p Process) unlink() error {
	dir, err := p.openat(filepath.Dir(inRoot), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	return pathError("remove", unix.Unlinkat(int(dir.Fd()), fileName, 0))
}

// openat opens what a path is to the process.
func (p Process) openat(path string, flags, mode uint64) (*os.File, error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Mode: mode, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for {
		fd, err := unix.Openat2(int(p.Root.Fd()), path, &how)
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), path), nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
			// EAGAIN: something was renamed meanwhile (openat2(2)).
		case errors.Is(err, unix.ENOSYS):
			return nil, fmt.Errorf("openat2(2), since Linux 5.6: %w", errors.ErrUnsupported)
		default:
			return nil, pathError("open", err)
		}
	}
}

// pathError says which file it is about, as the process has it.
func pathError(op string, err error) error {
	if err == nil {
		return nil
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return &fs.PathError{Op: op, Path: "/" + inRoot + " of the process", Err: err}
}

func closeIf(f *os.File) error {
	if f == nil {
		return nil
	}
	return f.Close()
}
