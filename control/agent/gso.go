package agent

import (
	"context"
	"time"

	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/datapath"
)

const (
	// gsoInterval is how often the underlay's features are looked at: an
	// operator may change them with ethtool.
	gsoInterval = time.Second
	// gsoDefault is what an interface has by itself, in bytes, and what a
	// device that segments can take.
	gsoDefault = 65536
	// gsoSoftware is for an underlay where the kernel segments. It takes any
	// size, and each packet's way to it, and the waking of the receiver,
	// then serve twice the bytes (docs/adr/0008-large-segments.md).
	gsoSoftware = 131072
)

// sizeSegments keeps the largest packet that endpoints hand to the datapath at
// what suits the underlay, until ctx ends. It makes things faster and is
// needed for nothing: what fails is tried again, quietly.
func (a *Agent) sizeSegments(ctx context.Context) {
	sizes := map[string]int{} // by endpoint ID
	tick := time.NewTicker(gsoInterval)
	defer tick.Stop()
	for {
		a.sizeSegmentsOnce(sizes)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// sizeSegmentsOnce sets what differs from sizes, which holds what was set
// before.
func (a *Agent) sizeSegmentsOnce(sizes map[string]int) {
	segments, err := a.host.SegmentsTunnels(a.underlay.Name)
	if err != nil {
		a.log.Debug("features of the underlay unknown", "device", a.underlay.Name, "err", err)
		return
	}
	want := gsoSoftware
	if segments || a.datapath.Kind == datapath.Userspace {
		want = gsoDefault // a TAP takes no more either
	}
	present := map[string]bool{}
	for _, e := range a.ownEndpoints() {
		if e.Kind != datapath.Veth {
			continue // a TAP's size is its program's affair
		}
		present[e.ID] = true
		if sizes[e.ID] == want {
			continue
		}
		if err := a.setSegmentSize(e, want); err != nil {
			a.log.Debug("size of segments not set", "endpoint", e.Name, "err", err)
			continue
		}
		sizes[e.ID] = want
	}
	for id := range sizes {
		if !present[id] {
			delete(sizes, id)
		}
	}
}

func (a *Agent) setSegmentSize(e store.Endpoint, size int) error {
	ns, err := a.host.OpenNamespace(e.Netns, e.PID)
	if err != nil {
		return err
	}
	defer ns.Close() //nolint:errcheck // only looked into
	if ns.Inode() != e.NetnsInode {
		return nil // the name leads elsewhere now: not ours to touch
	}
	return ns.SetGSOIPv4MaxSize(e.IfName, size)
}
