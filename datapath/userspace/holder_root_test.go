package userspace

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// What others have put with the holder stays there, whatever a datapath takes or
// lets go of; and what is its own goes.
func TestHolderOfOthers(t *testing.T) {
	b := newBed(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	const others = "dns/ovl-4096/4026531840/udp"
	if err := b.held.Put(others, null); err != nil {
		t.Fatal(err)
	}
	held := func() string { return strings.Join(slices.Sorted(maps.Keys(b.held.files)), " ") }
	b.apply(t)
	before := held()
	b.on(t, func() error { return b.dp.Close() })
	b.open(t)
	b.apply(t)
	b.ping(t)
	if got := held(); got != before || !strings.Contains(got, others) || strings.Count(got, tapName) != 2 {
		t.Errorf("after a restart %q are held, before it %q", got, before)
	}
	if left, err := Left(b.options()); err != nil || !left {
		t.Errorf("a datapath that works here has left nothing: %v", err)
	}
	b.on(t, func() error { return b.dp.Close() })
	if err := LetGo(b.held); err != nil {
		t.Error(err)
	}
	if got := held(); got != others {
		t.Errorf("%q are held by others", got)
	}
	b.on(t, func() error { return Remove(b.options()) })
	if left, err := Left(b.options()); err != nil || left {
		t.Errorf("something is left after Remove: %v", err)
	}
	b.open(t)
}
