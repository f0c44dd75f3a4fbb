// Package zone is what names mean in each network: the replicated tables, arranged
// so that a name is found at once.
//
//	reconcile.Tables ── Reader.Read ──▶ View ──▶ Client ── Lookup ──▶ Answer
//	                                       └─── Explain ──▶ Explanation
//
// Only what names lead to is arranged. Whether it serves is asked of the tables
// each time, by the rules that the datapath's State is built by (carried.go): a
// View is right as soon as its Tables are. docs/names.md has the forms of names.
package zone

import (
	"bytes"
	"net/netip"
	"strings"

	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/encap"
)

// View is what names mean as of one Tables. It never changes.
type View struct {
	tables *reconcile.Tables
	// node is the host's own ID, and reached are the nodes whose endpoints it
	// carries.
	node    string
	reached map[string]bool
	// networks are by ID, named by name in lower case: the oldest of that name.
	networks map[string]*network
	named    map[string]string
	// here are the host's endpoints by the inode of their namespace.
	here index[uint64]
}

// Version is that of the tables.
func (v *View) Version() uint64 { return v.tables.Version }

// network is what is found in one network.
type network struct {
	// row is zero if there is none yet: rows come in any order.
	row store.Network
	// suffix is a dot and the name in lower case; "" if no query can have it.
	suffix string
	// names are those of endpoints and their aliases.
	names    index[string]
	addrs    index[netip.Addr]
	macs     index[encap.MAC]
	services index[string]
	vips     index[netip.Addr]
}

func newNetwork() *network {
	return &network{
		names:    newIndex(strings.Compare),
		addrs:    newIndex(netip.Addr.Compare),
		macs:     newIndex(func(a, b encap.MAC) int { return bytes.Compare(a[:], b[:]) }),
		services: newIndex(strings.Compare),
		vips:     newIndex(netip.Addr.Compare),
	}
}

func (n *network) clone() *network {
	return &network{
		row: n.row, suffix: n.suffix,
		names: n.names.clone(), addrs: n.addrs.clone(), macs: n.macs.clone(),
		services: n.services.clone(), vips: n.vips.clone(),
	}
}

// empty reports whether nothing is known of n.
func (n *network) empty() bool {
	return n.row.ID == "" && n.names.len()+n.addrs.len()+n.macs.len()+n.services.len()+n.vips.len() == 0
}
