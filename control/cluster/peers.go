package cluster

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/ovlnet/ovl/control/cluster/member"
	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/datapath"
)

// Peer is another host as this one knows it, for `ovlctl peers`.
type Peer struct {
	ID     string
	Name   string
	VTEP   netip.Addr
	Sync   netip.AddrPort
	Status member.Status
	// Since is when the status began, as seen from here; for one that has
	// failed before this host started, that start.
	Since time.Time
	// Version and Datapath are what the peer's node row says; empty until it
	// has arrived.
	Version  string
	Datapath datapath.Kind
	// LastSync is when tables were last compared with the peer; zero: not since this
	// host started.
	LastSync time.Time
}

// peer is what is kept of one.
type peer struct {
	member.Member
	met      bool // the gossip has spoken of it since this host started
	since    time.Time
	lastSync time.Time
	heard    store.Vector // what it last said that it has seen
}

// peers is everyone else this host has heard of.
type peers struct {
	start time.Time

	mu      sync.Mutex
	byID    map[string]*peer
	unsaved bool // addresses have changed since they were last kept
}

func newPeers(known []member.Member) *peers {
	p := &peers{start: time.Now(), byID: make(map[string]*peer)}
	for _, m := range known {
		p.byID[m.ID] = &peer{Member: m, since: p.start}
	}
	return p
}

// see takes in what the gossip says, and reports whether the peer has come (or
// come back) to life by it.
func (p *peers) see(m member.Member) (returned bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old, ok := p.byID[m.ID]
	if !ok {
		old = &peer{}
		p.byID[m.ID] = old
	}
	returned = m.Status == member.Alive && (old.Status != member.Alive || old.Incarnation != m.Incarnation)
	if old.Sync() != m.Sync() || old.Gossip() != m.Gossip() || old.Name != m.Name ||
		(old.Status == member.Left) != (m.Status == member.Left) {
		p.unsaved = true
	}
	if old.Status != m.Status || old.Incarnation != m.Incarnation {
		old.since = time.Now()
	}
	if returned || m.Status != member.Alive {
		old.heard = nil // a vector is large, and that of one who left would stay for ever
	}
	old.Member, old.met = m, true
	return returned
}

// synced notes that tables were compared, and what the peer has seen.
func (p *peers) synced(id string, v store.Vector) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if known, ok := p.byID[id]; ok {
		known.lastSync = time.Now()
		known.heard = v
	}
}

// heardOf notes what a peer that asks us has seen, or lacks.
func (p *peers) heardOf(id string, v store.Vector) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if known, ok := p.byID[id]; ok {
		known.heard = v
	}
}

// get returns one, if it is known.
func (p *peers) get(id string) (member.Member, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known, ok := p.byID[id]
	if !ok {
		return member.Member{}, false
	}
	return known.Member, true
}

// with returns those in one of the states, by ID.
func (p *peers) with(states ...member.Status) []member.Member {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []member.Member
	for _, known := range p.byID {
		if slices.Contains(states, known.Status) {
			out = append(out, known.Member)
		}
	}
	slices.SortFunc(out, func(a, b member.Member) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// unseen returns whether a live peer has said to have seen what v does not
// cover, and whether any live peer has spoken at all.
func (p *peers) unseen(v store.Vector) (ahead, spoken, alone bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	alone = true
	for _, known := range p.byID {
		if known.Status != member.Alive {
			continue
		}
		alone = false
		if known.heard != nil {
			spoken = true
			ahead = ahead || !v.Covers(known.heard)
		}
	}
	return ahead, spoken, alone
}

// Statuses returns how the other hosts are, by node ID: those that the gossip has
// spoken of since this host started.
func (c *Cluster) Statuses() map[string]member.Status {
	p := c.peers
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make(map[string]member.Status, len(p.byID))
	for id, known := range p.byID {
		if known.met {
			out[id] = known.Status
		}
	}
	return out
}

// Peers lists the other hosts by name: those that are alive, those that failed
// and have not been removed, and those that have left while their node row is
// still there. A host whose row is gone has left, and is not listed.
func (c *Cluster) Peers() []Peer {
	rows := make(map[string]store.Node)
	for row := range c.store.Snapshot().All(store.TableNode) {
		var n store.Node
		if row.Key == c.local.ID || row.Decode(&n) != nil {
			continue
		}
		rows[row.Key] = n
	}
	p := c.peers
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []Peer
	for id, known := range p.byID {
		row, ok := rows[id]
		delete(rows, id)
		if !ok && known.Status != member.Alive {
			continue
		}
		out = append(out, Peer{
			ID: id, Name: known.Name, VTEP: known.Addr, Sync: known.Sync(),
			Status: known.Status, Since: known.since, LastSync: known.lastSync,
			Version: row.Version, Datapath: row.Datapath,
		})
	}
	// Failed before this host first met them: all there is is the row.
	for id, row := range rows {
		out = append(out, Peer{
			ID: id, Name: row.Name, VTEP: row.VTEP, Status: member.Failed, Since: p.start,
			Version: row.Version, Datapath: row.Datapath,
		})
	}
	slices.SortFunc(out, func(a, b Peer) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return out
}
