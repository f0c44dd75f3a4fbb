package zone

import (
	"iter"

	"github.com/google/btree"
)

// degree of the trees, as in package store.
const degree = 16

// index finds rows by a key that any number of them may have. Clones share what
// neither has changed since.
type index[K any] struct {
	tree *btree.BTreeG[posting[K]] // by key, ID
	// compare orders keys.
	compare func(a, b K) int
	// contested is how many rows have a key that a row before them has as well.
	contested int
}

// posting is a key that the row with that ID has.
type posting[K any] struct {
	key K
	id  string
}

func newIndex[K any](compare func(a, b K) int) index[K] {
	less := func(a, b posting[K]) bool {
		if c := compare(a.key, b.key); c != 0 {
			return c < 0
		}
		return a.id < b.id
	}
	return index[K]{tree: btree.NewG(degree, less), compare: compare}
}

func (x *index[K]) clone() index[K] {
	return index[K]{tree: x.tree.Clone(), compare: x.compare, contested: x.contested}
}

func (x *index[K]) add(key K, id string) {
	taken := x.has(key)
	if _, again := x.tree.ReplaceOrInsert(posting[K]{key, id}); taken && !again {
		x.contested++
	}
}

func (x *index[K]) remove(key K, id string) {
	if _, was := x.tree.Delete(posting[K]{key, id}); was && x.has(key) {
		x.contested--
	}
}

func (x *index[K]) has(key K) bool {
	for range x.rows(key) {
		return true
	}
	return false
}

// rows yields the IDs of the rows that have a key, in their order.
func (x *index[K]) rows(key K) iter.Seq[string] {
	return func(yield func(string) bool) {
		x.tree.AscendGreaterOrEqual(posting[K]{key: key}, func(p posting[K]) bool {
			return x.compare(p.key, key) == 0 && yield(p.id)
		})
	}
}

// len returns how many rows have a key, each counted once for each key.
func (x *index[K]) len() int { return x.tree.Len() }
