package flow

import (
	"sync"
	"time"
)

// recent is a bounded map that pushes out what was used longest ago.
type recent[K comparable, V comparable] struct {
	mu    sync.Mutex
	most  int
	items map[K]*item[K, V]
	root  item[K, V] // before the first and behind the last
	// noted is called with what was put; same: it was there, with that value. nil:
	// nobody wants to know.
	noted func(i *item[K, V], same bool)
}

type item[K comparable, V comparable] struct {
	key        K
	value      V
	seen       time.Duration
	record     int // of the file; 0: none
	prev, next *item[K, V]
}

func (r *recent[K, V]) init(most int) {
	r.most = most
	r.items = map[K]*item[K, V]{}
	r.root.prev, r.root.next = &r.root, &r.root
}

// get returns what was put under a key no longer than so long ago.
func (r *recent[K, V]) get(k K, now, longest time.Duration) (v V, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.items[k]
	if i == nil || now-i.seen > longest {
		return v, false
	}
	return i.value, true
}

// put sets what is under a key. The memory of what is pushed out is used again.
func (r *recent[K, V]) put(k K, v V, now time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.putLocked(k, v, now)
}

func (r *recent[K, V]) putLocked(k K, v V, now time.Duration) {
	i := r.items[k]
	same := i != nil && i.value == v
	switch {
	case i != nil:
		i.unlink()
	case len(r.items) >= r.most:
		i = r.root.next
		i.unlink()
		delete(r.items, i.key)
	default:
		i = new(item[K, V])
	}
	i.key, i.value, i.seen = k, v, now
	r.items[k] = i
	i.prev, i.next = r.root.prev, &r.root
	i.prev.next, r.root.prev = i, i
	if r.noted != nil {
		r.noted(i, same)
	}
}

// keep is put, unless there is another value under the key.
func (r *recent[K, V]) keep(k K, v V, now time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := r.items[k]; i == nil || i.value == v {
		r.putLocked(k, v, now)
	}
}

func (i *item[K, V]) unlink() { i.prev.next, i.next.prev = i.next, i.prev }

// observe sets who is told of what is put.
func (r *recent[K, V]) observe(noted func(i *item[K, V], same bool)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.noted = noted
}
