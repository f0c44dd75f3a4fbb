package resolvconf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Named are the files of an instance in named namespaces:
//
//	/etc/netns/NAME/resolv.conf
//	/etc/netns/.ovl/NAME/       while that is ours
//	  before                    what was there, if anything was
//	  folder                    empty: /etc/netns/NAME was not there
//
// What is kept lies on the same file system, for renames, but not in /etc/netns/NAME:
// `ip netns exec` would complain of it. Another instance has .ovl-INSTANCE.
type Named struct {
	// dir is /etc/netns, and aside the folder in it that is the instance's.
	dir, aside string
	mark       string
}

// fileName is the file's below /etc and /etc/netns/NAME.
const fileName = "resolv.conf"

// NewNamed returns those of an instance, whose mark that is, in dir: /etc/netns.
func NewNamed(dir, instance string) Named {
	aside := ".ovl"
	if instance != "" {
		aside += "-" + instance
	}
	return Named{dir: dir, aside: filepath.Join(dir, aside), mark: Mark(instance)}
}

func (n Named) path(netns string) string   { return filepath.Join(n.dir, netns, fileName) }
func (n Named) before(netns string) string { return filepath.Join(n.aside, netns, "before") }
func (n Named) folder(netns string) string { return filepath.Join(n.aside, netns, "folder") }

// Write makes the file of a namespace say text. Somebody else's is ErrNotOurs,
// unless it shall be replaced.
func (n Named) Write(netns, text string, replace bool) error {
	f, content, err := n.open(netns)
	switch {
	case err == nil:
		defer f.Close()
		if string(content) == text {
			return nil
		}
		// Processes that run have it mounted: they see what is written into it,
		// and would not see another one of its name.
		return overwrite(f, content, []byte(text))
	case errors.Is(err, ErrNotOurs) && !replace:
		return err
	case !errors.Is(err, ErrNotOurs) && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := n.make(netns, text, errors.Is(err, ErrNotOurs)); err != nil {
		return errors.Join(err, n.Remove(netns))
	}
	return nil
}

// make puts a new file in the place of somebody else's, or of none.
func (n Named) make(netns, text string, replaces bool) error {
	if err := os.MkdirAll(filepath.Join(n.aside, netns), 0o755); err != nil {
		return err
	}
	folder := filepath.Dir(n.path(netns))
	if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
		if err := os.WriteFile(n.folder(netns), nil, 0o644); err != nil {
			return err
		}
		if err := os.Mkdir(folder, 0o755); err != nil {
			return err
		}
	}
	fresh := filepath.Join(n.aside, netns, "new")
	if err := os.WriteFile(fresh, []byte(text), 0o644); err != nil {
		return err
	}
	if replaces {
		// A link and not a rename, so that there is a file at any time. What was
		// kept of an earlier one is the older.
		if err := remove(n.before(netns)); err != nil {
			return err
		}
		if err := os.Link(n.path(netns), n.before(netns)); err != nil {
			return err
		}
	}
	return os.Rename(fresh, n.path(netns))
}

// Remove ends what Write began: what was there before is back. Somebody else's file stays, and
// is then all that there is.
func (n Named) Remove(netns string) error {
	f, _, err := n.open(netns)
	if err == nil {
		err = f.Close()
	}
	switch {
	case errors.Is(err, ErrNotOurs):
		err = nil
	case err == nil, errors.Is(err, fs.ErrNotExist):
		err = n.putBack(netns)
	}
	if err != nil {
		return err
	}
	if _, err := os.Lstat(n.folder(netns)); err == nil {
		if err := removeEmpty(filepath.Dir(n.path(netns))); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(filepath.Join(n.aside, netns)); err != nil {
		return err
	}
	if err := removeEmpty(n.aside); err != nil {
		return err
	}
	_ = removeEmpty(n.dir) // it may be a mount, and others may have put something there
	return nil
}

// putBack removes our file, or none, for what was there before.
func (n Named) putBack(netns string) error {
	if _, err := os.Lstat(n.before(netns)); err != nil { // nothing, but for a folder that is none
		return remove(n.path(netns))
	}
	if err := os.MkdirAll(filepath.Dir(n.path(netns)), 0o755); err != nil {
		return err
	}
	return os.Rename(n.before(netns), n.path(netns))
}

// List returns the namespaces where Write was and Remove was not.
func (n Named) List() ([]string, error) {
	entries, err := os.ReadDir(n.aside)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// open returns our file and what it holds, ErrNotOurs, or fs.ErrNotExist.
func (n Named) open(netns string) (*os.File, []byte, error) {
	path := n.path(netns)
	info, err := os.Lstat(path)
	if err != nil {
		return nil, nil, err
	}
	notOurs := fmt.Errorf("%s: %w", path, ErrNotOurs)
	if info.IsDir() {
		return nil, nil, fmt.Errorf("%s: %w: it is a folder", path, ErrOdd)
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, nil, notOurs
	}
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	content, err := read(f)
	if err == nil && !ours(n.mark, content) {
		err = notOurs
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, content, nil
}

// remove removes a file, if it is there.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// removeEmpty removes a folder, if it is there and empty.
func removeEmpty(dir string) error {
	err := unix.Rmdir(dir)
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	return &fs.PathError{Op: "remove", Path: dir, Err: err}
}
