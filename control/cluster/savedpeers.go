package cluster

import (
	"encoding/json"
	"fmt"
	"net/netip"

	"github.com/ovlnet/ovl/control/cluster/member"
	"github.com/ovlnet/ovl/control/store"
)

// metaPeers is where the addresses of the others are kept, on this host only,
// so that it finds them again after a restart.
const metaPeers = "cluster.peers"

// savedPeer is one of them on disk.
type savedPeer struct {
	ID     string         `json:"id"`
	Name   string         `json:"name"`
	Gossip netip.AddrPort `json:"gossip"`
	Sync   netip.AddrPort `json:"sync"`
}

// keepPeers writes the addresses if they have changed. It is called with every
// round of anti-entropy and at the end: a host that dies in between still has
// the others' node rows to go by.
func (c *Cluster) keepPeers() {
	p := c.peers
	p.mu.Lock()
	unsaved := p.unsaved
	p.unsaved = false
	p.mu.Unlock()
	if !unsaved || c.left.Load() {
		return
	}
	if err := savePeers(c.store, p.with(member.Alive, member.Failed)); err != nil {
		c.log.Warn("a restart may not find every peer", "err", err)
		p.mu.Lock()
		p.unsaved = true // the next round tries again
		p.mu.Unlock()
	}
}

func savePeers(s *store.Store, members []member.Member) error {
	list := make([]savedPeer, 0, len(members))
	for _, m := range members {
		list = append(list, savedPeer{m.ID, m.Name, m.Gossip(), m.Sync()})
	}
	b, err := json.Marshal(list)
	if err == nil {
		err = s.SetMeta(metaPeers, b)
	}
	if err != nil {
		return fmt.Errorf("keep the peers' addresses: %w", err)
	}
	return nil
}

// loadPeers returns the peers on disk, as failed until they are heard.
func loadPeers(s *store.Store) ([]member.Member, error) {
	b, ok, err := s.GetMeta(metaPeers)
	if err != nil || !ok {
		return nil, err
	}
	var list []savedPeer
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, fmt.Errorf("the peers' addresses on disk: %w", err)
	}
	var out []member.Member
	for _, p := range list {
		out = append(out, member.Member{
			Local: member.Local{
				ID: p.ID, Name: p.Name, Addr: p.Sync.Addr(),
				GossipPort: p.Gossip.Port(), SyncPort: p.Sync.Port(),
			},
			Status: member.Failed,
		})
	}
	return out, nil
}
