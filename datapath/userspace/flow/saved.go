package flow

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/ovlnet/ovl/datapath"
)

// A Memory that was opened has a file (file.go) with a record (record.go) of each
// flow to which something has come back, and of each client with affinity. The next
// process goes on with it, also if this one is killed: then flows are as they were
// when they were seen last, to a second. One that ends in peace writes the others
// too. Fragments are not worth it. The time in which there was no process does not
// count: nothing was there to hear packets.

// newSuffix is of the file that is to take the place of an earlier process's.
const newSuffix = ".new"

// Open is New with a file for flows, best on a tmpfs: it is written to all the time.
// If an earlier process has left one, its flows are gone on with, but for those that
// are damaged. The Memory is good whatever the error, which says what was lost, or
// that flows are to end with this process.
func Open(path string, o Options) (*Memory, error) {
	m := New(o)
	t, err := createFile(path+newSuffix, m.records())
	if err != nil {
		// What is there would be old for the process after this one.
		return m, errors.Join(m.loadFile(path), fmt.Errorf("flows are not kept: %w", err), Remove(path))
	}
	m.write(t)
	err = m.loadFile(path)
	if renameErr := os.Rename(path+newSuffix, path); renameErr != nil {
		err = errors.Join(err, fmt.Errorf("flows are not kept: %w", renameErr))
	}
	return m, err
}

// Remove removes a file of flows, if there is one.
func Remove(path string) error {
	var errs []error
	for _, p := range []string{path, path + newSuffix} {
		if err := os.Remove(p); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Tick is to be called every now and then, for the next process to know the time,
// by which flows are forgotten. It returns why flows were not written.
func (m *Memory) Tick() error {
	if m.file == nil {
		return nil
	}
	return m.file.tick(m.Now())
}

// Close writes all there is for the next process. Nothing is to be asked of the
// Memory after it but what it remembers.
func (m *Memory) Close() error {
	if m.file == nil {
		return nil
	}
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		for _, e := range s.forward {
			s.keep(e)
			e.record = 0
		}
		s.file = nil
		s.mu.Unlock()
	}
	m.affinity.observe(nil)
	err := errors.Join(m.Tick(), m.file.close())
	m.file = nil
	return err
}

// records is how many there can be.
func (m *Memory) records() int {
	n := m.affinity.most
	for i := range m.shards {
		n += m.shards[i].young.most + m.shards[i].old.most
	}
	return n
}

// write has a Memory of nothing write what it remembers from now on.
func (m *Memory) write(t *file) {
	m.file = t
	for i := range m.shards {
		m.shards[i].file = t
	}
	m.affinity.observe(func(i *item[client, string], same bool) {
		if i.record == 0 {
			i.record, same = t.take(), false
		}
		switch {
		case i.record == 0:
		case same:
			t.record(i.record).setSeen(i.seen)
		default:
			t.record(i.record).setClient(&i.key, i.value, i.seen)
		}
	})
}

// keep writes a flow, if there is a file that has room for it.
func (s *shard) keep(e *entry) {
	if s.file == nil || len(e.Backend) > maxID {
		return
	}
	if e.record == 0 {
		e.record = s.file.take()
	}
	if e.record != 0 {
		s.file.record(e.record).setFlow(&e.Flow)
	}
}

// note writes what has changed of a flow. One that nobody has answered is not kept.
func (s *shard) note(e *entry) {
	switch {
	case e.record != 0:
		s.file.record(e.record).update(&e.Flow)
	case e.State == datapath.FlowEstablished:
		s.keep(e)
	}
}

// drop takes a flow out of the file.
func (s *shard) drop(e *entry) {
	if e.record != 0 {
		s.file.release(e.record)
		e.record = 0
	}
}

func (m *Memory) loadFile(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = errors.Join(m.load(f), f.Close())
	}
	if err != nil {
		return fmt.Errorf("flows of an earlier process: %w", err)
	}
	return nil
}

// errForeign is of a file that is none of flows, or of another version.
var errForeign = errors.New("file has another format")

// load adds what a file has. What is damaged is left out, and nothing else.
func (m *Memory) load(r io.Reader) error {
	in := bufio.NewReaderSize(io.LimitReader(r, int64(1+m.records())*recordSize), 1<<16)
	header := make(record, recordSize)
	if _, err := io.ReadFull(in, header); err != nil || string(header[:len(magic)]) != magic {
		return errForeign
	}
	type lastSeen struct {
		client
		backend string
		seen    time.Duration
	}
	var flows []Flow
	var clients []lastSeen
	damaged := 0
	for next := make(record, recordSize); ; clear(next) {
		_, err := io.ReadFull(in, next)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		if next.empty() {
			continue
		}
		if f, ok := next.flow(); ok {
			flows = append(flows, f)
		} else if c, backend, ok := next.client(); ok {
			clients = append(clients, lastSeen{c, backend, next.seen()})
		} else {
			damaged++
		}
	}
	now, then := m.Now(), header.seen()
	idle := func(seen time.Duration) time.Duration { return max(0, then-seen) }
	// Those that were quiet the longest are pushed out first.
	slices.SortFunc(flows, func(a, b Flow) int { return cmp.Compare(idle(b.Seen), idle(a.Seen)) })
	slices.SortFunc(clients, func(a, b lastSeen) int { return cmp.Compare(idle(b.seen), idle(a.seen)) })
	for i := range flows {
		m.restore(&flows[i], idle(flows[i].Seen), now)
	}
	for _, c := range clients {
		m.affinity.put(c.client, c.backend, now-idle(c.seen))
	}
	if damaged > 0 {
		return fmt.Errorf("%d of %d are damaged and lost", damaged, damaged+len(flows)+len(clients))
	}
	return nil
}

// restore adds a flow that has been quiet for so long, unless there is another that
// has a key of it.
func (m *Memory) restore(f *Flow, idle, now time.Duration) {
	s := m.at(f.Forward.VNI, &f.Forward.Client, f.Forward.ClientPort)
	if s != m.behind(&f.Reverse, f.Self) {
		return // its port was chosen by other rules than ours
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.forward[f.Forward] != nil || s.reverse[f.Reverse] != nil {
		return
	}
	g := &s.young
	if f.State == datapath.FlowEstablished {
		g = &s.old
	}
	f.Seen = now - idle
	e := s.insert(*f, f.Seen, g, now)
	if f.State != datapath.FlowNew {
		s.keep(e)
	}
}
