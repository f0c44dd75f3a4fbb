package flow

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ovlnet/ovl/datapath"
)

// TestSaved: the next process knows what the last one did, and time in which there
// was none does not count.
func TestSaved(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, c := newMemory(0, 0)
		for range rapid.IntRange(0, 30).Draw(t, "flows") {
			k := key(rapid.SampledFrom([]uint32{tcp, udp}).Draw(t, "protocol"), rapid.Uint16().Draw(t, "port"))
			if rapid.Bool().Draw(t, "other VIP") {
				k.Server = otherVIP
			}
			id, backend := "one", backend1
			if rapid.Bool().Draw(t, "itself") {
				id, backend = "itself", clientAddr
			}
			h := m.Add(&k, id, backend, 80, m.packet())
			if rapid.Bool().Draw(t, "answered") {
				m.back(h)
			}
			if rapid.Bool().Draw(t, "affine") {
				m.SetClient(&k, id, m.Now())
			}
			c.pass(time.Duration(rapid.IntRange(0, 5).Draw(t, "seconds")) * time.Second)
		}
		var file bytes.Buffer
		if err := m.Save(&file); err != nil {
			t.Fatal(err)
		}
		next, later := newMemory(0, 0)
		later.pass(time.Hour)
		if err := next.Load(&file); err != nil {
			t.Fatal(err)
		}
		before, after := sorted(m), sorted(next)
		if !slices.Equal(before, after) {
			t.Fatalf("saved %+v, loaded %+v", before, after)
		}
		for _, f := range next.All() {
			back := f.Reverse
			if !next.out(f.Forward) {
				t.Fatalf("not known by what the client sends: %+v", f)
			}
			if got, ok := next.Back(&back, f.Self, next.packet()); !ok || got.Key != f.Forward {
				t.Fatalf("not known by what the backend sends: %+v", f)
			}
		}
		k := key(tcp, 1)
		id, ok := m.Client(&k, m.Now(), time.Hour)
		if again, okAgain := next.Client(&k, next.Now(), time.Hour); again != id || okAgain != ok {
			t.Fatalf("client went to %q, after that to %q", id, again)
		}
	})
}

func sorted(m *Memory) []datapath.Flow {
	flows := m.Flows()
	slices.SortFunc(flows, func(a, b datapath.Flow) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), a.Client.Compare(b.Client), a.VIP.Compare(b.VIP), a.Backend.Compare(b.Backend))
	})
	return flows
}

// TestLoadRefuses: what no Memory has written is not taken, also not in part.
func TestLoadRefuses(t *testing.T) {
	m, _ := newMemory(0, 0)
	m.add(key(tcp, 40000))
	m.add(key(tcp, 40001))
	var file strings.Builder
	if err := m.Save(&file); err != nil {
		t.Fatal(err)
	}
	whole := file.String()
	for name, damaged := range map[string]string{
		"nothing":                "",
		"cut short":              whole[:len(whole)/2],
		"no JSON":                "\x00" + whole,
		"another protocol":       strings.Replace(whole, `"Protocol":6`, `"Protocol":1`, 1),
		"a state that is none":   strings.Replace(whole, `"State":0`, `"State":9`, 1),
		"an address that is not": strings.Replace(whole, `10.0.0.2:40000`, `10.0.0:40000`, 1),
		"of two families":        strings.Replace(whole, `10.0.0.2:40000`, `[fd00::2]:40000`, 1),
		"from the future":        strings.Replace(whole, `"Idle":0`, `"Idle":-5`, 1),
		"a client of nobody":     strings.Replace(whole, `"clients":[`, `"clients":[{}`, 1),
	} {
		next, _ := newMemory(0, 0)
		if damaged == whole {
			t.Fatalf("%s: nothing is damaged in %s", name, whole)
		}
		if err := next.Load(strings.NewReader(damaged)); err == nil || len(next.Flows()) != 0 {
			t.Errorf("%s: error %v, and %d flows", name, err, len(next.Flows()))
		}
	}
}

// TestLoadBounded: a smaller Memory keeps what was used last.
func TestLoadBounded(t *testing.T) {
	m, c := newMemory(0, 0)
	for i := range uint16(20) {
		m.add(key(udp, 1024+i*shards)) // in one shard
		c.pass(time.Second)
	}
	var file bytes.Buffer
	if err := m.Save(&file); err != nil {
		t.Fatal(err)
	}
	next, _ := newMemory(shards*5, shards)
	if err := next.Load(&file); err != nil {
		t.Fatal(err)
	}
	if n := len(next.Flows()); n != 5 || !next.out(key(udp, 1024+19*shards)) || next.out(key(udp, 1024)) {
		t.Errorf("%d flows: %+v", n, next.Flows())
	}
}

// FuzzLoad: whatever is in the file, nobody falls over, and what is loaded is saved
// as it is.
func FuzzLoad(f *testing.F) {
	m, _ := newMemory(0, 0)
	k := key(tcp, 40000)
	m.back(m.add(k))
	m.add(key(udp, 40000))
	m.SetClient(&k, "one", m.Now())
	var file bytes.Buffer
	if err := m.Save(&file); err != nil {
		f.Fatal(err)
	}
	f.Add(file.Bytes())
	f.Add([]byte(`{"flows":[{}],"clients":[{}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, _ := newMemory(0, 0)
		if m.Load(bytes.NewReader(data)) != nil {
			if len(m.Flows()) != 0 {
				t.Error("of what is damaged a part is taken")
			}
			return
		}
		for _, flow := range m.All() {
			if !m.out(flow.Forward) {
				t.Errorf("not known: %+v", flow)
			}
		}
		var again bytes.Buffer
		if err := m.Save(&again); err != nil {
			t.Fatal(err)
		}
		next, _ := newMemory(0, 0)
		if err := next.Load(&again); err != nil || len(next.Flows()) != len(m.Flows()) {
			t.Errorf("%v: %d flows of %d", err, len(next.Flows()), len(m.Flows()))
		}
	})
}
