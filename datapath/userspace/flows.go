package userspace

import (
	"context"
	"slices"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/userspace/flow"
)

// openFlows goes on with the flows of an earlier process.
func (d *Datapath) openFlows() {
	if d.opts.Flows == "" {
		d.flows = flow.New(flow.Options{})
		return
	}
	var err error
	if d.flows, err = flow.Open(d.opts.Flows, flow.Options{}); err != nil {
		d.log.Warn("flows", "error", err)
	}
}

// Flows implements datapath.Datapath. A flow to a backend that is gone is none: its
// next packet ends it.
func (d *Datapath) Flows(ctx context.Context) ([]datapath.Flow, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, errClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	flows := d.flows.Flows()
	if t := d.table.Load(); t != nil {
		flows = slices.DeleteFunc(flows, func(f datapath.Flow) bool { return !t.Leads(&f) })
	}
	return flows, nil
}

// keepFlows sees to it that the next process has them.
func (d *Datapath) keepFlows() {
	if err := d.flows.Tick(); err != nil {
		d.log.Warn("flows are not kept for the next agent", "error", err)
	}
}

func (d *Datapath) closeFlows() {
	if d.flows == nil {
		return
	}
	if err := d.flows.Close(); err != nil {
		d.log.Warn("flows are not kept for the next agent", "error", err)
	}
}

func removeFlows(path string) error {
	if path == "" {
		return nil
	}
	return flow.Remove(path)
}
