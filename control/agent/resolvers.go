package agent

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/ovlnet/ovl/control/store"
)

// hostResolvers are those that outside names are asked of: the ones that the agent
// was told, or those of the host's resolv.conf as it is now.
type hostResolvers struct {
	fixed []netip.AddrPort
	path  string
	// isGateway reports whether an address is one at which this host itself answers.
	isGateway func(netip.Addr) bool

	mu    sync.Mutex
	stamp fileStamp
	read  []netip.AddrPort
}

// fileStamp tells whether a file has changed.
type fileStamp struct {
	modified time.Time
	size     int64
}

// list returns them in the order in which they should be asked; the caller may keep it. None
// where there are none, or the file cannot be read.
func (r *hostResolvers) list() []netip.AddrPort {
	if len(r.fixed) > 0 {
		return slices.Clone(r.fixed)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refresh()
	return slices.DeleteFunc(slices.Clone(r.read), func(to netip.AddrPort) bool { return r.isGateway(to.Addr()) })
}

// refresh reads the file if it has changed. One that is there, and cannot be read,
// may be in the making: what was read before goes on.
func (r *hostResolvers) refresh() {
	info, err := os.Stat(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		r.stamp, r.read = fileStamp{}, nil
		return
	}
	if err != nil {
		return
	}
	now := fileStamp{info.ModTime(), info.Size()}
	if now == r.stamp {
		return
	}
	config, err := dns.ClientConfigFromFile(r.path)
	if err != nil {
		return
	}
	r.stamp, r.read = now, nil
	for _, text := range config.Servers {
		to, err := netip.ParseAddr(text)
		if err != nil {
			continue
		}
		if resolver := netip.AddrPortFrom(to.Unmap(), 53); !slices.Contains(r.read, resolver) {
			r.read = append(r.read, resolver)
		}
	}
}

// isGateway reports whether an address is the gateway of a network that this host has an
// endpoint of. One of another network may be somebody's on the underlay.
func (a *Agent) isGateway(addr netip.Addr) bool {
	t := a.tables()
	for id, n := range t.Networks {
		has := func(s store.Subnet) bool { return s.Gateway == addr }
		if !slices.ContainsFunc(n.Subnets, has) {
			continue
		}
		for _, e := range t.Endpoints {
			if e.Network == id && e.Node == a.self.ID {
				return true
			}
		}
	}
	return false
}
