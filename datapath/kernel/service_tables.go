package kernel

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/ovlnet/ovl/bpf"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/balance"
)

// rowEntries is OVL_ROW of bpf/types.h.
const rowEntries = 16

// tableBatch is how many tables are open at once, each by a descriptor.
const tableBatch = 128

// tableContent is what a Maglev table is made of, and so what is in it.
type tableContent struct {
	key     [sha256.Size]byte
	size    int
	numbers []uint32 // of the endpoints
	of      []balance.Backend
}

// newTableContent takes the backends of one family that get new flows. False:
// there are none.
func newTableContent(v datapath.Service, ipv4 bool, number func(id string) uint32) (c tableContent, ok bool) {
	c.size = v.TableSize
	h := sha256.New()
	_ = binary.Write(h, binary.LittleEndian, uint32(c.size))
	for _, b := range v.Backends {
		if b.Draining || b.Weight == 0 || !hasFamily(b, ipv4) {
			continue
		}
		n := number(b.ID)
		c.numbers = append(c.numbers, n)
		c.of = append(c.of, balance.Backend{Name: b.ID, Weight: b.Weight})
		_ = binary.Write(h, binary.LittleEndian, []uint32{n, uint32(b.Weight)})
	}
	h.Sum(c.key[:0])
	return c, len(c.of) > 0
}

func hasFamily(b datapath.Backend, ipv4 bool) bool {
	for _, a := range b.Addrs {
		if a.Is4() == ipv4 {
			return true
		}
	}
	return false
}

// rows are the table as the programs read it: the number of its entries in a row
// of its own, then the numbers of endpoints.
func (c tableContent) rows() [][rowEntries]uint32 {
	rows := make([][rowEntries]uint32, 1+(c.size+rowEntries-1)/rowEntries)
	rows[0][0] = uint32(c.size)
	for i, at := range balance.Table(c.of, c.size) {
		rows[1+i/rowEntries][i%rowEntries] = c.numbers[at]
	}
	return rows
}

// tableMaps are the inner maps of ovl_tables that are in use, by content:
// services of the same backends share one, and so do both families. The kernel
// keeps them as long as an entry of ovl_tables leads there; here is only how they
// are called.
type tableMaps struct {
	spec *ebpf.MapSpec
	made map[[sha256.Size]byte]ebpf.MapID
}

// open returns the map with that content, made if there is none.
func (t *tableMaps) open(c tableContent) (*ebpf.Map, error) {
	if id, ok := t.made[c.key]; ok {
		m, err := ebpf.NewMapFromID(id)
		if err == nil || !errors.Is(err, ebpf.ErrKeyNotExist) {
			return m, err
		}
		delete(t.made, c.key) // somebody took the last entry that led there away
	}
	rows := c.rows()
	spec := t.spec.Copy()
	spec.MaxEntries = uint32(len(rows))
	m, err := ebpf.NewMap(spec)
	if err != nil {
		return nil, fmt.Errorf("make a table of %d entries: %w", c.size, err)
	}
	keys := make([]uint32, len(rows))
	for i := range keys {
		keys[i] = uint32(i)
	}
	_, errs := inBatches(keys, func(batch []uint32) error {
		_, err := m.BatchUpdate(batch, rows[batch[0]:batch[0]+uint32(len(batch))], nil)
		return err
	}, func(i uint32) error { return m.Put(i, rows[i]) }, func(_ uint32, err error) error { return err })
	err = errors.Join(append(errs, m.Freeze())...)
	info, e := m.Info()
	if err = errors.Join(err, e); err != nil {
		_ = m.Close()
		return nil, fmt.Errorf("fill a table of %d entries: %w", c.size, err)
	}
	id, _ := info.ID()
	t.made[c.key] = id
	return m, nil
}

// syncer brings ovl_tables from have, by the inner maps' numbers, to want. What
// leads to the map that it should lead to stays.
func (t *tableMaps) syncer(outer *ebpf.Map, have map[bpf.OvlTableKey]uint32, want map[bpf.OvlTableKey]tableContent) syncer {
	failed := func(k bpf.OvlTableKey, err error) error {
		return &datapath.ObjectError{Object: fmt.Sprintf("entry %v of map %s", k, bpf.OvlMapOvlTables), Err: err}
	}
	return syncer{
		name: bpf.OvlMapOvlTables,
		add: func() (n int, errs []error) {
			var keys []bpf.OvlTableKey
			for k, c := range want {
				if id, ok := have[k]; !ok || t.made[c.key] != ebpf.MapID(id) {
					keys = append(keys, k)
				}
			}
			for some := range slices.Chunk(keys, tableBatch) {
				done, failures := inBatches(some, func(batch []bpf.OvlTableKey) error {
					return t.put(outer, want, batch)
				}, func(k bpf.OvlTableKey) error {
					return t.put(outer, want, []bpf.OvlTableKey{k})
				}, failed)
				n, errs = n+done, append(errs, failures...)
			}
			return n, errs
		},
		// Together, for the kernel waits after each call, as in put.
		del: func() (int, []error) { return deleteOthers(outer, have, want, failed) },
	}
}

// put leads keys to their tables. The kernel waits, at the end of each call, until
// no program has the old ones any more.
func (t *tableMaps) put(outer *ebpf.Map, want map[bpf.OvlTableKey]tableContent, keys []bpf.OvlTableKey) error {
	opened := map[[sha256.Size]byte]*ebpf.Map{}
	defer func() {
		for _, m := range opened {
			_ = m.Close()
		}
	}()
	descriptors := make([]uint32, len(keys))
	for i, k := range keys {
		c := want[k]
		if opened[c.key] == nil {
			m, err := t.open(c)
			if err != nil {
				return err
			}
			opened[c.key] = m
		}
		descriptors[i] = uint32(opened[c.key].FD())
	}
	if len(keys) == 1 {
		return outer.Put(keys[0], opened[want[keys[0]].key])
	}
	_, err := outer.BatchUpdate(keys, descriptors, nil)
	return err
}

// release lets go of contents that nobody has any more.
func (t *tableMaps) release(used map[[sha256.Size]byte]bool) {
	for key := range t.made {
		if !used[key] {
			delete(t.made, key)
		}
	}
}
