package agent

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/ovlnet/ovl/control/api"
)

// An agent that may not enter network namespaces leaves what has to be done
// inside to its caller (caller.go):
//
//	caller: Attach         ─▶ plan: the agent may not enter
//	caller: Attach again   ─▶ plan, addresses, device; the inner end is down
//	caller: configures the inner end
//	caller: AttachFinish   ─▶ row, apply, spread
//
// Whoever dies, nothing is left. Before the row there is no more than a device,
// which the next start of an agent removes, and this agent after
// api.FinishTime without a word from its caller. With the row the endpoint is
// whole.

// unfinished are the attachments that wait for their callers, by endpoint ID.
type unfinished struct {
	mu   sync.Mutex
	held map[string]*attachment
}

func (u *unfinished) put(at *attachment) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.held == nil {
		u.held = make(map[string]*attachment)
	}
	u.held[at.row.ID] = at
}

// take returns the attachment to the one who goes on with it, and nil to all
// others.
func (u *unfinished) take(id string) *attachment {
	u.mu.Lock()
	defer u.mu.Unlock()
	at := u.held[id]
	if at != nil {
		delete(u.held, id)
		close(at.taken)
	}
	return at
}

func (u *unfinished) ids() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	var ids []string
	for id := range u.held {
		ids = append(ids, id)
	}
	return ids
}

// awaitFinish leaves at to AttachFinish or Detach, or takes it back when its
// time is over.
func (a *Agent) awaitFinish(at *attachment) {
	at.taken = make(chan struct{})
	a.unfinished.put(at)
	limit := time.NewTimer(cmp.Or(a.hooks.finishTime, api.FinishTime))
	a.goDo(func() {
		defer limit.Stop()
		select {
		case <-at.taken:
		case <-a.ctx.Done(): // dropUnfinished has it
		case <-limit.C:
			if a.unfinished.take(at.row.ID) != nil {
				a.log.Warn("attach taken back: its caller has not configured the interface", "endpoint", at.row.Name, "network", at.network.Name, "device", at.row.Device)
				at.rollback()
				at.close()
			}
		}
	})
}

// AttachFinish goes on with an attachment whose interface its caller has
// configured.
func (a *Agent) AttachFinish(ctx context.Context, id string) (api.Endpoint, error) {
	done, err := a.gate.enter()
	if err != nil {
		return api.Endpoint{}, err
	}
	defer done()
	at := a.unfinished.take(id)
	if at == nil {
		return api.Endpoint{}, api.Errorf(api.CodeNotFound, "endpoint %s does not wait to be finished any more: attach again", id)
	}
	defer at.close()
	return at.finish(ctx)
}

// dropUnfinished takes back what nobody can finish any more: the gate is shut.
func (a *Agent) dropUnfinished() {
	for _, id := range a.unfinished.ids() {
		if at := a.unfinished.take(id); at != nil {
			at.rollback()
			at.close()
		}
	}
}
