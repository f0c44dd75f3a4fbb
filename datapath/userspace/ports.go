package userspace

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/link"
	"github.com/ovlnet/ovl/datapath/userspace/forward"
	"github.com/ovlnet/ovl/datapath/userspace/tap"
)

// port is an endpoint's device and its TAP.
type port struct {
	forward.Port
	name    string // of the TAP
	tap     *tap.Device
	reading sync.WaitGroup
	started bool
	failed  atomic.Bool // nothing is read any more
	// dropped is what the TAP's queue has dropped, as last counted.
	dropped uint64
}

// tapPrefix begins the names of our TAPs.
const tapPrefix = "ovt-"

// tapFor names the TAP of a device: within the 15 characters that a name may
// have, and the same in every process.
func tapFor(device string) string {
	sum := sha256.Sum256([]byte(device))
	return tapPrefix + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:11]
}

// ensurePort brings a port to what a State says of it, and returns whether
// anything had to be changed.
func (d *Datapath) ensurePort(n *datapath.Network, s datapath.Port) (changed bool, err error) {
	if _, err := link.Index(s.Device); err != nil {
		if errors.Is(err, link.ErrNoDevice) {
			err = fmt.Errorf("%w: %s", datapath.ErrNoDevice, s.Device)
		}
		return false, errors.Join(err, d.removePort(s.Device))
	}
	p := d.ports[s.Device]
	if p != nil && (p.VNI != n.VNI || p.MAC != s.MAC || p.failed.Load()) {
		if err := d.removePort(s.Device); err != nil {
			return true, err
		}
		p = nil
	}
	if p == nil {
		if p, err = d.newPort(n, s); err != nil {
			return true, err
		}
		changed = true
	}
	// Back first: what the endpoint sends may be answered at once.
	for _, way := range [][2]string{{p.name, s.Device}, {s.Device, p.name}} {
		did, err := link.EnsureRedirect(way[0], way[1])
		if err != nil {
			return changed, err
		}
		changed = changed || did
	}
	return changed, nil
}

// newPort makes a port, or takes the TAP over that an earlier process left.
func (d *Datapath) newPort(n *datapath.Network, s datapath.Port) (*port, error) {
	p := &port{Port: forward.Port{Device: s.Device, VNI: n.VNI, MAC: s.MAC}, name: tapFor(s.Device)}
	var err error
	if f := d.held[tapName+p.name]; f != nil {
		delete(d.held, tapName+p.name)
		if p.tap, err = tap.Adopt(p.name, f); err != nil {
			d.log.Warn("TAP of an earlier process not taken over", "tap", p.name, "error", err)
			d.letGo(tapName + p.name)
		}
	}
	if p.tap == nil {
		if p.tap, err = tap.Open(p.name); err != nil {
			return nil, err
		}
	}
	d.hold(tapName+p.name, p.tap.File())
	p.Interface = p.tap
	dropped, err := d.devices.TXDropped()
	if err != nil {
		return nil, errors.Join(err, p.tap.Close())
	}
	p.dropped = dropped[p.name]
	d.saved.restorePort(p)
	d.ports[s.Device] = p
	return p, nil
}

// removePort takes a port away, and what was counted for it with it.
func (d *Datapath) removePort(device string) error {
	p := d.ports[device]
	if p == nil {
		return nil
	}
	delete(d.ports, device)
	d.letGo(tapName + p.name)
	errs := []error{p.tap.Close()}
	p.reading.Wait()
	d.countQueues()
	d.leaving = append(d.leaving, p)
	errs = append(errs, link.RemoveRedirect(device), tap.Remove(p.name))
	return errors.Join(errs...)
}

// removeStrays takes TAPs away that are no port's: an earlier process has left
// them.
func (d *Datapath) removeStrays() (removed int, err error) {
	mine := map[string]bool{}
	for _, p := range d.ports {
		mine[p.name] = true
	}
	for name, f := range d.held {
		_ = f.Close()
		delete(d.held, name)
		d.letGo(name)
	}
	return prune(func(name string) bool { return mine[name] })
}

// prune removes our TAPs and the redirects to them, except those to keep.
func prune(keep func(tap string) bool) (removed int, err error) {
	ways, err := link.Redirects()
	errs := []error{err}
	for from, to := range ways {
		if strings.HasPrefix(to, tapPrefix) && !keep(to) {
			errs = append(errs, link.RemoveRedirect(from))
		}
	}
	names, err := link.List(tapPrefix)
	errs = append(errs, err)
	for _, name := range names {
		if !keep(name) {
			removed++
			errs = append(errs, tap.Remove(name))
		}
	}
	return removed, errors.Join(errs...)
}

// Remove takes away all that a datapath has left in the calling thread's network
// namespace, and in Options.Dir and Flows, whether or not a process is there. What is not
// there is no error. The Holder is to be ended by whoever has started it.
func Remove(o Options) error {
	_, err := prune(func(string) bool { return false })
	return errors.Join(err, removeSaved(o.Dir), removeFlows(o.Flows))
}
