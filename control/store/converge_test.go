package store_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ovlnet/ovl/control/store"
)

// world is a few stores and a network that loses, delays, repeats and
// reorders what they send each other.
type world struct {
	t       *rapid.T
	dir     string
	started int
	nodes   []*node
	writes  []store.Row // every write that was ever made
	wire    []packet
}

type node struct {
	id   string
	path string
	s    *store.Store
	skew time.Duration
	left bool
}

// packet is JSON on its way to a node: an event, a transfer, or an
// acknowledgement.
type packet struct {
	to     int
	from   string
	rows   []byte
	vector []byte
	ack    bool
}

// owner is the rule that the agent configures: a node's row is its own, an
// endpoint's row belongs to the node in its value.
func owner(r store.Row) string {
	switch r.Table {
	case "node":
		return r.Key
	case "endpoint":
		if r.Deleted {
			return ""
		}
		var v struct{ Node string }
		if r.Decode(&v) != nil || v.Node == "" {
			return "unknown"
		}
		return v.Node
	}
	return ""
}

func (w *world) open(n *node) {
	s, err := store.Open(n.path, store.Options{
		NodeID: n.id,
		Owner:  owner,
		Logger: quiet,
		Now:    func() time.Time { return time.Unix(1_800_000_000, 0).Add(n.skew) },
	})
	if err != nil {
		w.t.Fatalf("open: %v", err)
	}
	n.s = s
}

func (w *world) write(n *node, fn func(*store.Tx) error) []store.Row {
	rows, err := n.s.Update(fn)
	if err != nil {
		w.t.Fatalf("update: %v", err)
	}
	for _, r := range rows {
		if got, ok := n.s.Snapshot().Get(r.Table, r.Key); ok == r.Deleted || ok && got.Stamp != r.Stamp {
			w.t.Fatalf("own write %+v did not win at home, where there is %+v", r, got)
		}
	}
	w.writes = append(w.writes, rows...)
	return rows
}

func (w *world) send(p packet) { w.wire = append(w.wire, p) }

func (w *world) transfer(from, to int, vector store.Vector) packet {
	snap := w.nodes[from].s.Snapshot()
	return packet{to: to, from: w.nodes[from].id, rows: encode(slices.Collect(snap.Missing(vector))), vector: encode(snap.Vector())}
}

func (w *world) deliver(p packet) {
	s := w.nodes[p.to].s
	rows, vector := decode[[]store.Row](p.rows), decode[store.Vector](p.vector)
	var err error
	switch {
	case p.ack:
		err = s.AckVector(p.from, vector)
	case p.vector != nil:
		_, err = s.MergeTransfer(rows, vector)
	default:
		_, err = s.Merge(rows)
	}
	if err != nil {
		w.t.Fatalf("deliver: %v", err)
	}
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func decode[T any](b []byte) (v T) {
	if b != nil {
		if err := json.Unmarshal(b, &v); err != nil {
			panic(err)
		}
	}
	return v
}

// active draws a node that has not left, or the first of all if none is left.
func (w *world) active() int {
	var in []int
	for i, n := range w.nodes {
		if !n.left {
			in = append(in, i)
		}
	}
	return rapid.SampledFrom(in).Draw(w.t, "node")
}

func (w *world) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"put": func(t *rapid.T) {
			n := w.nodes[w.active()]
			key := fmt.Sprint("n", rapid.IntRange(0, 3).Draw(t, "key"))
			rows := w.write(n, func(tx *store.Tx) error { return tx.Put("network", key, rapid.Int().Draw(t, "value")) })
			w.event(rows)
		},
		"attach": func(t *rapid.T) {
			n := w.nodes[w.active()]
			rows := w.write(n, func(tx *store.Tx) error {
				for k := range rapid.IntRange(1, 2).Draw(t, "endpoints") {
					if err := tx.Put("endpoint", fmt.Sprintf("e%s-%d", n.id[28:], k), map[string]string{"Node": n.id}); err != nil {
						return err
					}
				}
				return nil
			})
			w.event(rows)
		},
		"delete": func(t *rapid.T) {
			n := w.nodes[w.active()]
			var own []store.Row
			for r := range n.s.Snapshot().All("network") {
				own = append(own, r)
			}
			for r := range n.s.Snapshot().All("endpoint") {
				if owner(r) == n.id {
					own = append(own, r)
				}
			}
			if len(own) == 0 {
				t.Skip("nothing to delete")
			}
			r := rapid.SampledFrom(own).Draw(t, "row")
			w.event(w.write(n, func(tx *store.Tx) error { return tx.Delete(r.Table, r.Key) }))
		},
		"request": func(t *rapid.T) {
			from, to := w.active(), w.active()
			if from == to {
				t.Skip("one node")
			}
			w.send(w.transfer(from, to, w.nodes[to].s.Vector()))
		},
		"acknowledge": func(t *rapid.T) {
			from := w.nodes[w.active()]
			w.send(packet{to: w.active(), from: from.id, ack: true, vector: encode(from.s.Vector())})
		},
		"deliver": func(t *rapid.T) {
			if len(w.wire) == 0 {
				t.Skip("nothing on the wire")
			}
			i := rapid.IntRange(0, len(w.wire)-1).Draw(t, "packet")
			p := w.wire[i]
			if !rapid.Bool().Draw(t, "repeat") {
				w.wire = slices.Delete(w.wire, i, i+1)
			}
			if !w.nodes[p.to].left {
				w.deliver(p)
			}
		},
		"lose": func(t *rapid.T) {
			if len(w.wire) == 0 {
				t.Skip("nothing on the wire")
			}
			i := rapid.IntRange(0, len(w.wire)-1).Draw(t, "packet")
			w.wire = slices.Delete(w.wire, i, i+1)
		},
		"collect": func(t *rapid.T) {
			if _, err := w.nodes[w.active()].s.Collect(); err != nil {
				t.Fatal(err)
			}
		},
		"crash": func(t *rapid.T) {
			// What a crash leaves is what the last transaction wrote.
			n := w.nodes[w.active()]
			left, err := os.ReadFile(n.path)
			if err != nil {
				t.Fatal(err)
			}
			if err := n.s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(n.path, left, 0o600); err != nil {
				t.Fatal(err)
			}
			w.open(n)
		},
		"clock": func(t *rapid.T) {
			n := w.nodes[w.active()]
			n.skew += time.Duration(rapid.IntRange(-1800, 1800).Draw(t, "seconds")) * time.Second
		},
		"leave": func(t *rapid.T) {
			from, to := w.active(), w.active()
			if from == to {
				t.Skip("the last node stays")
			}
			w.write(w.nodes[from], func(tx *store.Tx) error { return tx.Delete("node", w.nodes[from].id) })
			w.deliver(w.transfer(from, to, w.nodes[to].s.Vector()))
			w.nodes[from].left = true
		},
		"newcomer": func(t *rapid.T) {
			// Whoever leaves removes its file, and comes back as another.
			for i, n := range w.nodes {
				if n.left {
					w.wire = slices.DeleteFunc(w.wire, func(p packet) bool { return p.to == i })
					peer := w.active()
					w.start(i, peer)
					return
				}
			}
			t.Skip("nobody has left")
		},
		"": func(t *rapid.T) {
			for _, n := range w.nodes {
				w.checkVector(n)
			}
		},
	}
}

// start makes a new node a member: it writes its row, a peer merges that, and
// only then lets the node have the tables.
func (w *world) start(i, peer int) {
	w.started++
	n := &node{id: fmt.Sprintf("%x%031x", 10+i, w.started), path: filepath.Join(w.dir, fmt.Sprint(w.started))}
	if i == len(w.nodes) {
		w.nodes = append(w.nodes, n)
	} else if err := w.nodes[i].s.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.nodes[i] = n
	w.open(n)
	w.write(n, func(tx *store.Tx) error { return tx.Put("node", n.id, "up") })
	if i != peer {
		w.deliver(w.transfer(i, peer, w.nodes[peer].s.Vector()))
		w.deliver(w.transfer(peer, i, n.s.Vector()))
	}
}

// event puts rows on the wire to everybody, one by one.
func (w *world) event(rows []store.Row) {
	for _, r := range rows {
		for to := range w.nodes {
			w.send(packet{to: to, rows: encode([]store.Row{r})})
		}
	}
}

// checkVector makes sure that n holds every write that its vector claims, or
// one that replaced it, or that what replaced it was a tombstone, which may
// have been collected.
func (w *world) checkVector(n *node) {
	v, held := n.s.Vector(), map[string]store.Row{}
	for r := range n.s.Snapshot().Missing(nil) {
		held[r.Table+"/"+r.Key] = r
	}
	for _, r := range w.writes {
		if !v.Has(r.Stamp) {
			continue
		}
		if h, ok := held[r.Table+"/"+r.Key]; ok && (h.Stamp == r.Stamp || h.Wins(r)) {
			continue
		}
		if !slices.ContainsFunc(w.writes, func(d store.Row) bool {
			replaced := d.Table == r.Table && d.Key == r.Key && (d.Stamp == r.Stamp || d.Wins(r)) && v.Has(d.Stamp)
			departed := d.Table == "node" && d.Key == owner(r) && r.Table == "endpoint" && d.Stamp.Clock > r.Stamp.Clock
			return d.Deleted && (replaced || departed)
		}) {
			w.t.Fatalf("node %s claims write %+v but has %+v", n.id, r, held[r.Table+"/"+r.Key])
		}
	}
}

// heal lets every node that has not left exchange all with every other.
func (w *world) heal() {
	for range 3 {
		for i, a := range w.nodes {
			for j, b := range w.nodes {
				if i != j && !a.left && !b.left {
					w.deliver(w.transfer(i, j, b.s.Vector()))
				}
			}
		}
	}
}

// live renders the live rows of a store.
func live(s *store.Store) string {
	var b strings.Builder
	for _, table := range []string{"endpoint", "network", "node"} {
		for r := range s.Snapshot().All(table) {
			fmt.Fprintf(&b, "%s %s = %s by %s at %s\n", r.Table, r.Key, r.Value, r.Stamp.Origin[:4], r.Stamp.Clock)
		}
	}
	return b.String()
}

// wanted renders the rows that the highest write of each key leaves.
func (w *world) wanted() string {
	last := map[string]store.Row{}
	for _, r := range w.writes {
		if h, ok := last[r.Table+"/"+r.Key]; !ok || r.Wins(h) {
			last[r.Table+"/"+r.Key] = r
		}
	}
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(last)) {
		if r := last[k]; !r.Deleted {
			fmt.Fprintf(&b, "%s %s = %s by %s at %s\n", r.Table, r.Key, r.Value, r.Stamp.Origin[:4], r.Stamp.Clock)
		}
	}
	return b.String()
}

// TestConverge: whatever was lost, repeated, reordered, and crashed, stores
// that then exchange all hold what the highest writes say, agree on what they
// have seen, and can forget every tombstone without a deleted row returning.
func TestConverge(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		sub, err := os.MkdirTemp(dir, "world")
		if err != nil {
			t.Fatal(err)
		}
		w := &world{t: t, dir: sub}
		defer func() {
			for _, n := range w.nodes {
				n.s.Close()
			}
		}()
		for i := range rapid.IntRange(2, 4).Draw(t, "nodes") {
			w.start(i, 0)
		}
		t.Repeat(w.actions())

		w.heal()
		check := func(when string) {
			for _, n := range w.nodes {
				if n.left {
					continue
				}
				w.checkVector(n)
				if got, want := live(n.s), w.wanted(); got != want {
					t.Fatalf("%s, node %s holds\n%swant\n%s", when, n.id, got, want)
				}
				for reason, count := range n.s.Alarms() {
					if count > 0 && reason != store.AlarmClockAhead {
						t.Fatalf("%d alarms of %s among honest nodes", count, reason)
					}
				}
			}
		}
		check("healed")
		for _, a := range w.nodes {
			for _, b := range w.nodes {
				if !a.left && !b.left {
					if !a.s.Vector().Equal(b.s.Vector()) {
						t.Fatalf("vectors differ: %v and %v", a.s.Vector(), b.s.Vector())
					}
					if err := b.s.AckVector(a.id, a.s.Vector()); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		for _, n := range w.nodes {
			if n.left {
				continue
			}
			if _, err := n.s.Collect(); err != nil {
				t.Fatal(err)
			}
			if left := n.s.Snapshot().Tombstones(); left != 0 {
				t.Fatalf("%d tombstones stay on node %s", left, n.id)
			}
		}
		for _, p := range w.wire {
			if !w.nodes[p.to].left {
				w.deliver(p)
			}
		}
		w.heal()
		check("late packets delivered")
	})
}
