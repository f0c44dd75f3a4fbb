package store

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// Open opens the store at path, and makes it with a new node ID if there is
// none. Errors wrap ErrLocked or ErrDamaged where that is the reason.
func Open(path string, opt Options) (*Store, error) {
	opt = opt.withDefaults()
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		if err := create(path, opt); err != nil {
			return nil, fmt.Errorf("make state file %s: %w", path, err)
		}
	}
	db, err := openFile(path, opt)
	if err != nil {
		return nil, explain(path, err)
	}
	s := &Store{
		opt:    opt,
		log:    opt.Logger,
		db:     db,
		path:   path,
		acks:   map[string]Vector{},
		subs:   map[chan struct{}]struct{}{},
		alarms: map[AlarmReason]uint64{},
	}
	if err := s.load(); err != nil {
		return nil, errors.Join(explain(path, err), db.Close())
	}
	return s, nil
}

// explain adds the file and the remedy to an error of opening it.
func explain(path string, err error) error {
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("%w: %s", ErrLocked, path)
	case errors.Is(err, ErrDamaged):
		return fmt.Errorf("%s: %w; put back a copy made since the agent last ran, or move it away and join again as a new node", path, err)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		return explain(path, fmt.Errorf("%w: %w", ErrDamaged, err))
	default:
		return fmt.Errorf("open state file %s: %w", path, err)
	}
}

// create makes a new file beside path and links it there when it is whole, so
// that a file at path is always one that was finished, and an empty or
// half-made one is damage.
func create(path string, opt Options) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	id := opt.NodeID
	if id == "" {
		var b [16]byte
		rand.Read(b[:]) // never fails
		id = hex.EncodeToString(b[:])
	}
	if !validNodeID(id) {
		return fmt.Errorf("node ID %q is not 128 bits in lower-case hexadecimal", clip(id))
	}
	tmp, err := os.CreateTemp(dir, filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(tmp.Name())) }()
	if err := tmp.Close(); err != nil {
		return err
	}
	db, err := bbolt.Open(tmp.Name(), 0o600, &bbolt.Options{Timeout: opt.LockTimeout})
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{bucketStore, bucketRows, bucketVector, bucketLocal} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		b := tx.Bucket(bucketStore)
		if err := b.Put(keyFormat, []byte(formatLine)); err != nil {
			return err
		}
		return putJSON(b, keyIdentity, identity{NodeID: id})
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	// A second process may have been faster: its file stays.
	if err := os.Link(tmp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// openFile opens an existing file and makes sure that its pages are there.
func openFile(path string, opt Options) (db *bbolt.DB, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	// A finished file has two meta pages, a freelist and a root at least.
	if least := int64(4 * os.Getpagesize()); info.Size() < least {
		return nil, fmt.Errorf("%w: it has %d bytes, at least %d are needed", ErrDamaged, info.Size(), least)
	}
	var file *os.File
	err = guard(func() error {
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{
			Timeout: opt.LockTimeout,
			OpenFile: func(name string, flag int, perm os.FileMode) (*os.File, error) {
				f, err := os.OpenFile(name, flag, perm)
				file = f
				return f, err
			},
		})
		return err
	})
	if err != nil {
		if db == nil && file != nil {
			// bbolt may have left the file mapped, which keeps the lock.
			_ = syscall.Flock(int(file.Fd()), syscall.LOCK_UN)
			_ = file.Close()
		}
		return nil, err
	}
	return db, nil
}

// guard runs fn and turns a panic or a fault of a mapped page that the file
// does not have into ErrDamaged: bbolt trusts the pages that it reads.
func guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, p)
		}
	}()
	return fn()
}
