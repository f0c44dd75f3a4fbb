package kernel

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/ovlnet/ovl/bpf"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// TestPathsKeepWhatIsLearned: a State that is applied again takes nothing away
// from what the programs have learned of a path, and a peer that is gone all.
func TestPathsKeepWhatIsLearned(t *testing.T) {
	b := newBed(t, linktest.Options{Hosts: 2}, HookAuto)
	b.attach(0, testVNI, "10.0.0.2/24")
	b.attach(1, testVNI, "10.0.0.3/24")
	b.connect()
	h, paths := b.hosts[0], b.hosts[0].dp.objs.OvlPaths
	key := bpf.OvlPathKey{Vtep: b.hosts[1].Addr.As16()}
	if err := paths.Put(key, bpf.OvlPathEntry{Learned: 1300, Expires: 7}); err != nil {
		t.Fatal(err)
	}
	h.state.Peers = []datapath.Peer{{VTEP: b.hosts[1].Addr, MTU: 1400}}
	h.apply(t)
	var e bpf.OvlPathEntry
	if err := paths.Lookup(key, &e); err != nil || e != (bpf.OvlPathEntry{Limit: 1400, Learned: 1300, Expires: 7}) {
		t.Errorf("entry is %+v, %v, want the limit beside what was learned", e, err)
	}
	h.state.Networks[0].Remotes = nil
	h.apply(t)
	if err := paths.Lookup(key, &e); err == nil {
		t.Errorf("entry of a peer that is gone: %+v", e)
	}
}

// TestPathLimits: the least of what is known counts, and routes are asked for
// once in a while.
func TestPathLimits(t *testing.T) {
	a, b, c := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")
	s := datapath.State{
		Networks: []datapath.Network{{Remotes: []datapath.Remote{{VTEP: a}, {VTEP: b}, {VTEP: b}, {VTEP: c}}}},
		Peers:    []datapath.Peer{{VTEP: a, MTU: 1400}, {VTEP: b, MTU: 1500}, {VTEP: netip.MustParseAddr("192.0.2.9"), MTU: 1300}},
	}
	asked := 0
	routeMTU := func(vtep netip.Addr) (int, error) {
		asked++
		switch vtep {
		case a:
			return 0, nil
		case b:
			return 1450, nil
		}
		return 0, errors.New("no route to host")
	}
	var table pathTable
	now := time.Unix(1000, 0)
	for _, step := range []struct {
		after time.Duration
		asked int
	}{{0, 3}, {askAgain - 1, 3}, {askAgain, 6}} {
		table.refresh(now.Add(step.after))
		limits := table.limits(s, routeMTU)
		if len(limits) != 3 || limits[a] != 1400 || limits[b] != 1450 || limits[c] != 0 {
			t.Errorf("limits are %v", limits)
		}
		if asked != step.asked {
			t.Errorf("after %v routes were asked for %d times, want %d", step.after, asked, step.asked)
		}
	}
}
