package cluster

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/ovlnet/ovl/control/cluster/member"
)

// ConflictKind says what two hosts both claim.
type ConflictKind string

const (
	// ConflictName says that two hosts have one node name. Both are members; for
	// people, the name means the winner.
	ConflictName ConflictKind = "name"
	// ConflictID says that two hosts run with one node ID, most likely from a cloned
	// disk. The loser must stop: its rows and the winner's are mixed up.
	ConflictID ConflictKind = "id"
)

// Conflict is one claim of two hosts, for operators to resolve. Every host that
// knows both claimants names the same winner.
type Conflict struct {
	Kind  ConflictKind
	Value string // the name or ID
	// Winner and Loser: of a name, the lower node ID wins; of a node ID, the lower
	// sync address.
	Winner, Loser Claimant
}

// Claimant is one of the two.
type Claimant struct {
	ID   string
	Sync netip.AddrPort
}

// conflictMemory is how long after its last sighting a conflict of node IDs is
// kept: the gossip repeats them several times a minute.
const conflictMemory = time.Minute

// conflicts is what is known of them.
type conflicts struct {
	mu       sync.Mutex
	names    []Conflict
	ids      map[Conflict]time.Time // last seen
	checking map[Claimant]bool

	report sync.Mutex // one call of OnConflict at a time
	disown sync.Once
}

func newConflicts() *conflicts {
	return &conflicts{ids: make(map[Conflict]time.Time), checking: make(map[Claimant]bool)}
}

// Conflicts lists those that exist now.
func (c *Cluster) Conflicts() []Conflict {
	k := c.conflicts
	k.mu.Lock()
	defer k.mu.Unlock()
	out := slices.Clone(k.names)
	for conflict, last := range k.ids {
		if time.Since(last) < conflictMemory {
			out = append(out, conflict)
		} else {
			delete(k.ids, conflict)
		}
	}
	slices.SortFunc(out, func(a, b Conflict) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Value, b.Value), cmp.Compare(a.Loser.ID, b.Loser.ID))
	})
	return out
}

// checkNames looks for live hosts with one name and reports what is new.
func (c *Cluster) checkNames() {
	live := append(c.peers.with(member.Alive), member.Member{Local: c.local, Status: member.Alive})
	found := nameConflicts(live)
	k := c.conflicts
	k.mu.Lock()
	known := k.names
	k.names = found
	k.mu.Unlock()
	for _, conflict := range found {
		if !slices.Contains(known, conflict) {
			c.reportConflict(conflict)
		}
	}
}

// nameConflicts finds the names with several claimants; the lowest ID wins.
func nameConflicts(live []member.Member) []Conflict {
	slices.SortFunc(live, func(a, b member.Member) int { return cmp.Compare(a.ID, b.ID) })
	winners := make(map[string]Claimant)
	var out []Conflict
	for _, m := range live {
		claim := Claimant{m.ID, m.Sync()}
		winner, taken := winners[m.Name]
		if !taken {
			winners[m.Name] = claim
			continue
		}
		out = append(out, Conflict{ConflictName, m.Name, winner, claim})
	}
	return out
}

// checkClash finds out whether an ID that the gossip saw at two addresses has
// two hosts, or one that moved: it asks at both.
func (c *Cluster) checkClash(e member.Event) {
	k := c.conflicts
	a, b := Claimant{e.Member.ID, e.Member.Sync()}, Claimant{e.Member.ID, e.Other}
	k.mu.Lock()
	busy := k.checking[a]
	k.checking[a] = true
	k.mu.Unlock()
	if busy {
		return
	}
	c.goDo(func() {
		defer func() {
			k.mu.Lock()
			delete(k.checking, a)
			k.mu.Unlock()
		}()
		if !c.bothThere(a, b) {
			return
		}
		conflict := Conflict{ConflictID, a.ID, a, b}
		if b.Sync.Compare(a.Sync) < 0 {
			conflict.Winner, conflict.Loser = b, a
		}
		k.mu.Lock()
		last, known := k.ids[conflict]
		k.ids[conflict] = time.Now()
		k.mu.Unlock()
		if !known || time.Since(last) > conflictMemory {
			c.reportConflict(conflict)
		}
	})
}

// bothThere reports whether two processes answer under one ID.
func (c *Cluster) bothThere(a, b Claimant) bool {
	var nonces [2]string
	for i, claim := range []Claimant{a, b} {
		answer, err := c.hello(c.ctx, claim.Sync, true)
		if err != nil || answer.ID != claim.ID {
			return false
		}
		nonces[i] = answer.Nonce
	}
	return nonces[0] != nonces[1]
}

// disowned ends this host's claim to its node ID.
func (c *Cluster) disowned(err error) {
	c.conflicts.disown.Do(func() {
		c.log.Error("this host is not the one of its node ID", "err", err)
		c.opt.OnDisowned(err)
	})
}

func (c *Cluster) reportConflict(conflict Conflict) {
	c.log.Error("two hosts claim the same", "kind", conflict.Kind, "value", conflict.Value,
		"winner", conflict.Winner.Sync, "loser", conflict.Loser.Sync, "loser_node", conflict.Loser.ID)
	c.conflicts.report.Lock()
	defer c.conflicts.report.Unlock()
	c.opt.OnConflict(conflict)
	if conflict.Kind == ConflictID && conflict.Loser == (Claimant{c.local.ID, netip.AddrPortFrom(c.local.Addr, c.local.SyncPort)}) {
		c.disowned(fmt.Errorf("node ID %s runs at %s too: a cloned disk?", conflict.Value, conflict.Winner.Sync))
	}
}
