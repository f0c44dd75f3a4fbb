package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ovlnet/ovl/control/cluster/member"
	"github.com/ovlnet/ovl/control/cluster/rpc"
	"github.com/ovlnet/ovl/control/store"
)

func openStore(t testing.TB, id int) *store.Store {
	t.Helper()
	s, err := store.Open(filepath.Join(memoryDir(t), "ovl.db"),
		store.Options{NodeID: fmt.Sprintf("%032x", id), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// A transfer that is cut off after any batch has lost nothing: what is merged
// is claimed, what is not is asked for again.
func TestBatchesResumeAnywhere(t *testing.T) {
	from, other, to := openStore(t, 2), openStore(t, 1), openStore(t, 3)
	for i := range 30 {
		for _, s := range []*store.Store{from, other} {
			if _, err := s.Put(store.TableNetwork, fmt.Sprintf("%s-%d", s.NodeID(), i), strings.Repeat("x", 60_000)); err != nil {
				t.Fatal(err)
			}
		}
	}
	body, end, err := missingBatch(other.Snapshot(), from.Vector())
	for ; err == nil; body, end, err = missingBatch(other.Snapshot(), from.Vector()) {
		rows, _, rerr := readBatch(body)
		if rerr != nil {
			t.Fatal(rerr)
		}
		if _, err := from.MergeTransfer(rows, end.Vector); err != nil {
			t.Fatal(err)
		}
		if !end.More {
			break
		}
	}
	batches := 0
	for !to.Vector().Equal(from.Vector()) {
		// The sender goes on writing, also what was sent already.
		if batches == 3 {
			if _, err := from.Put(store.TableNetwork, from.NodeID()+"-0", "replaced"); err != nil {
				t.Fatal(err)
			}
		}
		body, _, err := missingBatch(from.Snapshot(), to.Vector())
		if err != nil {
			t.Fatal(err)
		}
		if len(body) > rpc.MaxBody {
			t.Fatalf("batch has %d bytes", len(body))
		}
		rows, end, err := readBatch(body)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := to.MergeTransfer(rows, end.Vector); err != nil {
			t.Fatal(err)
		}
		if batches++; batches > 20 {
			t.Fatal("the transfer does not end")
		}
	}
	if batches < 5 {
		t.Errorf("3.6 MB in %d batches", batches)
	}
	if got, want := to.Snapshot().Len(), from.Snapshot().Len(); got != want {
		t.Errorf("%d rows arrived of %d", got, want)
	}
}

// A batch that stops early covers what it holds, clocks included: it may end
// with the last write of its origin, whose mark nothing raises after it.
func TestVectorUpTo(t *testing.T) {
	mark := store.Mark{Incarnation: 1, Seq: 7, Clock: 70}
	got := vectorUpTo(store.Vector{"a": mark, "b": mark, "c": mark}, store.Stamp{Origin: "b", Incarnation: 1, Seq: 7, Clock: 70})
	if want := (store.Vector{"a": mark, "b": mark}); !maps.Equal(got, want) {
		t.Errorf("vector is %v, want %v", got, want)
	}
}

func TestReadBatchRefuses(t *testing.T) {
	row := `{"row":{"table":"network","key":"k","stamp":{"origin":"o","inc":1,"seq":1,"clock":"0000000000000001"},"value":1}}` + "\n"
	end := `{"end":{}}` + "\n"
	if rows, _, err := readBatch([]byte(row + row + end)); err != nil || len(rows) != 2 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	long := strings.Replace(row, `"k"`, `"`+strings.Repeat("k", maxLine)+`"`, 1)
	for name, c := range map[string]struct{ body, code string }{
		"empty":             {"", rpc.CodeBadRequest},
		"cut off":           {row, rpc.CodeBadRequest},
		"cut in a line":     {row + row[:30], rpc.CodeBadRequest},
		"no JSON":           {"x\n" + end, rpc.CodeBadRequest},
		"neither":           {"{}\n" + end, rpc.CodeBadRequest},
		"both":              {`{"row":{},"end":{}}` + "\n", rpc.CodeBadRequest},
		"goes on":           {end + row, rpc.CodeBadRequest},
		"two ends":          {end + end, rpc.CodeBadRequest},
		"long line":         {long + end, rpc.CodeTooLarge},
		"negative number":   {strings.Replace(row, `"seq":1`, `"seq":-1`, 1) + end, rpc.CodeBadRequest},
		"deep":              {strings.Repeat("[", 1<<19) + "\n", rpc.CodeBadRequest},
		"null":              {"null\n" + end, rpc.CodeBadRequest},
		"rows of no object": {`{"row":[1]}` + "\n" + end, rpc.CodeBadRequest},
	} {
		if _, _, err := readBatch([]byte(c.body)); !rpc.IsCode(err, c.code) {
			t.Errorf("%s: %v, want code %s", name, err, c.code)
		}
	}
}

func FuzzReadBatch(f *testing.F) {
	f.Add([]byte(`{"end":{"vector":{"a":{"inc":1,"seq":2}}}}` + "\n"))
	f.Add([]byte(`{"row":{"table":"t","key":"k"}}` + "\n" + `{"end":{"more":true}}` + "\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		rows, _, err := readBatch(body)
		if err == nil && len(rows) > bytes.Count(body, []byte{'\n'}) {
			t.Error("more rows than lines")
		}
	})
}

func testRow(seq uint64, size int) store.Row {
	value, err := json.Marshal(strings.Repeat("v", size))
	if err != nil {
		panic(err)
	}
	return store.Row{
		Table: store.TableEndpoint, Key: strings.Repeat("k", 32), Value: value,
		Stamp: store.Stamp{Origin: strings.Repeat("f", 32), Incarnation: 1 << 50, Seq: seq, Clock: 1 << 60},
	}
}

func TestMessagesPackRows(t *testing.T) {
	cases := []struct {
		name               string
		rows, size         int
		wantRows, wantHint int // messages of each kind
	}{
		{"none", 0, 0, 0, 0},
		{"one small", 1, 100, 1, 0},
		{"several share one", 4, 10, 1, 0},
		{"several messages", 6, 300, 3, 0},
		{"largest that fits", 1, 970, 1, 0},
		{"too large for an event", 2, 2000, 0, 1},
		{"burst", 100, 300, 0, 1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var rows []store.Row
			for i := range c.rows {
				rows = append(rows, testRow(uint64(i+1), c.size))
			}
			payloads, err := messages(rows)
			if err != nil {
				t.Fatal(err)
			}
			withRows, withHint, carried := 0, 0, 0
			for _, p := range payloads {
				if len(p) > member.MaxPayload {
					t.Errorf("message has %d bytes", len(p))
				}
				m, err := decodeMessage(p)
				if err != nil {
					t.Fatal(err)
				}
				if m.Hint != nil {
					withHint++
					if m.Hint.Seq != uint64(c.rows) {
						t.Errorf("hint says %d, not the last", m.Hint.Seq)
					}
				}
				if len(m.Rows) > 0 {
					withRows++
				}
				carried += len(m.Rows)
			}
			if withRows != c.wantRows || withHint != c.wantHint {
				t.Errorf("%d messages with rows and %d hints, want %d and %d", withRows, withHint, c.wantRows, c.wantHint)
			}
			if c.wantHint == 0 && carried != c.rows {
				t.Errorf("%d of %d rows carried", carried, c.rows)
			}
		})
	}
}
