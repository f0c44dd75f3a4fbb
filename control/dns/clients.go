package dns

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/ovlnet/ovl/control/dns/zone"
)

// budget is what one endpoint of a network may still ask, over all its addresses.
type budget struct {
	queries *rate.Limiter
	// share is what it may ask over UDP beside others.
	share *rate.Limiter
	// connections and outside are how many TCP connections it has, and how many
	// of its questions the host's resolvers are being asked.
	connections, outside atomic.Int32
}

// perQuery is how many addresses a query may be answered with. It counts once more
// for each as many, for they take that long to find.
const perQuery = 16

// charge takes from the budget what an answer with that many addresses cost beside
// its query.
func (b *budget) charge(now time.Time, addresses int) {
	for _, l := range []*rate.Limiter{b.queries, b.share} {
		if more := min(addresses/perQuery, l.Burst()); more > 0 {
			l.ReserveN(now, more)
		}
	}
}

// client is the endpoint that asked from an address. What it is in a View is not
// kept: that would keep the View.
type client struct {
	endpoint string
	*budget
}

// clients are those that have asked in one network: endpoints only. All others
// share one budget.
type clients struct {
	network   string
	newBudget func() *budget
	strangers *budget

	mu     sync.Mutex
	byAddr map[netip.Addr]client
	// sweepAt is at how many those that are gone are looked for.
	sweepAt int
}

func newClients(network string, newBudget func() *budget) *clients {
	return &clients{
		network: network, newBudget: newBudget, strangers: newBudget(),
		byAddr: make(map[netip.Addr]client), sweepAt: minSweep,
	}
}

// minSweep is how many clients are never too many.
const minSweep = 64

// known returns the budget of an endpoint that has asked before; nil of others.
func (c *clients) known(addr netip.Addr) *budget {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byAddr[addr].budget
}

// find returns who has an address in v; false if it is no endpoint of this host.
func (c *clients) find(v *zone.View, addr netip.Addr) (zone.Client, *budget, bool) {
	who, there := v.Client(c.network, addr)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !there {
		delete(c.byAddr, addr)
		return who, c.strangers, false
	}
	k, again := c.byAddr[addr]
	if !again || k.endpoint != who.Endpoint() {
		k = client{endpoint: who.Endpoint(), budget: c.budgetOf(who)}
		c.byAddr[addr] = k
		c.sweep(v)
	}
	return who, k.budget, true
}

// budgetOf returns the budget of an endpoint, which may have asked from another of
// its addresses.
func (c *clients) budgetOf(who zone.Client) *budget {
	for _, p := range who.Addrs() {
		if k := c.byAddr[p.Addr()]; k.endpoint == who.Endpoint() {
			return k.budget
		}
	}
	return c.newBudget()
}

// sweep forgets endpoints that are gone, each time that there are twice as many as
// were left the last time.
func (c *clients) sweep(v *zone.View) {
	if len(c.byAddr) < c.sweepAt {
		return
	}
	for addr, k := range c.byAddr {
		if who, there := v.Client(c.network, addr); !there || who.Endpoint() != k.endpoint {
			delete(c.byAddr, addr)
		}
	}
	c.sweepAt = max(minSweep, 2*len(c.byAddr))
}
