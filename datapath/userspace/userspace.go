// Package userspace is the datapath for hosts that cannot run eBPF programs: it
// moves the same packets by the same rules over TAP devices and UDP sockets, and
// its peers cannot tell the difference.
//
// Each endpoint's device is joined to a TAP of its own by two redirects of tc, so
// that a frame's sender is certain and each endpoint has a queue to itself
// (docs/adr/0014). What flows through this package, in order: Apply makes ports
// (ports.go) and peers (peers.go) of a State, and a table (package forward),
// which takes the place of the last one whole; a goroutine for each port reads
// its TAP, one for each socket reads the tunnel (workers.go); package forward
// decides; counters come back up (stats.go) and outlive the process (saved.go), as
// flows to VIPs do (flows.go).
//
//	endpoint ─ veth ─ tc ─ TAP ─▶ port's goroutine ──▶ forward.Out ─┬─▶ UDP, trains
//	                        ▲                                       │
//	                        ├───────────────────────────────────────┘ same host
//	                        └──── forward.In ◀── socket's goroutine ◀── UDP, merged
package userspace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/link"
	"github.com/ovlnet/ovl/datapath/userspace/flow"
	"github.com/ovlnet/ovl/datapath/userspace/forward"
	"github.com/ovlnet/ovl/datapath/userspace/udp"
)

// Holder keeps descriptors for the next process, and may do so for others. Package
// hold has one.
type Holder interface {
	// Put hands a copy of a descriptor over, in place of one of that name.
	Put(name string, f *os.File) error
	// Drop lets go of one. One that is not there is no error.
	Drop(name string) error
	// All returns copies of all there are.
	All() (map[string]*os.File, error)
}

// Options say where a Datapath works.
type Options struct {
	// VTEP is this host's tunnel address. Its family is that of the
	// underlay, and so of every VTEP in a State.
	VTEP netip.Addr
	// Underlay is the device that holds it.
	Underlay string
	// Port is the UDP port of the tunnel at every host, 4789 by RFC 7348.
	Port uint16
	// Dir is a folder for what has been counted; "" forgets it.
	Dir string
	// Flows is a file for flows, best on a tmpfs; "": they end with the process.
	Flows string
	// Holder keeps queues and sockets over a restart; nil: what comes while
	// there is no process is lost.
	Holder Holder
	// Readers is how many sockets the tunnel is read from; the default is one
	// for each CPU, four at most.
	Readers int
	// Logger gets what Apply repairs; the default discards it.
	Logger *slog.Logger
}

// Datapath implements datapath.Datapath.
type Datapath struct {
	opts    Options
	log     *slog.Logger
	tunnel  *udp.Tunnel
	devices *link.DropCounter

	table    atomic.Pointer[forward.Table]
	counting forward.Counting
	flows    *flow.Memory
	running  sync.WaitGroup // goroutines that read the tunnel

	mu       sync.Mutex // guards what follows, and orders Apply, Stats and Close
	ports    map[string]*port
	peers    map[netip.Addr]*forward.Peer
	held     map[string]*os.File // descriptors of an earlier process
	saved    saved
	leaving  []*port // are no more, but a goroutine may still count for them
	last     datapath.State
	applied  bool
	drift    uint64
	overflow uint64
	closed   bool
}

var _ datapath.Datapath = (*Datapath)(nil)

// errClosed answers calls that come after Close.
var errClosed = errors.New("userspace datapath is closed")

// Open opens the tunnel's sockets in the calling thread's network namespace, or
// takes over those that an earlier process left with the Holder. No packet is
// taken before the first Apply.
func Open(_ context.Context, o Options) (*Datapath, error) {
	if !o.VTEP.IsValid() || o.VTEP.Is4In6() || o.VTEP.Zone() != "" {
		return nil, fmt.Errorf("VTEP %s: want an IPv4 or IPv6 address without zone", o.VTEP)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	d := &Datapath{
		opts: o, log: o.Logger,
		ports: map[string]*port{}, peers: map[netip.Addr]*forward.Peer{}, held: map[string]*os.File{},
	}
	if err := d.open(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *Datapath) open() (err error) {
	if d.devices, err = link.OpenDropCounter(); err != nil {
		return err
	}
	if d.saved, err = load(d.opts.Dir); err != nil {
		d.log.Warn("counters begin at zero", "error", err)
	}
	d.restoreTotals()
	d.openFlows()
	if d.opts.Holder != nil {
		if d.held, err = heldBy(d.opts.Holder); err != nil {
			return err
		}
	}
	var sockets []*os.File
	for name, f := range d.held {
		if strings.HasPrefix(name, tunnelName) {
			sockets = append(sockets, f)
			delete(d.held, name)
		}
	}
	d.tunnel, err = udp.Open(udp.Options{VTEP: d.opts.VTEP, Port: d.opts.Port, Readers: d.opts.Readers, Files: sockets})
	for _, f := range sockets {
		_ = f.Close()
	}
	if err != nil {
		return err
	}
	files, err := d.tunnel.Files()
	if err != nil {
		return err
	}
	for i, f := range files {
		d.hold(fmt.Sprintf("%s%d", tunnelName, i), f)
		_ = f.Close()
	}
	return nil
}

// Names of what is held: the tunnel's sockets by number, TAPs by theirs.
const (
	tunnelName = "tunnel-"
	tapName    = "tap-"
)

// heldBy returns copies of the descriptors that an earlier process has left with a
// Holder, which may keep those of others as well.
func heldBy(h Holder) (map[string]*os.File, error) {
	all, err := h.All()
	if err != nil {
		return nil, fmt.Errorf("descriptors of an earlier process: %w", err)
	}
	for name, f := range all {
		if !strings.HasPrefix(name, tunnelName) && !strings.HasPrefix(name, tapName) {
			_ = f.Close()
			delete(all, name)
		}
	}
	return all, nil
}

// LetGo takes all that a datapath has left with a Holder away from it: when it
// returns, the tunnel's port is free.
func LetGo(h Holder) error {
	held, err := heldBy(h)
	errs := []error{err}
	for name, f := range held {
		errs = append(errs, f.Close(), h.Drop(name))
	}
	return errors.Join(errs...)
}

// hold hands a descriptor to the Holder. A failure costs packets when the process
// ends, nothing now.
func (d *Datapath) hold(name string, f *os.File) {
	if d.opts.Holder == nil {
		return
	}
	if err := d.opts.Holder.Put(name, f); err != nil {
		d.log.Warn("descriptor not held", "name", name, "error", err)
	}
}

// letGo takes a descriptor away from the Holder.
func (d *Datapath) letGo(name string) {
	if d.opts.Holder == nil {
		return
	}
	if err := d.opts.Holder.Drop(name); err != nil {
		d.log.Warn("descriptor still held", "name", name, "error", err)
	}
}

// Close ends the goroutines and lets go of devices and sockets. What the Holder
// has goes on queueing for the next process.
func (d *Datapath) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	var errs []error
	// In this order nothing is taken from a queue that cannot be passed on.
	if d.tunnel != nil {
		errs = append(errs, d.tunnel.CloseReceivers())
	}
	d.running.Wait()
	for _, p := range d.ports {
		errs = append(errs, p.tap.Close())
	}
	for _, p := range d.ports {
		p.reading.Wait()
	}
	if d.tunnel != nil {
		errs = append(errs, d.tunnel.Close())
	}
	for _, f := range d.held {
		errs = append(errs, f.Close())
	}
	if d.devices != nil {
		d.save()
		d.closeFlows()
		errs = append(errs, d.devices.Close())
	}
	return errors.Join(errs...)
}
