package agent

import (
	"sync"

	"github.com/ovlnet/ovl/control/dns"
	"github.com/ovlnet/ovl/control/dns/zone"
)

// zones shows the newest tables as names see them.
type zones struct {
	mu     sync.Mutex
	reader zone.Reader
}

// look is asked at each query: what the tables do not have is not answered, from
// that moment on.
func (a *Agent) look() *zone.View {
	a.zones.mu.Lock()
	defer a.zones.mu.Unlock()
	return a.zones.reader.Read(a.tables())
}

// newNameServer answers names by the tables of this host, and others by its
// resolvers.
func (a *Agent) newNameServer() nameServer {
	return dns.New(dns.Options{Look: a.look, Resolvers: a.resolvers.list, Logger: a.log})
}
