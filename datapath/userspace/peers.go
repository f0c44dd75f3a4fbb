package userspace

import (
	"fmt"
	"net/netip"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/userspace/forward"
)

// peerAt returns the peer with that VTEP, made if need be.
func (d *Datapath) peerAt(vtep netip.Addr) (*forward.Peer, error) {
	if p := d.peers[vtep]; p != nil {
		return p, nil
	}
	if vtep.Is6() != d.opts.VTEP.Is6() {
		return nil, fmt.Errorf("VTEP %s: not of the family of this host's underlay", vtep)
	}
	path, err := d.tunnel.Path(vtep)
	if err != nil {
		return nil, fmt.Errorf("VTEP %s: %w", vtep, err)
	}
	p := &forward.Peer{VTEP: vtep, Path: path}
	path.Owner = p
	d.saved.restorePeer(p)
	d.peers[vtep] = p
	return p, nil
}

// limitPeers sets what hosts say of their own underlays.
func (d *Datapath) limitPeers(s datapath.State) {
	limits := map[netip.Addr]int{}
	for _, p := range s.Peers {
		limits[p.VTEP] = p.MTU
	}
	for vtep, p := range d.peers {
		p.Limit(limits[vtep])
	}
}

// removePeers takes those away that have no network any more.
func (d *Datapath) removePeers() {
	wanted := d.table.Load().Peers()
	for vtep, p := range d.peers {
		if wanted[vtep] {
			continue
		}
		delete(d.peers, vtep)
		d.saved.foldPeer(p)
	}
}
