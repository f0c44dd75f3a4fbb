package userspace

import (
	"context"
	"errors"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/userspace/forward"
)

// Apply implements datapath.Datapath. A device that is gone makes its port fail
// with datapath.ErrNoDevice and leaves the others alone.
func (d *Datapath) Apply(ctx context.Context, s datapath.State) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return errClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, p := range d.leaving {
		d.saved.foldPort(p)
	}
	d.leaving = nil
	var errs []error
	changed := 0
	wanted := map[string]bool{}
	for _, n := range s.Networks {
		for _, p := range n.Ports {
			did, err := d.ensurePort(n, p)
			if err != nil {
				errs = append(errs, &datapath.ObjectError{Object: datapath.PortObject(p.Device), Err: err})
				continue
			}
			wanted[p.Device] = true
			if did {
				changed++
			}
		}
	}
	if !d.applied || !s.Equal(d.last) || changed > 0 {
		errs = append(errs, d.swap(s))
	}
	for _, p := range d.ports { // what waits in a TAP that was taken over finds the table
		if !p.started {
			p.started = true
			p.reading.Add(1)
			go d.readPort(p)
		}
	}
	d.limitPeers(s)
	for device := range d.ports {
		if !wanted[device] {
			errs = append(errs, d.removePort(device))
		}
	}
	strays, err := d.removeStrays()
	changed += strays
	errs = append(errs, err)
	d.removePeers(s)
	d.saved.foldNetworks(s)

	// The same state again should have found nothing to do.
	if d.applied && changed > 0 && s.Equal(d.last) {
		d.drift += uint64(changed)
		d.log.Warn("repaired datapath", "entries", changed)
	}
	err = errors.Join(errs...)
	d.last, d.applied = s, err == nil
	d.save()
	return err
}

// swap makes a table and puts it in the place of the last one. The first one lets
// packets in.
func (d *Datapath) swap(s datapath.State) error {
	t, err := forward.Build(s, forward.Objects{
		Port: func(device string) *forward.Port {
			if p := d.ports[device]; p != nil {
				return &p.Port
			}
			return nil
		},
		Peer: d.peerAt,
		Last: d.table.Load(),
	})
	if d.table.Swap(t) == nil {
		for _, r := range d.tunnel.Receivers() {
			d.running.Add(1)
			go d.readTunnel(r)
		}
	}
	return err
}
