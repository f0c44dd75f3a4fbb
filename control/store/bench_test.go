package store_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/store"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/encap"
)

// BenchmarkStore is a store that holds so many endpoints of other nodes, a
// hundred each. Its file costs no disk time: that is the disk's figure.
func BenchmarkStore(b *testing.B) {
	for _, n := range []int{100, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			path := benchPath(b)
			s := benchOpen(b, path)
			// In batches, as a transfer brings them.
			for rows := benchRows(b, n); len(rows) > 0; {
				batch := rows[:min(len(rows), 1000)]
				if _, err := s.Merge(batch); err != nil {
					b.Fatal(err)
				}
				rows = rows[len(batch):]
			}
			b.Run("get", func(b *testing.B) { benchGet(b, s, n) })
			b.Run("all", func(b *testing.B) { benchAll(b, s, n) })
			b.Run("missing/nothing", func(b *testing.B) { benchMissing(b, s, 0) })
			b.Run("missing/one-of-each-node", func(b *testing.B) { benchMissing(b, s, 1) })
			b.Run("put", func(b *testing.B) { benchPut(b, s) })
			b.Run("merge/1", func(b *testing.B) { benchMerge(b, s, 1) })
			b.Run("merge/1000", func(b *testing.B) { benchMerge(b, s, 1000) })
			b.Run("merge/again", func(b *testing.B) { benchMergeAgain(b, s) })
			b.Run("collect", func(b *testing.B) { benchCollect(b, s) })
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			b.Run("open", func(b *testing.B) { benchReopen(b, path) })
		})
	}
}

// BenchmarkMergeAtOnce takes so many rows into an empty store in one call: the
// cost of a row must not grow with them.
func BenchmarkMergeAtOnce(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			rows := benchRows(b, n)
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				s := benchOpen(b, benchPath(b))
				b.StartTimer()
				if changed, err := s.Merge(rows); err != nil || changed != len(rows) {
					b.Fatal(changed, err)
				}
			}
			perRow(b, len(rows))
		})
	}
}

func benchGet(b *testing.B, s *store.Store, endpoints int) {
	key := benchEndpoint(endpoints/2, "", encap.MAC{}).ID
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := s.Snapshot().Get(store.TableEndpoint, key); !ok {
			b.Fatal("row is missing")
		}
	}
}

func benchAll(b *testing.B, s *store.Store, endpoints int) {
	b.ReportAllocs()
	for b.Loop() {
		rows := 0
		for range s.Snapshot().All(store.TableEndpoint) {
			rows++
		}
		if rows != endpoints {
			b.Fatalf("%d rows, want %d", rows, endpoints)
		}
	}
}

// benchMissing compares vectors with a peer that lacks so many of the last
// writes of every node, and finds them.
func benchMissing(b *testing.B, s *store.Store, behind uint64) {
	have := s.Vector().Clone()
	for node, mark := range have {
		mark.Seq -= behind
		have[node] = mark
	}
	want := len(have) * int(behind)
	b.ReportAllocs()
	for b.Loop() {
		snap := s.Snapshot()
		if have.Covers(snap.Vector()) != (want == 0) {
			b.Fatal("vectors do not compare")
		}
		rows := 0
		for range snap.Missing(have) {
			rows++
		}
		if rows != want {
			b.Fatalf("%d rows, want %d", rows, want)
		}
	}
}

// benchPut writes a row of this node.
func benchPut(b *testing.B, s *store.Store) {
	e := benchEndpoint(1<<24, s.NodeID(), encap.MAC{2})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Put(store.TableEndpoint, e.ID, e); err != nil {
			b.Fatal(err)
		}
	}
}

// benchMerge takes rows of another node that replace earlier ones: one, as
// events bring them, or many, as a transfer does.
func benchMerge(b *testing.B, s *store.Store, batch int) {
	node := benchOrigin(0)
	seq := s.Vector()[node].Seq
	rows := make([]store.Row, batch)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		for i := range rows {
			seq++
			e := benchEndpoint(1<<25+i, node, encap.MAC{2})
			rows[i] = benchRow(b, store.TableEndpoint, e.ID, node, seq, e)
		}
		b.StartTimer()
		if changed, err := s.Merge(rows); err != nil || changed != batch {
			b.Fatal(changed, err)
		}
	}
	perRow(b, batch)
}

// benchMergeAgain takes a row that is there already, which is what most events
// are in a large cluster.
func benchMergeAgain(b *testing.B, s *store.Store) {
	row, ok := s.Snapshot().Get(store.TableEndpoint, benchEndpoint(42, "", encap.MAC{}).ID)
	if !ok {
		b.Fatal("row is missing")
	}
	b.ReportAllocs()
	for b.Loop() {
		if changed, err := s.Merge([]store.Row{row}); err != nil || changed != 0 {
			b.Fatal(changed, err)
		}
	}
}

// benchCollect looks for tombstones where there are none, and every peer has
// spoken.
func benchCollect(b *testing.B, s *store.Store) {
	if _, err := s.Put(store.TableNode, s.NodeID(), store.Node{ID: s.NodeID()}); err != nil {
		b.Fatal(err)
	}
	for node := range s.Vector() {
		if err := s.AckVector(node, s.Vector()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if n, err := s.Collect(); n != 0 || err != nil {
			b.Fatal(n, err)
		}
	}
}

// benchReopen is the start of an agent: the whole file is checked.
func benchReopen(b *testing.B, path string) {
	b.ReportAllocs()
	for b.Loop() {
		s, err := store.Open(path, store.Options{Owner: store.OwnerOf, Logger: quiet})
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func perRow(b *testing.B, rows int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*rows), "ns/row")
}

// benchPath is a file in memory where there is a place for it.
func benchPath(b *testing.B) string {
	dir, err := os.MkdirTemp("/dev/shm", "ovl-store-bench-*")
	if err != nil {
		dir = b.TempDir()
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "state.db")
}

func benchOpen(b *testing.B, path string) *store.Store {
	s, err := store.Open(path, store.Options{Owner: store.OwnerOf, Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}

// benchRows are endpoints that other nodes have written, and those nodes; each
// node's first row is its own.
func benchRows(b *testing.B, endpoints int) []store.Row {
	var rows []store.Row
	for i := range endpoints {
		r := dt.CrowdMember(i)
		node := benchOrigin(i / 100)
		if i%100 == 0 {
			rows = append(rows, benchRow(b, store.TableNode, node, node, 1, store.Node{ID: node, Name: "host", VTEP: r.VTEP}))
		}
		e := benchEndpoint(i, node, r.MAC)
		rows = append(rows, benchRow(b, store.TableEndpoint, e.ID, node, uint64(i%100+2), e))
	}
	return rows
}

// benchOrigin is the ID of the i-th of the other nodes.
func benchOrigin(i int) string { return fmt.Sprintf("%032x", i+1) }

// benchEndpoint has an ID that tells nothing of i, as real ones do, so that
// rows are spread over the tables.
func benchEndpoint(i int, node string, mac encap.MAC) store.Endpoint {
	return store.Endpoint{
		ID:   fmt.Sprintf("%016x%016x", uint64(i)*0x9e3779b97f4a7c15, i),
		Name: fmt.Sprint("endpoint-", i), Network: benchOrigin(1 << 20), Node: node,
		MAC: mac, MTU: 1450, Device: "ovl0123456789", Netns: "web", IfName: "eth0", Created: benchEpoch,
	}
}

var benchEpoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// benchRow is a write; later ones of a node have later clocks.
func benchRow(b *testing.B, table, key, origin string, seq uint64, value any) store.Row {
	v, err := json.Marshal(value)
	if err != nil {
		b.Fatal(err)
	}
	clock := store.Clock(benchEpoch.UnixMilli()<<16) + store.Clock(seq)
	return store.Row{
		Table: table, Key: key, Value: v,
		Stamp: store.Stamp{Origin: origin, Incarnation: 1, Seq: seq, Clock: clock},
	}
}
