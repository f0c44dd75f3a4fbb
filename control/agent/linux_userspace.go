package agent

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/probe"
	"github.com/ovlnet/ovl/datapath/userspace"
	"github.com/ovlnet/ovl/datapath/userspace/hold"
)

func linuxUserspace(o DatapathOptions) implementation {
	options := userspace.Options{
		VTEP:     o.Underlay.Addr,
		Underlay: o.Underlay.Name,
		Port:     o.Port,
		Dir:      o.Places.Counters,
		Flows:    o.Places.Flows,
		Holder:   o.Holder,
		Logger:   o.Logger,
	}
	return implementation{
		name:   "userspace",
		open:   func(ctx context.Context) (datapath.Datapath, error) { return openUserspace(ctx, options) },
		cannot: func(ctx context.Context) string { return no(probe.Userspace(ctx)) },
		there:  func() (bool, error) { return userspace.Left(options) },
		letGo: func() error {
			if o.Holder == nil {
				return hold.End(o.Places.Holder)
			}
			return userspace.LetGo(o.Holder)
		},
		remove: func() error { return userspace.Remove(options) },
	}
}

func openUserspace(ctx context.Context, o userspace.Options) (datapath.Datapath, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("folder for counters: %w", err)
	}
	d, err := userspace.Open(ctx, o)
	if err != nil {
		return nil, err // and not a nil *Datapath, which would not be nil
	}
	return d, nil
}

// removeUserspace takes away what an agent that does not run has left of the
// userspace datapath, and ends the holder, which goes first.
func removeUserspace(p DatapathPlaces) error {
	return errors.Join(hold.End(p.Holder), userspace.Remove(userspace.Options{Dir: p.Counters, Flows: p.Flows}))
}
