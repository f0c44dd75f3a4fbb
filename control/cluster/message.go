package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/ovlnet/ovl/control/cluster/member"
	"github.com/ovlnet/ovl/control/store"
)

// message is what travels in one gossip event: rows that fit, or a hint.
type message struct {
	Rows []store.Row `json:"rows,omitempty"`
	Hint *hint       `json:"hint,omitempty"`
}

// hint says that an origin has written up to a number; who has not seen that
// much asks the origin for it.
type hint struct {
	Origin string `json:"origin"`
	store.Mark
}

// maxMessages is how many events one flush of changes may take. Serf remembers
// the events of 512 moments to tell copies apart; a burst must not wash that
// memory out, nor keep the gossip from its own messages.
const maxMessages = 4

// messages packs rows into as few events as they fit. Rows that are too large
// for one, and bursts that would need more than maxMessages, become a hint a
// origin, which is all that the receivers need to fetch them.
func messages(rows []store.Row) ([][]byte, error) {
	var out [][]byte
	var pack []store.Row
	hints := newHints()
	size := 0
	flush := func() error {
		if len(pack) == 0 {
			return nil
		}
		b, err := encodeMessage(message{Rows: pack})
		out, pack, size = append(out, b), nil, 0
		return err
	}
	const frame = len(`{"rows":[]}`)
	for _, row := range rows {
		if len(out) > maxMessages {
			break // all become hints
		}
		one, err := encodeMessage(message{Rows: []store.Row{row}})
		if err != nil {
			return nil, err
		}
		if len(one) > member.MaxPayload {
			hints.add(row.Stamp)
			continue
		}
		need := len(one) - frame + 1 // with its comma
		if frame+size+need > member.MaxPayload {
			if err := flush(); err != nil {
				return nil, err
			}
		}
		pack, size = append(pack, row), size+need
	}
	if err := flush(); err != nil {
		return nil, err
	}
	if len(out) > maxMessages {
		out = nil
		for _, row := range rows {
			hints.add(row.Stamp)
		}
	}
	for _, h := range hints.all() {
		b, err := encodeMessage(message{Hint: &h})
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}

func encodeMessage(m message) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(m); err != nil {
		return nil, fmt.Errorf("encode gossip message: %w", err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte{'\n'}), nil
}

func decodeMessage(payload []byte) (message, error) {
	var m message
	if err := json.Unmarshal(payload, &m); err != nil {
		return message{}, fmt.Errorf("gossip message: %w", err)
	}
	return m, nil
}

// hints keeps the highest number by origin.
type hints map[string]store.Mark

func newHints() hints { return make(hints) }

func (h hints) add(s store.Stamp) {
	h.raise(s.Origin, store.Mark{Incarnation: s.Incarnation, Seq: s.Seq})
}

func (h hints) raise(origin string, m store.Mark) {
	if m.Seq > h[origin].Seq {
		h[origin] = m
	}
}

func (h hints) all() []hint {
	out := make([]hint, 0, len(h))
	for origin, m := range h {
		out = append(out, hint{origin, m})
	}
	return out
}
