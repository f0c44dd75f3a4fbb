package flow

import (
	"bytes"
	"cmp"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ovlnet/ovl/datapath"
)

// openMemory opens a Memory for so many flows of each generation.
func openMemory(t testing.TB, path string, c *clock, most int) *Memory {
	t.Helper()
	m, err := Open(path, Options{Young: most, Established: most, Clock: func() time.Time { return c.now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// anything does as endpoints do, at random, and returns the clients' keys.
func anything(t *rapid.T, m *Memory, c *clock) (keys []Key) {
	hits := map[Key]Hit{}
	anyKey := func() Key {
		k := key(rapid.SampledFrom([]uint32{tcp, udp}).Draw(t, "protocol"), uint16(rapid.IntRange(1, 30).Draw(t, "port"))*shards)
		if rapid.Bool().Draw(t, "other VIP") {
			k.Server = otherVIP
		}
		return k
	}
	packet := func() *Packet {
		p := m.packet()
		p.SYN, p.End = rapid.Bool().Draw(t, "SYN"), rapid.IntRange(0, 4).Draw(t, "end") == 0
		return p
	}
	for range rapid.IntRange(0, 60).Draw(t, "steps") {
		k := anyKey()
		switch rapid.IntRange(0, 5).Draw(t, "what") {
		case 0, 1:
			id, backend := "one", backend1
			if rapid.Bool().Draw(t, "itself") {
				id, backend = "itself", clientAddr
			}
			hits[k] = m.Add(&k, id, backend, 80, packet())
			if rapid.Bool().Draw(t, "affine") {
				m.SetClient(&k, id, m.Now())
			}
		case 2:
			m.Out(&k, packet())
		case 3:
			if h, known := hits[k]; known {
				m.Back(&h.Key, h.Self, packet())
			}
		case 4:
			m.Forget(&k)
		case 5:
			c.pass(time.Duration(rapid.IntRange(0, 5000).Draw(t, "ms")) * time.Millisecond)
		}
	}
	return slices.Collect(maps.Keys(hits))
}

func sorted(m *Memory) []datapath.Flow {
	flows := m.Flows()
	slices.SortFunc(flows, func(a, b datapath.Flow) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), a.Client.Compare(b.Client), a.VIP.Compare(b.VIP), a.Backend.Compare(b.Backend))
	})
	return flows
}

// checkFound wants every flow to be found by both sides.
func checkFound(t interface{ Fatalf(string, ...any) }, m *Memory) {
	for _, f := range m.All() {
		back := f.Reverse
		if !m.out(f.Forward) {
			t.Fatalf("not known by what the client sends: %+v", f)
		}
		if got, ok := m.Back(&back, f.Self, m.packet()); !ok || got.Key != f.Forward {
			t.Fatalf("not known by what the backend sends: %+v", f)
		}
	}
}

// TestClosed: the next process knows what the last one did, and time in which there
// was none does not count.
func TestClosed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flows")
	rapid.Check(t, func(r *rapid.T) {
		if err := Remove(path); err != nil {
			r.Fatal(err)
		}
		c := &clock{time.Unix(1000, 0)}
		m := openMemory(t, path, c, 4096)
		keys := anything(r, m, c)
		before := sorted(m)
		if err := errors.Join(m.Close(), m.Close()); err != nil {
			r.Fatal(err)
		}
		next := openMemory(t, path, &clock{c.now.Add(time.Hour)}, 4096)
		if after := sorted(next); !slices.Equal(before, after) {
			r.Fatalf("saved %+v, loaded %+v", before, after)
		}
		checkClients(r, keys, m, next)
		checkFound(r, next)
		if err := next.Close(); err != nil {
			r.Fatal(err)
		}
	})
}

// TestKilled: a process that is killed leaves every flow that was established, and
// every client with affinity; none that nobody has answered.
func TestKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flows")
	rapid.Check(t, func(r *rapid.T) {
		if err := Remove(path); err != nil {
			r.Fatal(err)
		}
		c := &clock{time.Unix(1000, 0)}
		m := openMemory(t, path, c, 4096)
		keys := anything(r, m, c)
		if err := m.Tick(); err != nil {
			r.Fatal(err)
		}
		next, _ := newMemory(4096, 4096)
		if err := next.loadFile(path); err != nil {
			r.Fatal(err)
		}
		// Those that began to close before they were answered need not be there.
		before, after := sorted(m), sorted(next)
		answered := func(f datapath.Flow) bool {
			return f.State == datapath.FlowEstablished || slices.ContainsFunc(after, func(a datapath.Flow) bool {
				return f.State == datapath.FlowClosing && a.Protocol == f.Protocol && a.Client == f.Client && a.VIP == f.VIP
			})
		}
		before = slices.DeleteFunc(before, func(f datapath.Flow) bool { return !answered(f) })
		if !slices.EqualFunc(before, after, func(b, a datapath.Flow) bool {
			same := a.Received.Packets > 0 && a.Sent.Packets <= b.Sent.Packets && a.Received.Bytes <= b.Received.Bytes
			a.Sent, a.Received = b.Sent, b.Received // to a second
			return same && a == b
		}) {
			r.Fatalf("left %+v, loaded %+v", before, after)
		}
		checkClients(r, keys, m, next)
		checkFound(r, next)
		if err := m.Close(); err != nil {
			r.Fatal(err)
		}
	})
}

// TestClosingKept: a connection whose one end has finished still goes where it went.
func TestClosingKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flows")
	m := openMemory(t, path, &clock{time.Unix(1000, 0)}, 4096)
	k := key(tcp, 40000)
	m.back(m.add(k))
	fin := m.packet()
	fin.End = true
	m.Out(&k, fin)
	next := openMemory(t, path, &clock{time.Unix(1000, 0)}, 4096)
	if all := next.All(); len(all) != 1 || all[0].State != datapath.FlowClosing || all[0].Sent.Packets != 2 {
		t.Errorf("flows %+v", all)
	}
}

// checkClients wants the clients of keys to have been where they were.
func checkClients(t *rapid.T, keys []Key, m, next *Memory) {
	for _, k := range keys {
		id, ok := m.Client(&k, m.Now(), time.Hour)
		if again, okAgain := next.Client(&k, next.Now(), time.Hour); again != id || okAgain != ok {
			t.Fatalf("client went to %q, after that to %q", id, again)
		}
	}
}

// twoFlows is what a process leaves that had two and a client, and was killed.
func twoFlows(t testing.TB) (left []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "flows")
	m := openMemory(t, path, &clock{time.Unix(1000, 0)}, 4096)
	k := key(tcp, 40000)
	m.back(m.add(k))
	m.back(m.add(key(tcp, 40001)))
	m.SetClient(&k, "one", m.Now())
	left, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return left
}

func record1(file []byte) record { return file[recordSize:][:recordSize] }

// TestDamaged: what is damaged is lost, and nothing else.
func TestDamaged(t *testing.T) {
	whole := twoFlows(t)
	first := func(change func(r record)) []byte {
		b := bytes.Clone(whole)
		change(record1(b))
		return b
	}
	resealed := func(change func(r record)) []byte { return first(func(r record) { change(r); r.seal() }) }
	for name, c := range map[string]struct {
		file    []byte
		flows   int
		clients bool
		says    string
	}{
		"nothing is":                 {whole, 2, true, ""},
		"an empty file":              {nil, 0, false, "another format"},
		"cut short in the header":    {whole[:recordSize-1], 0, false, "another format"},
		"another version":            {bytes.Replace(whole, []byte(", 1\n"), []byte(", 2\n"), 1), 0, false, "another format"},
		"flows as JSON":              {bytes.Repeat([]byte(`{"flows":[{}]}`), 1000), 0, false, "another format"},
		"cut short behind a flow":    {whole[:2*recordSize], 1, false, ""},
		"cut short in a flow":        {whole[:3*recordSize-1], 2, false, ""},
		"cut short in what is said":  {whole[:3*recordSize-40], 2, false, ""},
		"cut short in who it is":     {whole[:2*recordSize+60], 1, false, "1 of 2 are damaged"},
		"an address":                 {first(func(r record) { r[addrsAt+13]++ }), 1, true, "1 of 3 are damaged"},
		"an ID":                      {first(func(r record) { r[idAt]++ }), 1, true, "1 of 3 are damaged"},
		"a sum":                      {first(func(r record) { r[0]++ }), 1, true, "1 of 3 are damaged"},
		"another protocol":           {resealed(func(r record) { r[protocolAt] = 1 }), 1, true, "1 of 3 are damaged"},
		"another kind":               {resealed(func(r record) { r[kindAt] = 3 }), 1, true, "1 of 3 are damaged"},
		"two families":               {resealed(func(r record) { r[addrsAt] = 0xfd }), 1, true, "1 of 3 are damaged"},
		"a state that is none":       {first(func(r record) { r[stateAt] = 9 }), 1, true, "1 of 3 are damaged"},
		"a state that is large":      {first(func(r record) { r[stateAt+7] = 1 }), 1, true, "1 of 3 are damaged"},
		"seen in the future":         {first(func(r record) { r.setSeen(1 << 62) }), 2, true, ""},
		"seen before there was time": {first(func(r record) { r.setSeen(-1 << 63) }), 2, true, ""},
		"seen too long ago":          {first(func(r record) { r.setSeen(-3 * time.Hour) }), 1, true, ""},
		"the same twice":             {slices.Concat(whole, []byte(record1(whole))), 2, true, ""},
		"a client of two families": {func() []byte {
			b := bytes.Clone(whole)
			r := record(b[3*recordSize:][:recordSize])
			r[addrsAt] = 0xfd
			r.seal()
			return b
		}(), 2, false, "1 of 3 are damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "flows")
			if err := os.WriteFile(path, c.file, 0o600); err != nil {
				t.Fatal(err)
			}
			m, err := Open(path, Options{})
			if (c.says == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want %q", err, c.says)
			}
			k := key(tcp, 40000)
			_, known := m.Client(&k, m.Now(), time.Hour)
			if n := len(m.All()); n != c.flows || known != c.clients {
				t.Errorf("%d flows, client known: %v; want %d, %v", n, known, c.flows, c.clients)
			}
			// It begins anew, as after any other file.
			m.back(m.add(key(udp, 7)))
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
			again, err := Open(path, Options{})
			if err != nil || len(again.All()) != c.flows+1 {
				t.Errorf("after that: %d flows, %v", len(again.All()), err)
			}
			if err := errors.Join(again.Close(), Remove(path), Remove(path)); err != nil {
				t.Error(err)
			}
			if left, _ := filepath.Glob(filepath.Dir(path) + "/*"); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// TestQuiet: a flow that was quiet when its process was killed has the rest of its
// time, to the last tick, and so has a client.
func TestQuiet(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flows")
	c := &clock{time.Unix(1000, 0)}
	m := openMemory(t, path, c, 4096)
	k := key(udp, 40000)
	m.back(m.add(k))
	m.SetClient(&k, "one", m.Now())
	c.pass(100 * time.Second)
	m.SetClient(&k, "one", m.Now())
	c.pass(70 * time.Second)
	if err := m.Tick(); err != nil {
		t.Fatal(err)
	}
	m.back(m.add(key(udp, 40001)))
	c.pass(5 * time.Second)
	later := &clock{time.Unix(9000, 0)}
	next := openMemory(t, path, later, 4096)
	later.pass(12 * time.Second)
	if _, ok := next.Client(&k, next.Now(), 80*time.Second); ok {
		t.Error("a client is known for too long")
	}
	if _, ok := next.Client(&k, next.Now(), 82*time.Second); !ok {
		t.Error("a client is not known for long enough")
	}
	if n := len(next.All()); n != 1 {
		t.Errorf("%d flows, want 1", n)
	}
}

// TestLoadBounded: a smaller Memory keeps what was used last.
func TestLoadBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flows")
	c := &clock{time.Unix(1000, 0)}
	m := openMemory(t, path, c, shards*20)
	for i := range uint16(20) {
		m.back(m.add(key(udp, 1024+i*shards))) // in one shard
		c.pass(time.Second)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	next := openMemory(t, path, c, shards*5)
	if n := len(next.All()); n != 5 || !next.out(key(udp, 1024+19*shards)) || next.out(key(udp, 1024)) {
		t.Errorf("%d flows: %+v", n, next.Flows())
	}
}

// TestFileBounded: what ends makes room for what comes.
func TestFileBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flows")
	m := openMemory(t, path, &clock{time.Unix(1000, 0)}, 4096)
	for i := range uint16(50_000) {
		k := key(tcp, i)
		m.back(m.add(k))
		m.Forget(&k)
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() > growth*recordSize {
		t.Errorf("%d bytes for one flow: %v", info.Size(), err)
	}
	for range 10 { // also what is pushed out
		for i := range uint16(50_000) {
			m.back(m.add(key(tcp, i)))
		}
	}
	if info, err = os.Stat(path); err != nil || info.Size() > (4096+growth)*recordSize {
		t.Errorf("%d bytes for 4096 flows: %v", info.Size(), err)
	}
}

// TestFileFull: flows that do not fit are flows all the same, somebody is told, and
// they are written once there is room.
func TestFileFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flows")
	m, c := newMemory(4096, 4096)
	f, err := createFile(path, 2)
	if err != nil {
		t.Fatal(err)
	}
	m.write(f)
	for i := range uint16(3) {
		m.back(m.add(key(tcp, i)))
	}
	m.SetClient(&Key{}, "one", m.Now())
	if err := m.Tick(); !errors.Is(err, errFull) {
		t.Errorf("the file is full: %v", err)
	}
	if err := m.Tick(); err != nil {
		t.Errorf("it was said before: %v", err)
	}
	known := func() int {
		next, _ := newMemory(4096, 4096)
		if err := next.loadFile(path); err != nil {
			t.Fatal(err)
		}
		return len(next.All())
	}
	first := key(tcp, 0)
	m.Forget(&first)
	if n := known(); n != 1 {
		t.Errorf("%d flows are in the file, want 1", n)
	}
	c.pass(time.Second)
	if !m.out(key(tcp, 2)) || known() != 2 {
		t.Errorf("%d flows are in the file, want 2", known())
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestLongID: an ID that a record has no room for is not cut.
func TestLongID(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flows")
	m := openMemory(t, path, &clock{time.Unix(1000, 0)}, 4096)
	longest := strings.Repeat("x", maxID)
	for i, id := range []string{longest, longest + "y"} {
		k := key(tcp, uint16(i))
		m.back(m.Add(&k, id, backend1, 80, m.packet()))
	}
	next, _ := newMemory(4096, 4096)
	if err := next.loadFile(path); err != nil {
		t.Fatal(err)
	}
	if all := next.All(); len(all) != 1 || all[0].Backend != longest {
		t.Errorf("%+v", all)
	}
}

// TestNowhere: without a place for its file a Memory works, and says that flows end
// with it.
func TestNowhere(t *testing.T) {
	m, err := Open(filepath.Join(t.TempDir(), "no folder", "flows"), Options{})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	k := key(tcp, 40000)
	m.back(m.add(k))
	m.SetClient(&k, "one", m.Now())
	if !m.out(k) || m.Tick() != nil || m.Close() != nil {
		t.Error("it does not work")
	}
}

// FuzzLoad: whatever is in the file, nobody falls over, and what is loaded is written
// as it is.
func FuzzLoad(f *testing.F) {
	whole := twoFlows(f)
	f.Add(whole[:4*recordSize], true)
	f.Add(whole[:3*recordSize-7], false)
	path := filepath.Join(f.TempDir(), "flows")
	f.Fuzz(func(t *testing.T, data []byte, seal bool) {
		data = append([]byte(magic), data[min(len(data), len(magic)):]...)
		for at := recordSize; seal && at+recordSize <= len(data); at += recordSize {
			record(data[at:][:recordSize]).seal()
		}
		m, _ := newMemory(256, 256)
		_ = m.load(bytes.NewReader(data))
		checkFound(t, m)
		if err := Remove(path); err != nil {
			t.Fatal(err)
		}
		again, _ := newMemory(256, 256)
		file, err := createFile(path, again.records())
		if err != nil {
			t.Fatal(err)
		}
		again.write(file)
		_ = again.load(bytes.NewReader(data))
		before := sorted(again)
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
		next, _ := newMemory(256, 256)
		if err := next.loadFile(path); err != nil {
			t.Fatal(err)
		}
		if after := sorted(next); !slices.Equal(before, after) {
			t.Errorf("saved %+v, loaded %+v", before, after)
		}
	})
}
