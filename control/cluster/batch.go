package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"

	"github.com/ovlnet/ovl/control/cluster/rpc"
	"github.com/ovlnet/ovl/control/store"
)

// A batch is rows on the wire: one JSON object a line (NDJSON), each a row, and
// one at the end that says what they amount to. Its order is that of
// store.Snapshot.Missing.
//
//	{"row":{"table":"node","key":…}}
//	{"row":{…}}
//	{"end":{"vector":{…},"more":true}}
//
// A batch without its end was cut off, and nothing of it is used.
const (
	// batchRows is where a batch stops taking rows; the rest of rpc.MaxBody is
	// for the last row and for the vector.
	batchRows = 512 << 10
	// maxLine bounds the line of a row: the largest value, and a key whose every byte
	// is escaped.
	maxLine = store.MaxValue + 6*store.MaxKey + 1<<10
)

// batchEnd is the last line of a batch.
type batchEnd struct {
	// Vector is what a receiver has seen once it has merged the rows, added
	// to what it had. Absent when the rows were picked for another reason
	// than that the receiver lacks them.
	Vector store.Vector `json:"vector,omitempty"`
	// More: the sender has further rows after these; Vector covers only
	// those that were sent.
	More bool `json:"more,omitempty"`
	// Wait asks that the answer wait for the receiver's datapath.
	Wait bool `json:"wait,omitempty"`
}

type batchLine struct {
	Row *store.Row `json:"row,omitempty"`
	End *batchEnd  `json:"end,omitempty"`
}

// missingBatch encodes what a host with vector have lacks of snap, as much as
// goes into one batch. Rows come by origin and number: a batch that stops
// early covers the origins before the last row's wholly, and its origin up to it.
func missingBatch(snap *store.Snapshot, have store.Vector) ([]byte, batchEnd, error) {
	next, stop := iter.Pull(snap.Missing(have))
	defer stop()
	var buf bytes.Buffer
	var last store.Row
	end := batchEnd{Vector: snap.Vector()}
	for {
		row, ok := next()
		if !ok {
			break
		}
		if buf.Len() >= batchRows {
			end.More = true
			end.Vector = vectorUpTo(snap.Vector(), last.Stamp)
			break
		}
		if err := writeLine(&buf, batchLine{Row: &row}); err != nil {
			return nil, end, err
		}
		last = row
	}
	return finish(&buf, end)
}

// vectorUpTo is the part of v that rows in Missing's order have reached at s.
func vectorUpTo(v store.Vector, s store.Stamp) store.Vector {
	out := store.Vector{}
	for origin, mark := range v {
		switch {
		case origin < s.Origin:
			out[origin] = mark
		case origin == s.Origin:
			out[origin] = store.Mark{Incarnation: s.Incarnation, Seq: s.Seq, Clock: s.Clock}
		}
	}
	return out
}

// rowsBatch encodes rows that were picked one by one.
func rowsBatch(rows []store.Row, wait bool) ([]byte, error) {
	var buf bytes.Buffer
	for i := range rows {
		if err := writeLine(&buf, batchLine{Row: &rows[i]}); err != nil {
			return nil, err
		}
	}
	body, _, err := finish(&buf, batchEnd{Wait: wait})
	return body, err
}

func finish(buf *bytes.Buffer, end batchEnd) ([]byte, batchEnd, error) {
	if err := writeLine(buf, batchLine{End: &end}); err != nil {
		return nil, end, err
	}
	if buf.Len() > rpc.MaxBody {
		return nil, end, fmt.Errorf("batch of rows: %w: %d bytes", rpc.ErrTooLarge, buf.Len())
	}
	return buf.Bytes(), end, nil
}

func writeLine(buf *bytes.Buffer, line batchLine) error {
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false) // it would make '<' in a value six bytes long
	if err := enc.Encode(line); err != nil {
		return fmt.Errorf("encode row: %w", err)
	}
	return nil
}

// readBatch decodes a whole batch. Its size was bounded when it was read.
func readBatch(body []byte) ([]store.Row, batchEnd, error) {
	var rows []store.Row
	for n := 1; ; n++ {
		text, rest, found := bytes.Cut(body, []byte{'\n'})
		if !found {
			return nil, batchEnd{}, rpc.Errorf(rpc.CodeBadRequest, "batch of rows ends in line %d without its end", n)
		}
		body = rest
		var line batchLine
		if err := json.Unmarshal(text, &line); err != nil {
			return nil, batchEnd{}, rpc.Errorf(rpc.CodeBadRequest, "batch of rows: line %d: %v", n, err)
		}
		switch {
		case (line.Row == nil) == (line.End == nil):
			return nil, batchEnd{}, rpc.Errorf(rpc.CodeBadRequest, "batch of rows: line %d is neither a row nor the end", n)
		case line.Row != nil && len(text) > maxLine:
			return nil, batchEnd{}, rpc.Errorf(rpc.CodeTooLarge, "batch of rows: line %d has over %d bytes", n, maxLine)
		case line.Row != nil:
			rows = append(rows, *line.Row)
		case len(body) > 0:
			return nil, batchEnd{}, rpc.Errorf(rpc.CodeBadRequest, "batch of rows goes on after its end in line %d", n)
		default:
			return rows, *line.End, nil
		}
	}
}
