package kernel

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"

	"github.com/ovlnet/ovl/bpf"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/link"
)

// askAgain is how old the answer about a route may be when all is looked at again:
// a change of routes is not told to us.
const askAgain = 2 * time.Second

// pathTable is what limits the packets to each VTEP beside the device that they
// leave by: an MTU that the route names, which the programs' own look-up tells
// only where it is locked, and the underlay of the host at the other end.
type pathTable struct {
	routes map[netip.Addr]int // MTU, 0: the route names none
	asked  time.Time
}

// refresh forgets answers that are old.
func (t *pathTable) refresh(now time.Time) {
	if now.Sub(t.asked) >= askAgain {
		t.routes, t.asked = map[netip.Addr]int{}, now
	}
}

// limits returns the MTU for every VTEP that s names, 0 where there is no limit.
// routeMTU asks the kernel; a route that it does not find limits nothing.
func (t *pathTable) limits(s datapath.State, routeMTU func(netip.Addr) (int, error)) map[netip.Addr]int {
	limits := map[netip.Addr]int{}
	for _, n := range s.Networks {
		for _, r := range n.Remotes {
			if _, ok := limits[r.VTEP]; ok {
				continue
			}
			mtu, ok := t.routes[r.VTEP]
			if !ok {
				mtu, _ = routeMTU(r.VTEP)
				t.routes[r.VTEP] = mtu
			}
			limits[r.VTEP] = mtu
		}
	}
	for _, p := range s.Peers {
		if limit, ok := limits[p.VTEP]; ok && (limit == 0 || p.MTU < limit) {
			limits[p.VTEP] = p.MTU
		}
	}
	return limits
}

// syncPaths brings ovl_paths to these limits and leaves alone what the programs
// have learned. The two may write one entry at once; what is lost then is what a
// router will say again.
func syncPaths(m *ebpf.Map, limits map[netip.Addr]int) error {
	have, err := readAll[bpf.OvlPathKey, bpf.OvlPathEntry](m)
	if err != nil {
		return fmt.Errorf("read map ovl_paths: %w", err)
	}
	want := map[bpf.OvlPathKey]bpf.OvlPathEntry{}
	for vtep, limit := range limits {
		k := bpf.OvlPathKey{Vtep: vtep.As16()}
		e := have[k]
		e.Limit = uint32(limit)
		want[k] = e
	}
	if maps.Equal(have, want) {
		return nil
	}
	y := syncerOf(bpf.OvlMapOvlPaths, m, have, want)
	_, errs := y.add()
	_, more := y.del()
	return errors.Join(append(errs, more...)...)
}

// routeMTU asks for the way from this host's VTEP.
func (d *Datapath) routeMTU(vtep netip.Addr) (int, error) { return link.RouteMTU(d.opts.VTEP, vtep) }
