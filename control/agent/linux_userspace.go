package agent

import (
	"context"
	"errors"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/probe"
	"github.com/ovlnet/ovl/datapath/userspace/hold"
)

func linuxUserspace(o DatapathOptions) implementation {
	return implementation{
		name: "userspace",
		open: func(context.Context) (datapath.Datapath, error) {
			return nil, errors.New("not built yet in this version")
		},
		cannot: func(ctx context.Context) string { return no(probe.Userspace(ctx)) },
		letGo:  func() error { return hold.End(o.Places.Holder) },
		remove: func() error { return nil },
	}
}

func removeUserspace(p DatapathPlaces) error { return hold.End(p.Holder) }
