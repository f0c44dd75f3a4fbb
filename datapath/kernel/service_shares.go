package kernel

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
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

// contentKey is the hash of a content.
type contentKey [sha256.Size]byte

// content is what a Maglev table is made of, and so what is in it.
type content struct {
	key     contentKey
	size    int
	numbers []uint32 // of the endpoints
	of      []balance.Backend
}

// newContent takes the backends of one family that get new flows. False: there are
// none.
func newContent(v *datapath.Service, ipv4 bool, number func(id string) uint32) (c content, ok bool) {
	c.size = v.TableSize
	text := binary.LittleEndian.AppendUint32(nil, uint32(c.size))
	for i := range v.Backends {
		b := &v.Backends[i]
		if b.Draining || b.Weight == 0 || !hasFamily(b, ipv4) {
			continue
		}
		n := number(b.ID)
		c.numbers = append(c.numbers, n)
		c.of = append(c.of, balance.Backend{Name: b.ID, Weight: b.Weight})
		text = binary.LittleEndian.AppendUint32(text, n)
		text = binary.LittleEndian.AppendUint32(text, uint32(b.Weight))
	}
	c.key = sha256.Sum256(text)
	return c, len(c.of) > 0
}

func hasFamily(b *datapath.Backend, ipv4 bool) bool {
	for _, a := range b.Addrs {
		if a.Is4() == ipv4 {
			return true
		}
	}
	return false
}

// rows are the table as the programs read it: the number of its entries in a row
// of its own, then the numbers of endpoints.
func (c content) rows() [][rowEntries]uint32 {
	rows := make([][rowEntries]uint32, 1+(c.size+rowEntries-1)/rowEntries)
	rows[0][0] = uint32(c.size)
	for i, at := range balance.Table(c.of, c.size) {
		rows[1+i/rowEntries][i%rowEntries] = c.numbers[at]
	}
	return rows
}

// shareMaps are the inner maps of ovl_tables that are in use, by content:
// services of the same backends share one, and so do both families. The kernel
// keeps them as long as an entry of ovl_tables leads there; here is only how they
// are called.
type shareMaps struct {
	spec *ebpf.MapSpec
	made map[contentKey]ebpf.MapID
}

func newShareMaps() (*shareMaps, error) {
	spec, err := bpf.LoadOvl()
	if err != nil {
		return nil, err
	}
	return &shareMaps{spec: spec.Maps[bpf.OvlMapOvlTables].InnerMap, made: map[contentKey]ebpf.MapID{}}, nil
}

// open returns the map with that content, made if there is none.
func (m *shareMaps) open(c content) (*ebpf.Map, error) {
	if id, ok := m.made[c.key]; ok {
		inner, err := ebpf.NewMapFromID(id)
		if err == nil || !errors.Is(err, os.ErrNotExist) {
			return inner, err
		}
		delete(m.made, c.key) // somebody took the last entry that led there away
	}
	rows := c.rows()
	spec := m.spec.Copy()
	spec.MaxEntries = uint32(len(rows))
	inner, err := ebpf.NewMap(spec)
	if err != nil {
		return nil, fmt.Errorf("make a table of %d entries: %w", c.size, err)
	}
	keys := make([]uint32, len(rows))
	for i := range keys {
		keys[i] = uint32(i)
	}
	_, errs := inBatches(keys, func(batch []uint32) error {
		_, err := inner.BatchUpdate(batch, rows[batch[0]:batch[0]+uint32(len(batch))], nil)
		return err
	}, func(i uint32) error { return inner.Put(i, rows[i]) }, func(_ uint32, err error) error { return err })
	err = errors.Join(append(errs, inner.Freeze())...)
	info, e := inner.Info()
	if err = errors.Join(err, e); err != nil {
		_ = inner.Close()
		return nil, fmt.Errorf("fill a table of %d entries: %w", c.size, err)
	}
	id, _ := info.ID()
	m.made[c.key] = id
	return inner, nil
}

// syncer brings ovl_tables to what t wants. What leads to the map that it should
// lead to stays.
func (m *shareMaps) syncer(outer *ebpf.Map, t *serviceTables) (syncer, error) {
	have, want := map[bpf.OvlTableKey]uint32{}, t.shares.now // by the inner maps' numbers
	if t.shares.all {
		var err error
		if have, err = readAll[bpf.OvlTableKey, uint32](outer); err != nil {
			return syncer{}, fmt.Errorf("read map %s: %w", bpf.OvlMapOvlTables, err)
		}
	} else {
		var was map[bpf.OvlTableKey]contentKey
		was, want = t.shares.changes()
		for k := range was {
			have[k] = 0 // another than it leads to
		}
	}
	failed := func(k bpf.OvlTableKey, err error) error {
		return &datapath.ObjectError{Object: fmt.Sprintf("entry %v of map %s", k, bpf.OvlMapOvlTables), Err: err}
	}
	put := func(keys []bpf.OvlTableKey) error { return m.put(outer, t, keys) }
	return syncer{
		name: bpf.OvlMapOvlTables,
		add: func() (n int, errs []error) {
			var keys []bpf.OvlTableKey
			for k, c := range want {
				if id := have[k]; id == 0 || m.made[c] != ebpf.MapID(id) {
					keys = append(keys, k)
				}
			}
			for some := range slices.Chunk(keys, tableBatch) {
				done, failures := inBatches(some, put, func(k bpf.OvlTableKey) error {
					return put([]bpf.OvlTableKey{k})
				}, failed)
				n, errs = n+done, append(errs, failures...)
			}
			return n, errs
		},
		// Together, for the kernel waits after each call, as in put.
		del: func() (int, []error) { return deleteOthers(outer, have, want, failed) },
	}, nil
}

// put leads keys to their tables. The kernel waits, at the end of each call, until
// no program has the old ones any more.
func (m *shareMaps) put(outer *ebpf.Map, t *serviceTables, keys []bpf.OvlTableKey) error {
	opened := map[contentKey]*ebpf.Map{}
	defer func() {
		for _, inner := range opened {
			_ = inner.Close()
		}
	}()
	descriptors := make([]uint32, len(keys))
	for i, k := range keys {
		c := t.shares.now[k]
		if opened[c] == nil {
			inner, err := m.open(t.contents[c])
			if err != nil {
				return err
			}
			opened[c] = inner
		}
		descriptors[i] = uint32(opened[c].FD())
	}
	if len(keys) == 1 {
		return outer.Put(keys[0], opened[t.shares.now[keys[0]]])
	}
	_, err := outer.BatchUpdate(keys, descriptors, nil)
	return err
}

// release lets go of contents that nobody has any more.
func (m *shareMaps) release(idle map[contentKey]bool) {
	for key := range idle {
		delete(m.made, key)
	}
}
