package zone

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// An index says who has a key and how many have one that others have, whatever
// becomes of its clones.
func TestIndex(t *testing.T) {
	x := newIndex(strings.Compare)
	want := func(x index[string], key, ids string, contested int) {
		t.Helper()
		if got := strings.Join(slices.Collect(x.rows(key)), " "); got != ids || x.contested != contested {
			t.Errorf("%q has %q, and %d are contested; want %q, %d", key, got, x.contested, ids, contested)
		}
	}
	for i := range 100 { // more than one node of the tree
		x.add(fmt.Sprint("key-", i), "other")
	}
	x.add("a", "2")
	x.add("a", "2")
	want(x, "a", "2", 0)
	x.add("a", "1")
	x.add("a", "3")
	x.add("b", "1")
	want(x, "a", "1 2 3", 2)
	before := x.clone()
	x.remove("a", "2")
	x.remove("a", "2")
	x.remove("a", "4")
	x.remove("c", "1")
	want(x, "a", "1 3", 1)
	x.remove("a", "1")
	x.remove("a", "3")
	want(x, "a", "", 0)
	want(x, "b", "1", 0)
	want(before, "a", "1 2 3", 2)
	want(x, "", "", 0)
	if x.len() != 101 || before.len() != 104 {
		t.Errorf("%d and %d rows, want 101 and 104", x.len(), before.len())
	}
}
