package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/cilium/ebpf"

	"github.com/ovlnet/ovl/bpf"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/link"
)

// Names of the programs, as bpftool prints them.
const (
	fromEndpoint = bpf.OvlProgFromEndpoint
	fromUnderlay = bpf.OvlProgFromUnderlay
	fromVXLAN    = bpf.OvlProgFromVxlan
)

var programNames = []string{fromEndpoint, fromUnderlay, fromVXLAN}

// Apply implements datapath.Datapath. A device that is gone makes its port
// fail with datapath.ErrNoDevice and leaves the others alone.
func (d *Datapath) Apply(ctx context.Context, s datapath.State) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return errClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	vxlan, underlay, err := d.ensureHost()
	if err != nil {
		return err
	}

	if err := d.slots.fold(d.objs.OvlTraffic, d.objs.OvlPast, s); err != nil {
		return err
	}
	d.peers.reclaim(s)
	flood, err := readAll[bpf.OvlFloodKey, bpf.OvlFloodEntry](d.objs.OvlFlood)
	if err != nil {
		return fmt.Errorf("read map ovl_flood: %w", err)
	}
	want, errs := build(s, numbers{
		underlay6: d.opts.VTEP.Is6(), ifindex: ifindex, peer: d.peers.index, slot: d.slots.index, flood: flood,
	})
	errs = append(errs, d.services.plan(s)...)
	if err := errors.Join(d.peers.write(d.objs.OvlPeers), d.slots.write(d.objs.OvlTraffic), d.services.write(d.objs.OvlNumbers)); err != nil {
		return err
	}
	errs = append(errs, syncPaths(d.objs.OvlPaths, d.paths.limits(s, d.routeMTU, time.Now())))
	syncers, err := d.syncers(want, flood, vxlan, d.applied && s.Equal(d.last))
	if err != nil {
		return err
	}

	changed := 0
	for _, y := range syncers {
		n, e := y.add()
		changed, errs = changed+n, append(errs, e...)
	}
	if changed > 0 {
		errs = append(errs, d.nextEpoch())
	}
	n, keep, e := d.attach(want, vxlan, underlay)
	changed, errs = changed+n, append(errs, e...)
	d.reserveHeadroom(s)
	for _, y := range syncers {
		n, e := y.del()
		changed, errs = changed+n, append(errs, e...)
	}
	if changed > 0 {
		errs = append(errs, d.nextEpoch())
	}
	d.slots.release(want.ports)
	d.devices = want.devices
	n, err = d.hooks.prune(keep)
	changed, errs = changed+n, append(errs, err)

	// The same state again should have found nothing to do.
	if d.applied && changed > 0 && s.Equal(d.last) {
		d.drift += uint64(changed)
		d.log.Warn("repaired datapath", "entries", changed)
	}
	err = errors.Join(errs...)
	d.services.done(err == nil)
	d.last, d.applied = s, err == nil
	return err
}

// reserveHeadroom spares a copy of every packet that an endpoint's stack builds
// for the tunnel. A host that cannot do it forwards all the same.
func (d *Datapath) reserveHeadroom(s datapath.State) {
	var devices []string
	for _, n := range s.Networks {
		for _, p := range n.Ports {
			if p.Kind == datapath.Veth {
				devices = append(devices, p.Device)
			}
		}
	}
	if err := link.EnsureHeadroom(headroomBridge, VXLANDevice, devices); err != nil {
		d.log.Warn("no headroom for tunnel headers", "error", err)
	}
}

// nextEpoch voids what the programs have kept of the tables before they were
// changed. Flows keep it longer than programs live: none comes again.
func (d *Datapath) nextEpoch() error {
	epoch := d.services.nextEpoch()
	if err := d.services.write(d.objs.OvlNumbers); err != nil {
		return err
	}
	if err := d.objs.Epoch.Set(epoch); err != nil {
		return fmt.Errorf("variable epoch: %w", err)
	}
	return nil
}

// ensureHost makes what every network needs: the vxlan device, and an entry for
// every counter of drops.
func (d *Datapath) ensureHost() (vxlan, underlay uint32, err error) {
	u, err := net.InterfaceByName(d.opts.Underlay)
	if err != nil {
		return 0, 0, fmt.Errorf("underlay device %s: %w", d.opts.Underlay, err)
	}
	index, err := link.EnsureVXLAN(VXLANDevice, d.opts.Port, u.MTU)
	if err != nil {
		return 0, 0, err
	}
	if err := allowForwarding(VXLANDevice, d.opts.VTEP); err != nil {
		return 0, 0, err
	}
	for _, r := range datapath.DropReasons() {
		err := d.objs.OvlDrops.Update(uint32(r), make([]bpf.OvlCounter, ebpf.MustPossibleCPU()), ebpf.UpdateNoExist)
		if err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
			return 0, 0, fmt.Errorf("write map ovl_drops: %w", err)
		}
	}
	return uint32(index), uint32(u.Index), nil
}

// allowForwarding lets the programs look up routes on behalf of our own
// device: the kernel answers only for one that forwards.
func allowForwarding(device string, vtep netip.Addr) error {
	path := "/proc/sys/net/ipv4/conf/" + device + "/forwarding"
	if vtep.Is6() {
		path = "/proc/sys/net/ipv6/conf/" + device + "/forwarding"
	}
	if b, err := os.ReadFile(path); err == nil && len(b) > 0 && b[0] == '1' {
		return nil
	}
	if err := os.WriteFile(path, []byte("1"), 0o644); err != nil {
		return fmt.Errorf("allow forwarding on %s: %w", device, err)
	}
	return nil
}

// syncers lists the maps in the order in which they may gain entries: what a
// look-up leads to is there before what leads to it, and first what the
// programs know of their host. again: it is the State of the last time.
func (d *Datapath) syncers(want tables, flood floodTable, vxlan uint32, again bool) ([]syncer, error) {
	config, err0 := newSyncer(bpf.OvlMapOvlConfig, d.objs.OvlConfig, map[uint32]bpf.OvlConfig{
		0: {Vtep: d.opts.VTEP.As16(), VxlanIfindex: vxlan, VxlanPort: d.opts.Port},
	})
	networks, err1 := newSyncer(bpf.OvlMapOvlNetworks, d.objs.OvlNetworks, want.networks)
	members, err2 := newSyncer(bpf.OvlMapOvlMembers, d.objs.OvlMembers, want.members)
	fdb, err3 := newSyncer(bpf.OvlMapOvlFdb, d.objs.OvlFdb, want.fdb)
	neigh, err4 := newSyncer(bpf.OvlMapOvlNeigh, d.objs.OvlNeigh, want.neigh)
	ports, err5 := newSyncer(bpf.OvlMapOvlPorts, d.objs.OvlPorts, want.ports)
	floods := syncerOf(bpf.OvlMapOvlFlood, d.objs.OvlFlood, flood, want.flood)
	services, err6 := d.services.syncers(&d.objs, again)
	all := slices.Concat([]syncer{config}, services, []syncer{floods, networks, members, fdb, neigh, ports})
	return all, errors.Join(err0, err1, err2, err3, err4, err5, err6)
}

// attach puts the programs where they belong and returns how many it changed,
// and all the places, wanted or failed, that prune has to leave alone.
func (d *Datapath) attach(want tables, vxlan, underlay uint32) (int, map[at]bool, []error) {
	programs := map[at]*ebpf.Program{
		{fromVXLAN, vxlan}:       d.objs.FromVxlan,
		{fromUnderlay, underlay}: d.objs.FromUnderlay,
	}
	for index := range want.ports {
		programs[at{fromEndpoint, index}] = d.objs.FromEndpoint
	}
	var errs []error
	changed := 0
	keep := map[at]bool{}
	d.attached = d.attached[:0]
	for a, prog := range programs {
		keep[a] = true
		device := link.NameOf(a.ifindex)
		done, err := d.hooks.ensure(a, prog)
		if err != nil {
			errs = append(errs, &datapath.ObjectError{Object: "device " + device, Err: err})
			continue
		}
		if done {
			changed++
		}
		d.attached = append(d.attached, datapath.Attachment{
			Program: a.program, Device: device, Hook: string(d.hooks.hook),
		})
	}
	return changed, keep, errs
}

func ifindex(device string) (uint32, error) {
	i, err := link.Index(device)
	if errors.Is(err, link.ErrNoDevice) {
		return 0, fmt.Errorf("%w: %s", datapath.ErrNoDevice, device)
	}
	return i, err
}
