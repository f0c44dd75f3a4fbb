// Package balance says which backend of a service a flow goes to. It depends on
// nothing but the flow and the service's backends, so that every host and both
// datapaths say the same: a Table for each service, and a Hash of the flow that
// chooses the entry.
package balance

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// DefaultSize is the usual number of entries: a prime, and so many that the
// shares of a hundred backends differ by a percent or two.
const DefaultSize = 16381

// MaxSize bounds a Table.
const MaxSize = 1<<17 - 1

// Sizes are those that a Table may have: primes, each about four times the one
// before.
var Sizes = []int{1021, 4093, DefaultSize, 65521, MaxSize}

// CheckSize refuses a size that is none of Sizes.
func CheckSize(size int) error {
	if !slices.Contains(Sizes, size) {
		return fmt.Errorf("table size %d is none of %d", size, Sizes)
	}
	return nil
}

// Backend is one of those that share a service's flows.
type Backend struct {
	// Name tells it from others and is the same on every host. What its flows
	// are depends on it.
	Name string
	// Weight is its share of the flows, in proportion to the others' weights.
	// One of weight 0 gets none.
	Weight uint16
}

// Table returns, for each of size entries, the index of the backend that it
// leads to; nil if no backend has any weight. size is a prime.
//
// It is Maglev hashing (Eisenbud et al., NSDI 2016, section 3.4): each backend
// takes entries in turn, in an order of its own, so that shares are as even as
// can be, and that few entries move between others when one comes or goes. A
// backend of twice the weight has twice the turns. Neither the order of backends
// nor what other services have makes a difference.
func Table(backends []Backend, size int) []uint16 {
	const free = math.MaxUint16
	var most uint16
	order := make([]int, 0, len(backends))
	for i, b := range backends {
		most = max(most, b.Weight)
		if b.Weight > 0 {
			order = append(order, i)
		}
	}
	if most == 0 {
		return nil
	}
	slices.SortFunc(order, func(x, y int) int {
		a, b := backends[x].Name, backends[y].Name
		switch {
		case a < b:
			return -1
		case a > b:
			return 1
		}
		return 0
	})
	walks := make([]walk, len(order))
	for i, at := range order {
		walks[i] = newWalk(backends[at], size)
	}
	table := make([]uint16, size)
	for i := range table {
		table[i] = free
	}
	for taken := 0; ; {
		for i := range walks {
			w := &walks[i]
			if w.credit += uint32(w.weight); w.credit < uint32(most) {
				continue
			}
			w.credit -= uint32(most)
			for table[w.at] != free {
				w.step()
			}
			table[w.at] = uint16(order[i])
			if taken++; taken == size {
				return table
			}
		}
	}
}

// MaxBackends is how many backends a Table can tell apart.
const MaxBackends = math.MaxUint16

// walk is a backend's way through the table. skip and the table's size have no
// common divisor, so it comes by every entry.
type walk struct {
	at, skip, size uint32
	weight         uint16
	credit         uint32
}

func newWalk(b Backend, size int) walk {
	sum := sha256.Sum256([]byte(b.Name))
	return walk{
		at:     uint32(binary.BigEndian.Uint64(sum[:]) % uint64(size)),
		skip:   uint32(binary.BigEndian.Uint64(sum[8:])%uint64(size-1)) + 1,
		size:   uint32(size),
		weight: b.Weight,
	}
}

func (w *walk) step() {
	if w.at += w.skip; w.at >= w.size {
		w.at -= w.size
	}
}
