package flow

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// file holds records for the next process. It is mapped into this one's memory:
// what is written to a record is in the file at once, however the process ends, and
// costs what writing to memory costs. It grows with what there is to remember, by
// writing zeros and not as a hole: where a file system is full, writing fails, but
// touching a hole kills.
type file struct {
	f   *os.File
	mem []byte // as much as the file may ever have

	mu   sync.Mutex // guards what follows
	room int        // records that the file has
	next int        // the first that nobody has ever had
	free []int      // others that nobody has
	err  error      // why it does not grow
}

// The first record is the header: what the file is, and when it was last told the
// time. Other layouts are to have other numbers.
const magic = "flows of ovl, 1\n"

// growth is how many records a file grows by.
const growth = 256

var zeros [growth * recordSize]byte

// createFile makes a file for so many records, in place of any that there is.
func createFile(path string, records int) (*file, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	t := &file{f: f, next: 1}
	t.mem, err = unix.Mmap(int(f.Fd()), 0, (1+records)*recordSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("map %s: %w", path, err), f.Close(), os.Remove(path))
	}
	if err := t.grow(); err != nil {
		return nil, errors.Join(err, t.close(), os.Remove(path))
	}
	copy(t.mem, magic)
	return t, nil
}

func (t *file) close() error { return errors.Join(unix.Munmap(t.mem), t.f.Close()) }

var errFull = errors.New("file of flows is full")

func (t *file) grow() error {
	n := min(growth, len(t.mem)/recordSize-t.room)
	if n == 0 {
		return errFull
	}
	if _, err := t.f.WriteAt(zeros[:n*recordSize], int64(t.room*recordSize)); err != nil {
		return err
	}
	t.room += n
	return nil
}

// take returns the number of a record that is nobody's, or 0. When the file could
// not grow, it is not tried again before somebody was told.
func (t *file) take() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if last := len(t.free) - 1; last >= 0 {
		n := t.free[last]
		t.free = t.free[:last]
		return n
	}
	if t.next == t.room {
		if t.err == nil {
			t.err = t.grow()
		}
		if t.err != nil {
			return 0
		}
	}
	t.next++
	return t.next - 1
}

// release erases a record, and gives it back.
func (t *file) release(n int) {
	t.record(n).erase()
	t.mu.Lock()
	t.free = append(t.free, n)
	t.mu.Unlock()
}

// record is one that was taken.
func (t *file) record(n int) record { return t.mem[n*recordSize:][:recordSize:recordSize] }

// tick sets the clock, and returns why the file did not grow since the last time.
func (t *file) tick(now time.Duration) error {
	t.record(0).setSeen(now)
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.err
	t.err = nil
	return err
}
