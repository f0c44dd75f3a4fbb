package kernel

import (
	"errors"
	"maps"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/ovlnet/ovl/datapath"
)

// TestSync brings maps of more than a batch to what is wanted, one of which is
// too small for it: what finds room is there, and the rest is told one by one.
func TestSync(t *testing.T) {
	needRoot(t)
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	const entries = 2*batchSize + 10
	full := map[uint32]uint64{}
	for i := range uint32(entries) {
		full[i] = uint64(i)
	}
	changed := maps.Clone(full)
	changed[7] = 1
	for _, c := range []struct {
		name         string
		room         uint32
		steps        []map[uint32]uint64
		added, taken []int
		failed       int
	}{
		{"all", entries, []map[uint32]uint64{full, full, changed, {}}, []int{entries, 0, 1, 0}, []int{0, 0, 0, entries}, 0},
		{"too many", entries - 5, []map[uint32]uint64{full}, []int{entries - 5}, []int{0}, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, ValueSize: 8, MaxEntries: c.room})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = m.Close() }()
			for i, want := range c.steps {
				s, err := newSyncer("m", m, want)
				if err != nil {
					t.Fatal(err)
				}
				added, errs := s.add()
				taken, more := s.del()
				if added != c.added[i] || taken != c.taken[i] || len(more) > 0 || len(errs) != c.failed {
					t.Errorf("step %d: %d added, %d taken, %d and %d failed, want %d, %d, %d and none",
						i, added, taken, len(errs), len(more), c.added[i], c.taken[i], c.failed)
				}
				for _, err := range errs {
					var object *datapath.ObjectError
					if !errors.As(err, &object) {
						t.Fatalf("%v names no object", err)
					}
				}
				have, err := readAll[uint32, uint64](m)
				if err != nil || c.failed == 0 && !maps.Equal(have, want) {
					t.Errorf("step %d: %d entries, %v; want %d", i, len(have), err, len(want))
				}
			}
		})
	}
}

// TestInBatches: where the kernel cannot do many at once, it goes one by one.
func TestInBatches(t *testing.T) {
	var batches, singles int
	n, errs := inBatches(make([]int, batchSize+2), func(batch []int) error {
		batches++
		if len(batch) == batchSize {
			return ebpf.ErrNotSupported
		}
		return nil
	}, func(int) error { singles++; return nil }, func(_ int, err error) error { return err })
	if n != batchSize+2 || len(errs) > 0 || batches != 2 || singles != batchSize {
		t.Errorf("%d changed, %d errors, in %d batches and %d calls", n, len(errs), batches, singles)
	}
}
