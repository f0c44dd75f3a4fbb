package datapath_test

import (
	"reflect"
	"testing"

	"github.com/ovlnet/ovl/datapath"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
)

// TestSince: what a State has gone by since another one, done to that, makes it.
func TestSince(t *testing.T) {
	for seed := range uint64(20) {
		states := dt.NewRandomStates(seed, []string{"a", "b", "c"}, true)
		var before datapath.State
		for range 50 {
			now := states.Next()
			got := dt.Clone(before)
			for _, c := range now.Since(before) {
				got = patch(t, got, c)
			}
			got.Peers = now.Peers
			if got.Sort(); !got.Equal(now) {
				t.Fatalf("seed %d: changes make\n%+v\nwant\n%+v", seed, got, now)
			}
			if changes := now.Since(dt.Clone(now)); len(changes) > 0 {
				t.Fatalf("seed %d: a State differs from itself: %+v", seed, changes)
			}
			before = now
		}
	}
}

// patch does a change to a State.
func patch(t *testing.T, s datapath.State, c datapath.NetworkChange) datapath.State {
	t.Helper()
	var was datapath.Network
	var out datapath.State
	for _, n := range s.Networks {
		if c.Was != nil && n.VNI == c.Was.VNI {
			was = n
		} else {
			out.Networks = append(out.Networks, n)
		}
	}
	now := datapath.Network{
		Ports: patchList(t, was.Ports, c.Ports), Remotes: patchList(t, was.Remotes, c.Remotes), Services: patchList(t, was.Services, c.Services),
	}
	if c.Now == nil {
		if len(now.Ports)+len(now.Remotes)+len(now.Services) > 0 {
			t.Errorf("something is left of a network that is gone: %+v", now)
		}
		return out
	}
	now.VNI, now.MTU, now.Multicast, now.Gateways = c.Now.VNI, c.Now.MTU, c.Now.Multicast, c.Now.Gateways
	out.Networks = append(out.Networks, now)
	return out
}

func patchList[E any](t *testing.T, list []E, c datapath.Change[E]) []E {
	t.Helper()
	var out []E
	gone := c.Gone
	for _, e := range list {
		if len(gone) > 0 && reflect.DeepEqual(e, gone[0]) {
			gone = gone[1:]
			continue
		}
		out = append(out, e)
	}
	if len(gone) > 0 {
		t.Errorf("%+v is gone, and was not there or not in this order", gone)
	}
	return append(out, c.Come...)
}
