package kernel

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/ovlnet/ovl/datapath"
)

// batchSize is how many entries one call reads or writes. A hash bucket must fit
// in it.
const batchSize = 4096

// syncer brings one map to its wanted content in two steps, so that all maps
// can gain entries before any loses one.
type syncer struct {
	name string
	add  func() (int, []error)
	del  func() (int, []error)
}

// newSyncer compares what a map holds with what is wanted.
func newSyncer[K, V comparable](name string, m *ebpf.Map, want map[K]V) (syncer, error) {
	have, err := readAll[K, V](m)
	if err != nil {
		return syncer{}, fmt.Errorf("read map %s: %w", name, err)
	}
	return syncerOf(name, m, have, want), nil
}

// syncerOf is newSyncer for a map that has been read.
func syncerOf[K, V comparable](name string, m *ebpf.Map, have, want map[K]V) syncer {
	failed := func(k K, err error) error {
		return &datapath.ObjectError{Object: fmt.Sprintf("entry %v of map %s", k, name), Err: err}
	}
	return syncer{
		name: name,
		add: func() (n int, errs []error) {
			var keys []K
			for k, v := range want {
				if old, ok := have[k]; !ok || old != v {
					keys = append(keys, k)
				}
			}
			values := make([]V, 0, min(len(keys), batchSize))
			return inBatches(keys, func(batch []K) error {
				values = values[:0]
				for _, k := range batch {
					values = append(values, want[k])
				}
				_, err := m.BatchUpdate(batch, values, nil)
				return err
			}, func(k K) error { return m.Put(k, want[k]) }, failed)
		},
		del: func() (int, []error) { return deleteOthers(m, have, want, failed) },
	}
}

// deleteOthers deletes what is in have and not in want, and returns how many
// entries that were.
func deleteOthers[K comparable, V, W any](m *ebpf.Map, have map[K]V, want map[K]W, failed func(K, error) error) (int, []error) {
	var keys []K
	for k := range have {
		if _, ok := want[k]; !ok {
			keys = append(keys, k)
		}
	}
	return inBatches(keys, func(batch []K) error {
		_, err := m.BatchDelete(batch, nil)
		return err
	}, func(k K) error {
		if err := m.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
		return nil
	}, failed)
}

// inBatches changes the entries of keys, many by one call where the kernel has
// that (Linux 5.6). Where a batch fails, for whichever reason, its entries are
// changed again one by one, so that single failures are told apart. It returns
// how many it changed.
func inBatches[K any](keys []K, many func([]K) error, one func(K) error, failed func(K, error) error) (n int, errs []error) {
	for batch := range slices.Chunk(keys, batchSize) {
		if len(batch) > 1 && many(batch) == nil {
			n += len(batch)
			continue
		}
		for _, k := range batch {
			if err := one(k); err != nil {
				errs = append(errs, failed(k, err))
				continue
			}
			n++
		}
	}
	return n, errs
}

// readAll returns the content of a map, in batches where the kernel has
// them (Linux 5.6).
func readAll[K comparable, V any](m *ebpf.Map) (map[K]V, error) {
	out := map[K]V{}
	var cursor ebpf.MapBatchCursor
	keys, values := make([]K, batchSize), make([]V, batchSize)
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		if errors.Is(err, ebpf.ErrNotSupported) {
			return iterate[K, V](m)
		}
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil, err
		}
		for i := range n {
			out[keys[i]] = values[i]
		}
		if err != nil { // that was the last batch
			return out, nil
		}
	}
}

func iterate[K comparable, V any](m *ebpf.Map) (map[K]V, error) {
	out := map[K]V{}
	var k K
	var v V
	it := m.Iterate()
	for it.Next(&k, &v) {
		out[k] = v
	}
	return out, it.Err()
}
