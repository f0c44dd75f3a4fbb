package contender

import (
	"context"

	"github.com/ovlnet/ovl/bench/measure"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// offerNames attaches another endpoint beside the client, and returns when both
// find the last of the remotes by its name, and the agents are at rest.
func (o *ovl) offerNames(ctx context.Context, lab *linktest.Lab, client measure.Endpoint) error {
	other, err := o.agents[0].attach(ctx, lab.Endpoint("ovl-other"))
	if err != nil {
		return err
	}
	o.asked = measure.Names{
		// The gateway is the network's first address.
		Client: client, Other: other, Resolver: grownSubnet.Addr().Next(),
		Asked: crowdNames(o.remotes), CPU: cpuOf(o.agents[0].daemon),
	}
	if err := measure.AwaitNames(ctx, o.asked, startTime); err != nil {
		return err
	}
	return o.Rest(ctx)
}

// Names implements Named.
func (o *ovl) Names() measure.Names { return o.asked }
