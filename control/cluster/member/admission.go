package member

import (
	"fmt"
	"log/slog"
	"net/netip"
	"sync"

	"github.com/hashicorp/serf/serf"
)

// admission looks at every member before Serf takes it. It refuses those that
// speak another protocol or have an underlay of the other family, and notices when one ID is claimed from two
// addresses. In that case Serf keeps the address it knew first; the other host
// is not shut down, and whoever reads the Clash decides.
type admission struct {
	local Local
	clash func(claimant Member, other netip.AddrPort)
	log   *slog.Logger

	mu    sync.Mutex
	alive map[string]netip.AddrPort // ID to sync address
}

// NotifyMerge implements serf.MergeDelegate. Serf calls it for the members of
// a whole push/pull, whose error would refuse all of them, and again for each
// alone. It may hold its locks: nothing here may call back or block.
func (a *admission) NotifyMerge(members []*serf.Member) error {
	if len(members) != 1 {
		return nil
	}
	m, err := fromSerf(*members[0])
	if err != nil {
		return err
	}
	if m.Protocol != a.local.Protocol {
		return fmt.Errorf("member %s speaks protocol version %d, this host %d", m.Name, m.Protocol, a.local.Protocol)
	}
	if m.Addr.Is4() != a.local.Addr.Is4() {
		return fmt.Errorf("member %s has the underlay address %s, this host %s: a cluster has one family", m.Name, m.Addr, a.local.Addr)
	}
	if m.Status == Left {
		return nil
	}
	a.mu.Lock()
	known, ok := a.alive[m.ID]
	a.mu.Unlock()
	if ok && known != m.Sync() {
		a.clash(m, known)
	}
	return nil
}

// seen keeps who is alive where.
func (a *admission) seen(m Member) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if m.Status != Alive {
		delete(a.alive, m.ID)
		return
	}
	if a.alive == nil {
		a.alive = make(map[string]netip.AddrPort)
	}
	a.alive[m.ID] = m.Sync()
}
