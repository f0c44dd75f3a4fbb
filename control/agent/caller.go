package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/control/api"
)

// undoCallerTime bounds what a caller waits for the agent to take back.
const undoCallerTime = 5 * time.Second

// AttachFor is `ovlctl attach`: it asks the agent, and does what has to be done
// inside of the namespace itself where the agent may not enter it.
func AttachFor(ctx context.Context, agent api.Backend, r api.AttachRequest) (api.Endpoint, error) {
	return attachFor(ctx, Linux{}, agent, r)
}

func attachFor(ctx context.Context, host Host, agent api.Backend, r api.AttachRequest) (api.Endpoint, error) {
	e, err := agent.Attach(ctx, r)
	if api.CodeOf(err) != api.CodeCannotEnter {
		return e, err
	}
	ns, err := host.OpenNamespace(r.NetNS, r.PID)
	if err == nil {
		defer ns.Close() //nolint:errcheck // nothing that could be lost
		_, err = ns.HasInterface(cmp.Or(r.IfName, defaultIfName))
	}
	if errors.Is(err, ErrEnter) || errors.Is(err, ErrLook) {
		return api.Endpoint{}, api.Errorf(api.CodeCannotEnter, "neither the agent nor this ovlctl may: %w (attach --tap needs none)", err)
	}
	if err != nil {
		return api.Endpoint{}, hostError(err)
	}
	r.EnteredInode = ns.Inode()
	if e, err = agent.Attach(ctx, r); err != nil {
		return api.Endpoint{}, err
	}
	err = ns.ConfigureInner(ctx, EndpointDevice{IfName: e.Interface, MAC: e.MacAddress, Addrs: e.Addresses})
	if errors.Is(err, unix.EPERM) {
		err = fmt.Errorf("%w (configuring it takes CAP_NET_ADMIN, which this ovlctl has not)", err)
	}
	if err = hostError(err); err == nil {
		var finished api.Endpoint
		if finished, err = agent.AttachFinish(ctx, e.ID); err == nil {
			return finished, nil
		}
	}
	// Also if the agent has finished it and only its answer was lost. One that
	// does not answer takes it back by itself.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoCallerTime)
	defer cancel()
	_, undo := agent.Detach(ctx, api.DetachRequest{Endpoint: e.ID})
	if undo != nil && api.CodeOf(undo) != api.CodeNotFound && !errors.Is(undo, api.ErrUnreachable) {
		err = fmt.Errorf("%w; and taking it back: %w", err, undo)
	}
	return api.Endpoint{}, err
}
