package cluster

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/ovlnet/ovl/control/store"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
)

// benchRows are endpoints that one node has written.
func benchRows(b *testing.B, n int) []store.Row {
	const node = "0123456789abcdef0123456789abcdef"
	rows := make([]store.Row, n)
	for i := range rows {
		e := store.Endpoint{
			ID: fmt.Sprintf("%032x", i), Name: fmt.Sprint("endpoint-", i), Network: node, Node: node,
			MAC: dt.CrowdMember(i).MAC, MTU: 1450, Device: "ovl0123456789", Netns: "web", IfName: "eth0",
		}
		v, err := json.Marshal(e)
		if err != nil {
			b.Fatal(err)
		}
		rows[i] = store.Row{
			Table: store.TableEndpoint, Key: e.ID, Value: v,
			Stamp: store.Stamp{Origin: node, Incarnation: 1, Seq: uint64(i + 1), Clock: store.Clock(1e17) + store.Clock(i)},
		}
	}
	return rows
}

// BenchmarkMessages packs what a host has written for the gossip: rows as long
// as they fit, and a hint for a burst that does not.
func BenchmarkMessages(b *testing.B) {
	for _, n := range []int{1, 10, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			rows := benchRows(b, n)
			b.ReportAllocs()
			for b.Loop() {
				if out, err := messages(rows); err != nil || len(out) == 0 || len(out) > maxMessages {
					b.Fatal(len(out), err)
				}
			}
		})
	}
}

// BenchmarkDecodeMessage reads an event with rows.
func BenchmarkDecodeMessage(b *testing.B) {
	for _, n := range []int{1, 10} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			payload, err := encodeMessage(message{Rows: benchRows(b, n)})
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(payload)))
			b.ReportAllocs()
			for b.Loop() {
				if m, err := decodeMessage(payload); err != nil || len(m.Rows) != n {
					b.Fatal(len(m.Rows), err)
				}
			}
		})
	}
}

// BenchmarkBatch is one batch of a transfer from a store of many rows, as its
// sender makes it and its receiver reads it. It takes no more where there are
// more rows: a batch has its limit.
func BenchmarkBatch(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		s := openStore(b, 2)
		if _, err := s.Merge(benchRows(b, n)); err != nil {
			b.Fatal(err)
		}
		body, _, err := missingBatch(s.Snapshot(), nil)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("encode/%d", n), func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if again, _, err := missingBatch(s.Snapshot(), nil); err != nil || len(again) != len(body) {
					b.Fatal(len(again), err)
				}
			}
		})
		b.Run(fmt.Sprintf("decode/%d", n), func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if rows, _, err := readBatch(body); err != nil || len(rows) == 0 {
					b.Fatal(len(rows), err)
				}
			}
		})
	}
}
