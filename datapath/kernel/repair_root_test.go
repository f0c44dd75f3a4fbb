package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	ebpflink "github.com/cilium/ebpf/link"

	"github.com/ovlnet/ovl/bpf"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/link"
	"github.com/ovlnet/ovl/datapath/link/linktest"
	"github.com/ovlnet/ovl/encap"
)

// repairBed is two hosts with an endpoint each, whose pings tell whether the
// first host's tables are right.
type repairBed struct {
	*bed
	a, b *bedEndpoint
	h    *bedHost
}

func newRepairBed(t *testing.T, hook Hook) *repairBed {
	b := newBed(t, linktest.Options{Hosts: 2}, hook)
	r := &repairBed{bed: b, h: b.hosts[0]}
	r.a = b.attach(0, testVNI, "10.0.0.2/24")
	r.b = b.attach(1, testVNI, "10.0.0.3/24")
	r.h.network(testVNI, b.mtu).Multicast = true
	b.connect()
	return r
}

// damage breaks one thing of host 1 by hand.
type damage struct {
	name  string
	do    func(t *testing.T, r *repairBed)
	drift uint64 // how many entries the repair counts, at least
}

func damages() []damage {
	remove := func(m func(*Datapath) *ebpf.Map, key any) func(*testing.T, *repairBed) {
		return func(t *testing.T, r *repairBed) {
			if err := m(r.h.dp).Delete(key); err != nil {
				t.Fatal(err)
			}
		}
	}
	put := func(m func(*Datapath) *ebpf.Map, key, value any) func(*testing.T, *repairBed) {
		return func(t *testing.T, r *repairBed) {
			if err := m(r.h.dp).Put(key, value); err != nil {
				t.Fatal(err)
			}
		}
	}
	command := func(args ...string) func(*testing.T, *repairBed) {
		return func(t *testing.T, r *repairBed) { run(t, r.h.Namespace, args...) }
	}
	ports := func(d *Datapath) *ebpf.Map { return d.objs.OvlPorts }
	fdb := func(d *Datapath) *ebpf.Map { return d.objs.OvlFdb }
	neigh := func(d *Datapath) *ebpf.Map { return d.objs.OvlNeigh }
	members := func(d *Datapath) *ebpf.Map { return d.objs.OvlMembers }
	networks := func(d *Datapath) *ebpf.Map { return d.objs.OvlNetworks }
	config := func(d *Datapath) *ebpf.Map { return d.objs.OvlConfig }
	flood := func(d *Datapath) *ebpf.Map { return d.objs.OvlFlood }

	macB := encap.MAC{2, testVNI >> 8, testVNI & 0xff, 0, 2, 1}
	keyB := fdbKey(testVNI, macB)
	neighB := bpf.OvlNeighKey{Vni: testVNI, Addr: netip.MustParseAddr("10.0.0.3").As16()}
	stranger := netip.MustParseAddr("192.0.2.99").As16()
	return []damage{
		{"fdb entry deleted", remove(fdb, keyB), 1},
		{"fdb entry changed", put(fdb, keyB, bpf.OvlFdbEntry{Vtep: stranger}), 1},
		{"fdb entry added", put(fdb, fdbKey(testVNI, encap.MAC{2, 9}), bpf.OvlFdbEntry{Vtep: stranger}), 1},
		{"neighbour deleted", remove(neigh, neighB), 1},
		{"neighbour changed", put(neigh, neighB, bpf.OvlNeighEntry{Mac: [6]byte{2, 9}}), 1},
		{"member deleted", remove(members, bpf.OvlMemberKey{Vni: testVNI, Vtep: netip.MustParseAddr("192.0.2.2").As16()}), 1},
		{"member added", put(members, bpf.OvlMemberKey{Vni: testVNI, Vtep: stranger}, bpf.OvlMemberEntry{}), 1},
		{"network deleted", remove(networks, uint32(testVNI)), 1},
		{"network added", put(networks, uint32(9999), bpf.OvlNetworkEntry{Mtu: 1450}), 1},
		{"flood entry deleted", remove(flood, bpf.OvlFloodKey{Vni: testVNI}), 1},
		{"flood entry changed", put(flood, bpf.OvlFloodKey{Vni: testVNI, Index: 1}, bpf.OvlFloodEntry{Vtep: stranger}), 1},
		{"flood entry added", put(flood, bpf.OvlFloodKey{Vni: testVNI, Index: 7}, bpf.OvlFloodEntry{Vtep: stranger}), 1},
		{"port deleted", func(t *testing.T, r *repairBed) { remove(ports, r.ifindex(t))(t, r) }, 1},
		{"port changed", func(t *testing.T, r *repairBed) { put(ports, r.ifindex(t), bpf.OvlPort{Vni: 9999})(t, r) }, 1},
		{"port added", put(ports, uint32(9999), bpf.OvlPort{Vni: testVNI}), 1},
		{"config changed", put(config, uint32(0), bpf.OvlConfig{Vtep: stranger, VxlanPort: 1}), 1},
		{"vxlan device deleted", command("ip", "link", "del", VXLANDevice), 1},
		{"vxlan device down", command("ip", "link", "set", VXLANDevice, "down"), 0},
		{"vxlan device does not forward", command("sysctl", "-q", "net.ipv4.conf."+VXLANDevice+".forwarding=0"), 0},
		{"endpoint's program detached", func(t *testing.T, r *repairBed) { r.detach(t, fromEndpoint, r.a.port.Device) }, 1},
		{"underlay's program detached", func(t *testing.T, r *repairBed) { r.detach(t, fromUnderlay, linktest.UnderlayDevice) }, 1},
		{"vxlan device's program detached", func(t *testing.T, r *repairBed) { r.detach(t, fromVXLAN, VXLANDevice) }, 1},
	}
}

// ifindex is that of endpoint A's port.
func (r *repairBed) ifindex(t *testing.T) (index uint32) {
	t.Helper()
	err := r.h.Do(func() (err error) {
		index, err = ifindex(r.a.port.Device)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return index
}

// detach takes a program away from a device as an operator would.
func (r *repairBed) detach(t *testing.T, program, device string) {
	t.Helper()
	if r.h.opts.Hook == HookClsact {
		run(t, r.h.Namespace, "tc", "qdisc", "del", "dev", device, "clsact")
		return
	}
	err := r.h.Do(func() error {
		index, err := ifindex(device)
		if err != nil {
			return err
		}
		if err := os.Remove(filepath.Join(r.h.opts.Dir, linksDir, at{program, index}.pinName())); err != nil {
			return err
		}
		// The kernel detaches a little after the last hold on the link goes.
		for range 500 {
			there, err := ebpflink.QueryPrograms(ebpflink.QueryOptions{Target: int(index), Attach: ebpf.AttachTCXIngress})
			if err != nil || len(there.Programs) == 0 {
				return err
			}
			time.Sleep(2 * time.Millisecond)
		}
		return fmt.Errorf("%s stays on %s", program, device)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// tables renders what the kernel holds for a host.
func (h *bedHost) tables(t *testing.T) string {
	t.Helper()
	got := new(tables)
	var config bpf.OvlConfig
	var errs [7]error
	got.ports.now, errs[0] = readAll[uint32, bpf.OvlPort](h.dp.objs.OvlPorts)
	got.fdb.now, errs[1] = readAll[bpf.OvlFdbKey, bpf.OvlFdbEntry](h.dp.objs.OvlFdb)
	got.neigh.now, errs[2] = readAll[bpf.OvlNeighKey, bpf.OvlNeighEntry](h.dp.objs.OvlNeigh)
	got.members.now, errs[3] = readAll[bpf.OvlMemberKey, bpf.OvlMemberEntry](h.dp.objs.OvlMembers)
	got.networks.now, errs[4] = readAll[uint32, bpf.OvlNetworkEntry](h.dp.objs.OvlNetworks)
	errs[5] = h.dp.objs.OvlConfig.Lookup(uint32(0), &config)
	got.flood.now, errs[6] = readAll[bpf.OvlFloodKey, bpf.OvlFloodEntry](h.dp.objs.OvlFlood)
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatalf("read the maps of %s: %v", h.Name, err)
	}
	// The vxlan device's index changes when it is made anew.
	return fmt.Sprintf("config: VTEP %s, port %d\n%s", netip.AddrFrom16(config.Vtep).Unmap(), config.VxlanPort, render(got))
}

func TestRepair(t *testing.T) {
	needTool(t, "tc", "ping")
	for name, hook := range hooksToTest {
		t.Run(name, func(t *testing.T) {
			r := newRepairBed(t, hook)
			intact := r.h.tables(t)
			for _, d := range damages() {
				before := r.h.stats(t).Drift
				d.do(t, r)
				r.h.apply(t)
				repaired := r.h.stats(t).Drift - before
				if repaired < d.drift {
					t.Errorf("%s: the repair counts %d, want %d or more", d.name, repaired, d.drift)
				}
				r.h.apply(t)
				if again := r.h.stats(t).Drift - before; again != repaired {
					t.Errorf("%s: a second Apply repairs %d more", d.name, again-repaired)
				}
				if now := r.h.tables(t); now != intact {
					t.Errorf("%s: tables\n%s\nwant\n%s", d.name, now, intact)
				}
				checkPing(t, r.a.Namespace, r.b.addr().String(), "-c", "1")
				checkPing(t, r.b.Namespace, r.a.addr().String(), "-c", "1")
			}
		})
	}
}

// TestApplyTwice: the same state again does nothing, and neither does a
// process that takes over.
func TestApplyTwice(t *testing.T) {
	for name, hook := range hooksToTest {
		t.Run(name, func(t *testing.T) {
			r := newRepairBed(t, hook)
			before, places := r.h.tables(t), attachedTo(t, r.h)
			for range 3 {
				r.h.apply(t)
			}
			if drift := r.h.stats(t).Drift; drift != 0 {
				t.Errorf("drift %d with nothing changed", drift)
			}
			if after := r.h.tables(t); after != before {
				t.Errorf("tables changed\n%s\nwas\n%s", after, before)
			}
			for a, was := range places {
				if is := attachedTo(t, r.h)[a]; is != was {
					t.Errorf("%v: %+v became %+v", a, was, is)
				}
			}
		})
	}
}

// TestMissingDevice: a port without its device fails alone, and by name.
func TestMissingDevice(t *testing.T) {
	b := newBed(t, linktest.Options{Hosts: 2}, HookAuto)
	a := b.attach(0, testVNI, "10.0.0.2/24")
	gone := b.attach(0, testVNI, "10.0.0.9/24")
	far := b.attach(1, testVNI, "10.0.0.3/24")
	b.connect()
	h := b.hosts[0]
	if err := h.Do(func() error { return link.Remove(gone.port.Device) }); err != nil {
		t.Fatal(err)
	}
	err := h.tryApply()
	var object *datapath.ObjectError
	if !errors.Is(err, datapath.ErrNoDevice) || !errors.As(err, &object) || object.Object != datapath.PortObject(gone.port.Device) {
		t.Errorf("apply with a device gone: %v", err)
	}
	checkPing(t, a.Namespace, far.addr().String())
	if tables := h.tables(t); strings.Contains(tables, gone.port.MAC.String()) {
		t.Errorf("the tables still lead to the device that is gone:\n%s", tables)
	}
	for _, at := range h.stats(t).Attachments {
		if at.Device == gone.port.Device {
			t.Errorf("still attached: %+v", at)
		}
	}
	// It comes back under another number.
	n := h.network(testVNI, b.mtu)
	n.Ports = slices.DeleteFunc(n.Ports, func(p datapath.Port) bool { return p.Device == gone.port.Device })
	h.apply(t)
	again := b.attach(0, testVNI, "10.0.0.10/24")
	b.connect()
	checkPing(t, again.Namespace, far.addr().String())
}

// TestEmptyState: what is no longer wanted goes, and the host is as before.
func TestEmptyState(t *testing.T) {
	for name, hook := range hooksToTest {
		t.Run(name, func(t *testing.T) {
			r := newRepairBed(t, hook)
			r.h.state = datapath.State{}
			r.h.apply(t)
			if tables := r.h.tables(t); strings.Count(tables, "\n") > 1 {
				t.Errorf("tables of an empty state:\n%s", tables)
			}
			for a := range attachedTo(t, r.h) {
				if a.program == fromEndpoint {
					t.Errorf("%s is still attached to device #%d", a.program, a.ifindex)
				}
			}
			if drift := r.h.stats(t).Drift; drift != 0 {
				t.Errorf("another state counts as drift: %d", drift)
			}
		})
	}
}

// TestRemove leaves nothing, whether or not a process still runs, and can be
// called again.
func TestRemove(t *testing.T) {
	needTool(t, "tc", "bpftool")
	for name, hook := range hooksToTest {
		for running, prepare := range map[string]func(*repairBed){
			"running": func(*repairBed) {},
			"ended":   func(r *repairBed) { r.h.close(t) },
		} {
			t.Run(name+" "+running, func(t *testing.T) {
				r := newRepairBed(t, hook)
				prepare(r)
				for range 2 {
					if err := r.h.Do(func() error { return Remove(r.h.opts.Dir) }); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := os.Stat(r.h.opts.Dir); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s is there: %v", r.h.opts.Dir, err)
				}
				if devices := run(t, r.h.Namespace, "ip", "-o", "link"); strings.Contains(devices, VXLANDevice) {
					t.Errorf("%s is there:\n%s", VXLANDevice, devices)
				}
				for _, device := range []string{linktest.UnderlayDevice, r.a.port.Device} {
					for _, what := range []string{"qdisc", "filter"} {
						out := run(t, r.h.Namespace, "tc", what, "show", "dev", device, "ingress")
						if strings.Contains(out, "clsact") || strings.Contains(out, "bpf") {
							t.Errorf("%s of %s is left:\n%s", what, device, out)
						}
					}
				}
				if out := run(t, r.h.Namespace, "bpftool", "net", "show"); strings.Contains(out, "from_") {
					t.Errorf("programs are left:\n%s", out)
				}
			})
		}
	}
}
