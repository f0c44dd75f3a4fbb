package kernel

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// table is the wanted content of a map. It remembers what has changed since the
// map was brought to it: no more has to be written then.
type table[K, V comparable] struct {
	now map[K]V
	// was are the entries that have changed, as they were; nil: there was none.
	was map[K]*V
	// all: was has not been kept, and what the map holds is not known.
	all bool
	// clash: two objects want one entry. The last has it, and what it would be
	// without that one is not known.
	clash bool
}

// newTable is empty, with room for so many entries.
func newTable[K, V comparable](room int) table[K, V] {
	return table[K, V]{now: make(map[K]V, room), was: map[K]*V{}, all: true}
}

// add is put for an entry that is one object's.
func (t *table[K, V]) add(k K, v V) {
	if _, taken := t.now[k]; taken {
		t.clash = true
	}
	t.put(k, v)
}

func (t *table[K, V]) put(k K, v V) {
	if old, ok := t.now[k]; !ok || old != v {
		t.note(k)
		t.now[k] = v
	}
}

func (t *table[K, V]) delete(k K) {
	t.note(k)
	delete(t.now, k)
}

// note remembers what an entry is before its first change.
func (t *table[K, V]) note(k K) {
	if t.all {
		return
	}
	if _, noted := t.was[k]; noted {
		return
	}
	var was *V
	if v, ok := t.now[k]; ok {
		was = &v
	}
	t.was[k] = was
}

// changed reports whether the map may hold something else.
func (t *table[K, V]) changed() bool { return t.all || len(t.was) > 0 }

// written says that the map has all of it.
func (t *table[K, V]) written() {
	t.all = false
	clear(t.was)
}

// changes returns the entries that have changed, as they were and as they are.
func (t *table[K, V]) changes() (have, want map[K]V) {
	have, want = map[K]V{}, map[K]V{}
	for k, was := range t.was {
		if was != nil {
			have[k] = *was
		}
		if v, ok := t.now[k]; ok {
			want[k] = v
		}
	}
	return have, want
}

// syncer brings the map to the table: from what it holds if that is not known,
// which is read, and else from what it was brought to.
func (t *table[K, V]) syncer(name string, m *ebpf.Map) (syncer, error) {
	if !t.all {
		have, want := t.changes()
		return syncerOf(name, m, have, want), nil
	}
	have, err := readAll[K, V](m)
	if err != nil {
		return syncer{}, fmt.Errorf("read map %s: %w", name, err)
	}
	return syncerOf(name, m, have, t.now), nil
}

// users counts who has a thing, and remembers what nobody has any more.
type users[K comparable] struct {
	count map[K]int
	idle  map[K]bool
}

func newUsers[K comparable](room int) users[K] {
	return users[K]{count: make(map[K]int, room), idle: map[K]bool{}}
}

// add reports whether it is the first.
func (u *users[K]) add(k K) bool {
	u.count[k]++
	delete(u.idle, k)
	return u.count[k] == 1
}

// drop reports whether it was the last.
func (u *users[K]) drop(k K) bool {
	if u.count[k]--; u.count[k] > 0 {
		return false
	}
	delete(u.count, k)
	u.idle[k] = true
	return true
}
