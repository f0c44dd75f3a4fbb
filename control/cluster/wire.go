package cluster

import (
	"errors"
	"net/netip"

	"github.com/ovlnet/ovl/control/cluster/member"
	"github.com/ovlnet/ovl/control/cluster/rpc"
	"github.com/ovlnet/ovl/control/cluster/trust"
)

// Wire makes the two ways to reach other hosts: gossip for who is there and
// small changes, requests for the tables. clustertest.Hub has one without a
// network.
type Wire interface {
	// Transport takes the sync port of this host.
	Transport(nodeID string) (rpc.Transport, error)
	// Membership begins to gossip. It is called once, after Transport.
	Membership(local member.Local) (member.Membership, error)
}

// network is the Wire of real hosts.
type network struct{ opt Options }

func (n network) Transport(nodeID string) (rpc.Transport, error) {
	if n.opt.Secret == (trust.Secret{}) {
		return nil, errors.New("the cluster's secret is missing")
	}
	id, err := n.opt.Secret.Identity()
	if err != nil {
		return nil, err
	}
	return rpc.ListenHTTP(rpc.HTTPOptions{
		Addr:     netip.AddrPortFrom(n.opt.Addr, n.opt.SyncPort),
		NodeID:   nodeID,
		Identity: id,
		Logger:   n.opt.Logger,
	})
}

func (n network) Membership(local member.Local) (member.Membership, error) {
	return member.StartSerf(member.SerfOptions{
		Local:  local,
		Key:    n.opt.Secret.GossipKey(),
		Logger: n.opt.Logger,
	})
}
