package kernel

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
	again := d.applied && s.Equal(d.tables.state)
	left := !d.applied || s.ClientsLeft(d.tables.state)
	changed, err := d.apply(s, again || !d.applied || d.tables.clash())
	if left {
		err = errors.Join(err, d.forgetOthers(s.Clients()))
	}
	// The same state again should have found nothing to do.
	if again && changed > 0 {
		d.drift += uint64(changed)
		d.log.Warn("repaired datapath", "entries", changed)
	}
	if d.applied = err == nil; d.applied {
		d.tables.written(d.services, d.shares, time.Now())
	}
	return err
}

// apply brings the host to s, from what it holds (all) or from what it was brought
// to, and returns how many entries and attachments it changed.
func (d *Datapath) apply(s datapath.State, all bool) (changed int, err error) {
	if all {
		if err := d.ensureHost(); err != nil {
			return 0, err
		}
		d.paths.refresh(time.Now())
	}
	if all || len(d.slots.left) > 0 {
		if err := d.slots.fold(d.objs.OvlTraffic, d.objs.OvlPast, s); err != nil {
			return 0, err
		}
	}
	d.peers.reclaim(s)
	peers := d.tables.state.Peers
	errs, err := d.plan(s, all)
	if err != nil {
		return 0, err
	}
	if err := errors.Join(d.peers.write(d.objs.OvlPeers), d.slots.write(d.objs.OvlTraffic), d.services.write(d.objs.OvlNumbers)); err != nil {
		return 0, err
	}
	if d.tables.members.changed() || !slices.Equal(s.Peers, peers) {
		errs = append(errs, syncPaths(d.objs.OvlPaths, d.paths.limits(s, d.routeMTU)))
	}
	syncers, err := d.syncers(all)
	if err != nil {
		return 0, err
	}

	for _, y := range syncers {
		n, e := y.add()
		changed, errs = changed+n, append(errs, e...)
	}
	if changed > 0 {
		errs = append(errs, d.nextEpoch())
	}
	n, looked, e := d.attach(all)
	changed, errs = changed+n, append(errs, e...)
	d.reserveHeadroom(s, looked)
	for _, y := range syncers {
		n, e := y.del()
		changed, errs = changed+n, append(errs, e...)
	}
	if changed > 0 {
		errs = append(errs, d.nextEpoch())
	}
	d.slots.release(d.tables.ports.now)
	n, err = d.prune(all)
	return changed + n, errors.Join(append(errs, err)...)
}

// plan brings the tables to s, or makes them anew, from nothing.
func (d *Datapath) plan(s datapath.State, all bool) ([]error, error) {
	n := numbers{
		underlay6: d.opts.VTEP.Is6(), ifindex: ifindex, peer: d.peers.index, slot: d.slots.index,
		service: d.services.service, endpoint: d.services.endpoint,
	}
	if !all {
		if errs := d.tables.update(s, n); !d.tables.clash() {
			return errs, nil
		}
	}
	var err error
	if n.flood, err = readAll[bpf.OvlFloodKey, bpf.OvlFloodEntry](d.objs.OvlFlood); err != nil {
		return nil, fmt.Errorf("read map ovl_flood: %w", err)
	}
	d.tables = newTables(s)
	d.tables.services.adopt(d.services, d.shares)
	return d.tables.update(s, n), nil
}

// reserveHeadroom spares a copy of every packet that an endpoint's stack builds
// for the tunnel, on those of these devices that are such. A host that cannot do it
// forwards all the same.
func (d *Datapath) reserveHeadroom(s datapath.State, looked map[uint32]bool) {
	if len(looked) == 0 {
		return
	}
	var devices []string
	for _, n := range s.Networks {
		for _, p := range n.Ports {
			if p.Kind == datapath.Veth && !p.Gateway && looked[d.tables.indexes[p.Device]] { // a gateway sends nothing to the tunnel
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
func (d *Datapath) ensureHost() error {
	u, err := net.InterfaceByName(d.opts.Underlay)
	if err != nil {
		return fmt.Errorf("underlay device %s: %w", d.opts.Underlay, err)
	}
	index, err := link.EnsureVXLAN(VXLANDevice, d.opts.Port, u.MTU)
	if err != nil {
		return err
	}
	if err := allowForwarding(VXLANDevice, d.opts.VTEP); err != nil {
		return err
	}
	for _, r := range datapath.DropReasons() {
		err := d.objs.OvlDrops.Update(uint32(r), make([]bpf.OvlCounter, ebpf.MustPossibleCPU()), ebpf.UpdateNoExist)
		if err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
			return fmt.Errorf("write map ovl_drops: %w", err)
		}
	}
	d.vxlan, d.underlay = uint32(index), uint32(u.Index)
	return nil
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
// programs know of their host.
func (d *Datapath) syncers(all bool) ([]syncer, error) {
	var out []syncer
	if all {
		config, err := newSyncer(bpf.OvlMapOvlConfig, d.objs.OvlConfig, map[uint32]bpf.OvlConfig{
			0: {Vtep: d.opts.VTEP.As16(), VxlanIfindex: d.vxlan, VxlanPort: d.opts.Port},
		})
		if err != nil {
			return nil, err
		}
		out = append(out, config)
	}
	t := d.tables
	services, err := t.services.syncers(&d.objs, d.shares)
	flood, err0 := t.flood.syncer(bpf.OvlMapOvlFlood, d.objs.OvlFlood)
	networks, err1 := t.networks.syncer(bpf.OvlMapOvlNetworks, d.objs.OvlNetworks)
	members, err2 := t.members.syncer(bpf.OvlMapOvlMembers, d.objs.OvlMembers)
	fdb, err3 := t.fdb.syncer(bpf.OvlMapOvlFdb, d.objs.OvlFdb)
	neigh, err4 := t.neigh.syncer(bpf.OvlMapOvlNeigh, d.objs.OvlNeigh)
	ports, err5 := t.ports.syncer(bpf.OvlMapOvlPorts, d.objs.OvlPorts)
	out = append(append(out, services...), flood, networks, members, fdb, neigh, ports)
	return out, errors.Join(err, err0, err1, err2, err3, err4, err5)
}

// places are where programs belong.
func (d *Datapath) places() map[at]*ebpf.Program {
	programs := map[at]*ebpf.Program{
		{fromVXLAN, d.vxlan}:       d.objs.FromVxlan,
		{fromUnderlay, d.underlay}: d.objs.FromUnderlay,
	}
	for index := range d.tables.ports.now {
		programs[at{fromEndpoint, index}] = d.objs.FromEndpoint
	}
	return programs
}

// attach puts the programs where they belong and are not known to be (all: where
// they belong). It returns how many it changed, and the devices that it has looked at.
func (d *Datapath) attach(all bool) (changed int, looked map[uint32]bool, errs []error) {
	if all {
		d.attached = map[at]datapath.Attachment{}
	}
	looked = map[uint32]bool{}
	for a, prog := range d.places() {
		if _, there := d.attached[a]; there {
			continue
		}
		looked[a.ifindex] = true
		device := link.NameOf(a.ifindex)
		done, err := d.hooks.ensure(a, prog)
		if err != nil {
			errs = append(errs, &datapath.ObjectError{Object: "device " + device, Err: err})
			continue
		}
		if done {
			changed++
		}
		d.attached[a] = datapath.Attachment{Program: a.program, Device: device, Hook: string(d.hooks.hook)}
	}
	return changed, looked, errs
}

// prune detaches programs from where they do not belong (any more), and returns
// how many.
func (d *Datapath) prune(all bool) (int, error) {
	places := d.places()
	before := len(d.attached)
	maps.DeleteFunc(d.attached, func(a at, _ datapath.Attachment) bool { return places[a] == nil })
	if !all && len(d.attached) == before {
		return 0, nil
	}
	return d.hooks.prune(func(a at) bool { return places[a] != nil })
}

func ifindex(device string) (uint32, error) {
	i, err := link.Index(device)
	if errors.Is(err, link.ErrNoDevice) {
		return 0, fmt.Errorf("%w: %s", datapath.ErrNoDevice, device)
	}
	return i, err
}
