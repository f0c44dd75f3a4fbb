// Package kernel is the eBPF datapath: three tc programs (package bpf), maps
// that Apply fills, and a `vxlan external` device beside them.
//
// Everything is pinned in one folder of a bpffs, so that the host forwards on
// when the process ends and the next one takes over. What flows through this
// package, in order: a State becomes the wanted content of the maps
// (tables.go, services.go); maps are brought to it, additions first (sync.go);
// programs are attached or replaced where ports and the underlay are (hooks.go);
// what is no longer wanted goes last. Counters come back up (stats.go).
//
// A State that differs from the last costs what is different: only that is made
// into entries and written (table.go). At first, after a failure, and when the
// same State comes again, all is made anew and compared with what the kernel holds.
package kernel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/ovlnet/ovl/bpf"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/link"
)

// VXLANDevice is the `vxlan external` device. Its socket makes the kernel
// aggregate (GRO) the TCP streams inside the tunnel, and it carries the frames
// that the programs do not take themselves.
const VXLANDevice = "ovl-vxlan"

// headroomBridge carries nothing: see link.EnsureHeadroom.
const headroomBridge = "ovl-headroom"

// Options say where a Datapath works.
type Options struct {
	// VTEP is this host's tunnel address. Its family is that of the
	// underlay, and so of every VTEP in a State.
	VTEP netip.Addr
	// Underlay is the device that holds it.
	Underlay string
	// Port is the UDP port of the tunnel at every host, 4789 by RFC 7348.
	Port uint16
	// Dir is the folder for pinned maps and links, inside a bpffs. It is
	// made if it is missing, and the bpffs mounted if there is none.
	Dir string
	// Hook is how programs are attached; the default takes what there is.
	Hook Hook
	// Logger gets what Apply repairs; the default discards it.
	Logger *slog.Logger
}

// Datapath implements datapath.Datapath.
type Datapath struct {
	opts  Options
	log   *slog.Logger
	objs  bpf.OvlObjects
	hooks hooks

	mu       sync.Mutex // guards what follows, and orders Apply, Stats and Close
	peers    peerTable
	slots    slotTable
	paths    pathTable
	services *serviceNumbers
	shares   *shareMaps
	tables   *tables
	vxlan    uint32 // the device's number, and the underlay's
	underlay uint32
	attached map[at]datapath.Attachment
	applied  bool // the last Apply did all it should
	drift    uint64
	closed   bool
}

var _ datapath.Datapath = (*Datapath)(nil)

// Open loads the programs and takes over the maps that an earlier process left
// in Options.Dir. Programs that are attached stay the earlier ones until the
// first Apply has filled the maps. A host that cannot run the programs gets an
// error that wraps datapath.ErrNotSupported.
func Open(_ context.Context, o Options) (*Datapath, error) {
	if !o.VTEP.IsValid() || o.VTEP.Is4In6() || o.VTEP.Zone() != "" {
		return nil, fmt.Errorf("VTEP %s: want an IPv4 or IPv6 address without zone", o.VTEP)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := link.MountBPFFS(filepath.Dir(o.Dir)); err != nil {
		return nil, fmt.Errorf("%w: no bpffs at %s: %w", datapath.ErrNotSupported, filepath.Dir(o.Dir), err)
	}
	if err := os.MkdirAll(filepath.Join(o.Dir, linksDir), 0o700); err != nil {
		return nil, fmt.Errorf("make folder for pinned maps: %w", err)
	}
	// Before Linux 5.11 maps count against the limit of locked memory.
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("%w: lift the limit of locked memory: %w", datapath.ErrNotSupported, err)
	}

	d := &Datapath{opts: o, log: o.Logger, tables: newTables(datapath.State{})}
	if err := d.load(); err != nil {
		return nil, err
	}
	hook, err := o.Hook.choose()
	if err != nil {
		_ = d.objs.Close()
		return nil, err
	}
	if d.services, err = readNumbers(&d.objs); err != nil {
		_ = d.objs.Close()
		return nil, err
	}
	if d.shares, err = newShareMaps(); err != nil {
		_ = d.objs.Close()
		return nil, err
	}
	if err := d.nextEpoch(); err != nil {
		_ = d.objs.Close()
		return nil, err
	}
	d.hooks = hooks{dir: filepath.Join(o.Dir, linksDir), hook: hook}
	if d.peers, err = readPeers(d.objs.OvlPeers); err != nil {
		_ = d.objs.Close()
		return nil, err
	}
	if d.slots, err = readSlots(d.objs.OvlTraffic); err != nil {
		_ = d.objs.Close()
		return nil, err
	}
	return d, nil
}

// load brings programs and maps into the kernel. A pinned map of another
// layout is left to the programs that use it, and a new one takes its place in
// the folder.
func (d *Datapath) load() error {
	spec, err := bpf.LoadOvl()
	if err != nil {
		return err
	}
	if err := spec.Variables["underlay6"].Set(d.opts.VTEP.Is6()); err != nil {
		return fmt.Errorf("variable underlay6: %w", err)
	}
	for name, m := range spec.Maps {
		if m.Pinning != ebpf.PinByName {
			continue
		}
		if err := unpinIncompatible(filepath.Join(d.opts.Dir, name), m); err != nil {
			return fmt.Errorf("pinned map %s: %w", name, err)
		}
	}
	err = spec.LoadAndAssign(&d.objs, &ebpf.CollectionOptions{
		Maps: ebpf.MapOptions{PinPath: d.opts.Dir},
	})
	if err != nil {
		if errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, os.ErrPermission) {
			err = fmt.Errorf("%w: %w", datapath.ErrNotSupported, err)
		}
		return fmt.Errorf("load programs: %w", err)
	}
	return nil
}

func unpinIncompatible(path string, spec *ebpf.MapSpec) error {
	m, err := ebpf.LoadPinnedMap(path, nil)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = m.Close() }()
	if spec.Compatible(m) == nil {
		return nil
	}
	return m.Unpin()
}

// Close releases the process's hold on programs and maps; the host goes on
// forwarding.
func (d *Datapath) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	return d.objs.Close()
}

// errClosed answers calls that come after Close.
var errClosed = errors.New("kernel datapath is closed")
