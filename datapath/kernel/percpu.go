package kernel

import (
	"errors"

	"github.com/cilium/ebpf"
)

// percpuBatch is how many entries of a per-CPU array one call reads.
const percpuBatch = 256

// readPerCPU calls each with the first n entries of a per-CPU array, in order,
// and what each CPU has in it; perCPU is only valid during the call. It reads in
// batches where the kernel has them (Linux 5.13).
func readPerCPU[V any](m *ebpf.Map, n int, each func(index uint32, perCPU []V)) error {
	n = min(n, int(m.MaxEntries()))
	if n == 0 {
		return nil
	}
	cpus := ebpf.MustPossibleCPU()
	batch := min(n, percpuBatch)
	keys, values := make([]uint32, batch), make([]V, batch*cpus)
	var cursor ebpf.MapBatchCursor
	for {
		got, err := m.BatchLookup(&cursor, keys, values, nil)
		if errors.Is(err, ebpf.ErrNotSupported) {
			return lookUpPerCPU(m, n, each)
		}
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
		for i := range got {
			if int(keys[i]) < n {
				each(keys[i], values[i*cpus:(i+1)*cpus])
			}
		}
		// The error says that it was the last batch.
		if err != nil || got == 0 || int(keys[got-1]) >= n-1 {
			return nil
		}
	}
}

// lookUpPerCPU is readPerCPU, entry by entry.
func lookUpPerCPU[V any](m *ebpf.Map, n int, each func(index uint32, perCPU []V)) error {
	perCPU := make([]V, ebpf.MustPossibleCPU())
	for i := range uint32(n) {
		if err := m.Lookup(i, perCPU); err != nil {
			return err
		}
		each(i, perCPU)
	}
	return nil
}
