package agent

import (
	"sync"

	"github.com/ovlnet/ovl/control/dns"
	"github.com/ovlnet/ovl/control/dns/zone"
	"github.com/ovlnet/ovl/control/reconcile"
)

// zones shows the newest tables as names see them.
type zones struct {
	tables func() *reconcile.Tables

	mu     sync.Mutex
	reader zone.Reader
	last   *reconcile.Tables
	view   *zone.View
}

// look is asked at each query: what the tables do not have is not answered, from
// that moment on.
func (z *zones) look() *zone.View {
	z.mu.Lock()
	defer z.mu.Unlock()
	if t := z.tables(); t != z.last {
		z.view, z.last = z.reader.Read(t), t
	}
	return z.view
}

// newNameServer answers names by the tables of this host, and others by its
// resolvers.
func (a *Agent) newNameServer() nameServer {
	z := &zones{tables: a.tables, reader: zone.Reader{Local: a.local}}
	return dns.New(dns.Options{Look: z.look, Resolvers: a.resolvers.list, Logger: a.log})
}
