package userspace

import (
	"context"
	"errors"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/userspace/forward"
)

// Apply implements datapath.Datapath. A device that is gone makes its port fail
// with datapath.ErrNoDevice and leaves the others alone. At first, after a failure,
// and when the same State comes again, all is looked at; else what has changed.
func (d *Datapath) Apply(ctx context.Context, s datapath.State) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return errClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	again := d.applied && s.Equal(d.last)
	all := again || !d.applied
	left := !d.applied || s.ClientsLeft(d.last)
	changed, err := d.apply(s, again, all)
	if left {
		d.flows.ForgetOthers(s.Clients())
	}
	// The same state again should have found nothing to do.
	if again && changed > 0 {
		d.drift += uint64(changed)
		d.log.Warn("repaired datapath", "entries", changed)
	}
	d.last, d.applied = s, err == nil
	if all {
		d.save()
		d.keepFlows()
	}
	return err
}

// apply returns how many ports it changed, and TAPs that are nobody's it removed.
func (d *Datapath) apply(s datapath.State, again, all bool) (changed int, err error) {
	for _, p := range d.leaving {
		d.saved.foldPort(p)
	}
	d.leaving = nil
	changed, wanted, errs := d.ensurePorts(s, all)
	if !again || changed > 0 {
		errs = append(errs, d.swap(s, all))
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
	if all {
		strays, err := d.removeStrays()
		changed += strays
		errs = append(errs, err)
	}
	d.removePeers()
	d.saved.foldNetworks(s)
	return changed, errors.Join(errs...)
}

// ensurePorts brings ports to what s says of them: all, or those that have changed.
// It returns how many had to be, and the devices of those that are right.
func (d *Datapath) ensurePorts(s datapath.State, all bool) (changed int, wanted map[string]bool, errs []error) {
	wanted = map[string]bool{}
	ensure := func(n *datapath.Network, ports []datapath.Port) {
		for _, p := range ports {
			did, err := d.ensurePort(n, p)
			if wanted[p.Device] = err == nil; err != nil {
				errs = append(errs, &datapath.ObjectError{Object: datapath.PortObject(p.Device), Err: err})
			} else if did {
				changed++
			}
		}
	}
	for i := range s.Networks {
		n := &s.Networks[i]
		for _, p := range n.Ports {
			wanted[p.Device] = true
		}
		if all {
			ensure(n, n.Ports)
		}
	}
	if !all {
		for _, c := range s.Since(d.last) {
			ensure(c.Now, c.Ports.Come)
		}
	}
	return changed, wanted, errs
}

// swap makes a table and puts it in the place of the last one. The first one lets
// packets in.
func (d *Datapath) swap(s datapath.State, anew bool) error {
	t, err := forward.Build(s, forward.Objects{
		Port: func(device string) *forward.Port {
			if p := d.ports[device]; p != nil {
				return &p.Port
			}
			return nil
		},
		Peer: d.peerAt,
		Last: d.table.Load(),
		Anew: anew,
	})
	if d.table.Swap(t) == nil {
		for _, r := range d.tunnel.Receivers() {
			d.running.Add(1)
			go d.readTunnel(r)
		}
	}
	return err
}
