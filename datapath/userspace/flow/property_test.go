package flow

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ovlnet/ovl/datapath"
)

// TestLikeAMap holds a Memory against a plain model of it: flows that are found are
// those that were begun, by both sides, and no more than there is room for; none
// that was used in its time is lost as long as there is room. Its file has those that
// were answered, and nothing else.
func TestLikeAMap(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flows")
	rapid.Check(t, func(r *rapid.T) {
		c := &clock{time.Unix(1000, 0)}
		m := openMemory(t, path, c, shards*8)
		likeAMap(r, m, c)
		if err := errors.Join(m.Close(), Remove(path)); err != nil {
			r.Fatal(err)
		}
	})
}

func likeAMap(t *rapid.T, m *Memory, c *clock) {
	type known struct {
		hit  Hit
		seen time.Time
	}
	model := map[Key]known{}
	anyKey := func() Key {
		k := key(udp, 1024+uint16(rapid.IntRange(0, 2).Draw(t, "port"))*shards)
		if rapid.Bool().Draw(t, "other VIP") {
			k.Server = otherVIP
		}
		return k
	}
	live := func(k Key) bool { // surely; a second more is a second that may be
		f, ok := model[k]
		return ok && c.now.Sub(f.seen) < 60*time.Second
	}
	t.Repeat(map[string]func(*rapid.T){
		"add": func(*rapid.T) {
			k := anyKey()
			model[k] = known{m.add(k), c.now}
		},
		"out": func(*rapid.T) {
			k := anyKey()
			h, ok := m.Out(&k, m.packet())
			if live(k) && (!ok || h.Key != model[k].hit.Key) {
				t.Fatalf("%+v: %+v, %v", k, h, ok)
			}
			if !ok {
				delete(model, k)
			} else {
				model[k] = known{model[k].hit, c.now}
			}
		},
		"back": func(*rapid.T) {
			k := anyKey()
			if !live(k) {
				return
			}
			reverse := model[k].hit.Key
			h, ok := m.Back(&reverse, false, m.packet())
			if !ok || h.Key != k {
				t.Fatalf("%+v: %+v, %v", k, h, ok)
			}
			model[k] = known{model[k].hit, c.now}
		},
		"forget": func(*rapid.T) {
			k := anyKey()
			m.Forget(&k)
			delete(model, k)
		},
		"time": func(*rapid.T) {
			c.pass(time.Duration(rapid.IntRange(0, 40_000).Draw(t, "ms")) * time.Millisecond)
		},
		"": func(*rapid.T) {
			seen, kept := map[Key]bool{}, 0
			for i := range m.shards {
				s := &m.shards[i]
				if len(s.forward) != s.young.n+s.old.n || len(s.reverse) != len(s.forward) {
					t.Fatalf("%d forward, %d back, %d and %d in lists", len(s.forward), len(s.reverse), s.young.n, s.old.n)
				}
				for k, e := range s.reverse {
					if e.Reverse != k || s.forward[e.Forward] != e || seen[k] {
						t.Fatalf("entries do not agree: %+v", e.Flow)
					}
					seen[k] = true
					if e.record == 0 && e.State == datapath.FlowNew {
						continue
					}
					kept++
					f, ok := m.file.record(e.record).flow()
					if !ok || f.Forward != e.Forward || f.Reverse != e.Reverse || f.Backend != e.Backend || f.State != e.State || f.Seen != e.Seen {
						t.Fatalf("%+v is in the file as %+v, %v", e.Flow, f, ok)
					}
				}
			}
			if n := m.file.next - 1 - len(m.file.free); n != kept {
				t.Fatalf("%d flows are in the file, want %d", n, kept)
			}
		},
	})
}
