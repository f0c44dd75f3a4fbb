package contender

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/ovlnet/ovl/bench/crowd"
	"github.com/ovlnet/ovl/bench/measure"
	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/config"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// ovlService is the name of the service that is measured.
const ovlService = "measured"

// answerTime bounds how long it takes until a host that knows of a service
// answers for it.
const answerTime = time.Minute

// serve makes the service that is measured, as its users do, lets a crowd on
// the third host publish all the others, and returns when both hosts answer
// for all of them and are at rest.
func (o *ovl) serve(ctx context.Context, lab *linktest.Lab, token string, p measure.Pair) error {
	ctx, cancel := context.WithTimeout(ctx, fillTime+restTime)
	defer cancel()
	o.backend = p.Server.Namespace.Name
	client := o.agents[0].client()
	s, err := client.ServiceCreate(ctx, api.ServiceRequest{Name: ovlService, Network: ovlNetwork})
	if err != nil {
		return err
	}
	o.vip = s.VIPs[0]
	if _, err := client.ServiceUpdate(ctx, api.ServiceUpdate{
		ServiceRef: api.ServiceRef{Service: ovlService, Network: ovlNetwork},
		Add:        []api.ServiceMember{{Endpoint: o.backend}},
	}); err != nil {
		return err
	}
	last := o.vip
	if others := o.services - 1; others > 0 {
		if _, err := o.startCrowd(ctx, lab, token, crowd.Options{Services: others, Backend: o.backend}); err != nil {
			return err
		}
		if last, err = o.agents[0].waitService(ctx, crowd.ServiceName(others-1)); err != nil {
			return err
		}
	}
	for _, e := range []measure.Endpoint{p.Client, p.Server} {
		// VIPs answer echo requests themselves.
		if err := measure.FirstReply(ctx, measure.Pair{Client: e, Server: measure.Endpoint{Addr: last}}, answerTime); err != nil {
			return err
		}
	}
	return o.Rest(ctx)
}

// waitService returns the VIP of a service when the agent knows of it.
func (a *agent) waitService(ctx context.Context, name string) (netip.Addr, error) {
	for {
		s, err := a.client().ServiceInspect(ctx, api.ServiceRef{Service: name, Network: ovlNetwork})
		if err == nil {
			return s.VIPs[0], nil
		}
		if sleepErr := a.daemon.sleep(ctx, 50*time.Millisecond); sleepErr != nil {
			return netip.Addr{}, errors.Join(fmt.Errorf("waiting for service %s: %w", name, sleepErr), err, a.daemon.lastWords())
		}
	}
}

// client returns one that asks the agent without a program in between.
func (a *agent) client() *api.Client {
	c := config.Default()
	c.Instance = a.instance
	return api.NewClient(c)
}

// VIP implements Balanced.
func (o *ovl) VIP() netip.Addr { return o.vip }

// Drain implements Drainer.
func (o *ovl) Drain(ctx context.Context, undo bool) error {
	_, err := o.agents[0].client().ServiceDrain(ctx, api.ServiceDrain{
		ServiceRef: api.ServiceRef{Service: ovlService, Network: ovlNetwork},
		Endpoint:   o.backend,
		Undo:       undo,
	})
	return err
}
