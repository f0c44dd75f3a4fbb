package userspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/userspace/flow"
)

const flowsName = "flows.json"

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

// loadFlows goes on with the flows of an earlier process. Its file is for one
// process: after a crash of this one they would be old.
func loadFlows(dir string) (*flow.Memory, error) {
	m := flow.New(flow.Options{})
	if dir == "" {
		return m, nil
	}
	f, err := os.Open(filepath.Join(dir, flowsName))
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err == nil {
		err = errors.Join(m.Load(f), f.Close(), os.Remove(f.Name()))
	}
	if err != nil {
		return m, fmt.Errorf("flows of an earlier process: %w", err)
	}
	return m, nil
}

// saveFlows writes the flows, whole or not at all.
func (d *Datapath) saveFlows() {
	if d.opts.Dir == "" || d.flows == nil {
		return
	}
	path := filepath.Join(d.opts.Dir, flowsName)
	if err := d.writeFlows(path); err != nil {
		d.log.Warn("flows not saved", "error", err)
	}
}

func (d *Datapath) writeFlows(path string) error {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(d.flows.Save(f), f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
