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
	return implementation{
		name:   "userspace",
		open:   func(ctx context.Context) (datapath.Datapath, error) { return openUserspace(ctx, o) },
		cannot: func(ctx context.Context) string { return no(probe.Userspace(ctx)) },
		there: func() (bool, error) {
			_, err := os.Lstat(o.Places.Holder)
			if errors.Is(err, os.ErrNotExist) {
				return false, nil
			}
			return err == nil, err
		},
		letGo:  func() error { return hold.End(o.Places.Holder) },
		remove: func() error { return userspace.Remove(userspace.Options{Dir: o.Places.Counters}) },
	}
}

// heldDatapath is the userspace datapath, and the agent's end of what keeps its
// descriptors.
type heldDatapath struct {
	datapath.Datapath
	keeper *hold.Keeper
}

// Close leaves the holder with what it has, for the next agent.
func (d heldDatapath) Close() error { return errors.Join(d.Datapath.Close(), d.keeper.Close()) }

func openUserspace(ctx context.Context, o DatapathOptions) (datapath.Datapath, error) {
	options := userspace.Options{
		VTEP:     o.Underlay.Addr,
		Underlay: o.Underlay.Name,
		Port:     o.Port,
		Dir:      o.Places.Counters,
		Logger:   o.Logger,
	}
	if err := os.MkdirAll(options.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("folder for counters: %w", err)
	}
	keeper, err := hold.Keep(ctx, o.Places.Holder, o.Logger)
	if err != nil {
		o.Logger.Warn("no holder of descriptors: a restart of the agent loses packets", "err", err)
		d, err := userspace.Open(ctx, options)
		if err != nil {
			return nil, err // and not a nil *Datapath, which would not be nil
		}
		return d, nil
	}
	options.Holder = keeper
	d, err := userspace.Open(ctx, options)
	if err != nil {
		return nil, errors.Join(err, keeper.Close())
	}
	return heldDatapath{d, keeper}, nil
}

// removeUserspace takes away what an agent that does not run has left of the
// userspace datapath. What is held goes first.
func removeUserspace(p DatapathPlaces) error {
	return errors.Join(hold.End(p.Holder), userspace.Remove(userspace.Options{Dir: p.Counters}))
}
