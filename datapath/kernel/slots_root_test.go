package kernel

import (
	"testing"

	"github.com/cilium/ebpf"

	"github.com/ovlnet/ovl/bpf"
	"github.com/ovlnet/ovl/datapath"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// TestCountersOfPortsThatGo follows what was counted for a port: through a
// restart, into its network's sum when it goes, and out of the network's when
// that goes too. Nothing is ever lost, and who comes next begins at zero.
func TestCountersOfPortsThatGo(t *testing.T) {
	b := newBed(t, linktest.Options{Hosts: 1}, HookAuto)
	h := b.hosts[0]
	a, c := b.attach(0, testVNI, "10.0.0.2/24"), b.attach(0, testVNI, "10.0.0.3/24")
	other := b.attach(0, testVNI+1, "10.0.0.2/24")
	b.connect()
	checkPing(t, a.Namespace, c.addr().String())
	_, _ = tryRun(other.Namespace, "ping", "-n", "-c", "1", "-W", "1", "10.0.0.9") // ARP for nobody
	silenceAll(t, a, c, other)
	before := h.stats(t)
	if p := before.Ports[a.port.Device]; p.Sent.Packets < 4 || p.Received.Packets < 3 || p.Answered.Packets == 0 {
		t.Fatalf("counted %+v for the endpoint that has pinged", p)
	}
	if before.Networks[testVNI] != before.Ports[a.port.Device].Add(before.Ports[c.port.Device]) {
		t.Errorf("network has %+v, want the sum of its ports %+v", before.Networks[testVNI], before.Ports)
	}

	check := func(what string, ports int) datapath.Stats {
		t.Helper()
		s := h.stats(t)
		if s.AllPorts() != before.AllPorts() {
			t.Errorf("%s: all ports have %+v, want %+v as before", what, s.AllPorts(), before.AllPorts())
		}
		if err := dt.CheckBalance(s); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if len(s.Ports) != ports {
			t.Errorf("%s: counters of ports %v, want %d", what, s.Ports, ports)
		}
		return s
	}

	h.close(t)
	h.open(t)
	check("before the first Apply", 0)
	h.apply(t)
	if s := check("restarted", 3); s.Ports[a.port.Device] != before.Ports[a.port.Device] {
		t.Errorf("restarted: port has %+v, want %+v", s.Ports[a.port.Device], before.Ports[a.port.Device])
	}

	n := h.network(testVNI, b.mtu)
	ports := n.Ports
	n.Ports = ports[1:] // a goes
	for i, what := range []string{"gone", "folded", "folded long ago"} {
		n.MTU-- // another State, of which no more is looked at than that
		h.apply(t)
		if left := len(h.dp.slots.left); left != 0 && i > 0 {
			t.Errorf("%s: %d slots are left", what, left)
		}
		if s := check(what, 2); s.Networks[testVNI] != before.Networks[testVNI] {
			t.Errorf("%s: network has %+v, want %+v", what, s.Networks[testVNI], before.Networks[testVNI])
		}
	}
	n.Ports = ports
	h.apply(t)
	if s := check("back", 3); s.Ports[a.port.Device] != (datapath.PortCounter{}) {
		t.Errorf("a port that is back has %+v, want nothing", s.Ports[a.port.Device])
	}

	h.state.Networks = h.state.Networks[1:] // the first network goes
	for range 3 {
		h.apply(t)
	}
	h.close(t)
	h.open(t)
	h.apply(t)
	s := check("network gone", 1)
	if _, ok := s.Networks[testVNI]; ok || s.Past.Ports != before.Networks[testVNI] {
		t.Errorf("network gone: networks %+v, past %+v; want what it had to be past", s.Networks, s.Past.Ports)
	}
	if drift := s.Drift; drift != 0 {
		t.Errorf("counts as drift: %d", drift)
	}
}

// silenceAll has endpoints say nothing any more.
func silenceAll(t *testing.T, endpoints ...*bedEndpoint) {
	t.Helper()
	for _, e := range endpoints {
		e.silence(t)
		run(t, e.Namespace, "ip", "link", "set", "eth0", "down")
	}
}

// TestSlotsRunOut: a port that finds no slot counts in slot 0, and has its own
// once there is one.
func TestSlotsRunOut(t *testing.T) {
	b := newBed(t, linktest.Options{Hosts: 1}, HookAuto)
	objs := &b.hosts[0].dp.objs
	table, err := readSlots(objs.OvlTraffic)
	if err != nil {
		t.Fatal(err)
	}
	owner := func(i int) slotOwner { return slotOwner{vni: testVNI, ifindex: uint32(i)} }
	const limit = 4
	table.limit = limit
	for i := 1; i <= limit; i++ {
		if slot := table.index(owner(i)); slot != uint32(i) || table.index(owner(i)) != slot {
			t.Fatalf("port %d has slot %d", i, slot)
		}
	}
	if slot := table.index(owner(9)); slot != 0 {
		t.Errorf("a port too many has slot %d", slot)
	}
	if err := table.write(objs.OvlTraffic); err != nil {
		t.Fatal(err)
	}
	delete(table.held, owner(2))
	table.left[owner(2)] = 2
	if slot := table.index(owner(9)); slot != 0 {
		t.Errorf("slot %d of a port that is hardly gone was given away", slot)
	}
	if err := table.fold(objs.OvlTraffic, objs.OvlPast, datapath.State{}); err != nil {
		t.Fatal(err)
	}
	if slot := table.index(owner(9)); slot != 2 {
		t.Errorf("slot %d, want 2 again", slot)
	}

	again, err := readSlots(objs.OvlTraffic) // 9 was not written yet
	if err != nil || len(again.held) != 3 || again.next != limit+1 || len(again.free) != 1 || again.free[0] != 2 {
		t.Errorf("read back: %+v, %v", again, err)
	}
}

// TestReadPerCPU: batches and single look-ups find the same.
func TestReadPerCPU(t *testing.T) {
	b := newBed(t, linktest.Options{Hosts: 1}, HookAuto)
	m := b.hosts[0].dp.objs.OvlPeers
	cpus := uint64(ebpf.MustPossibleCPU())
	const n = percpuBatch + 3
	for i := range uint32(n + 2) {
		perCPU := make([]bpf.OvlPeer, cpus)
		for j := range perCPU {
			perCPU[j].Received.Packets = uint64(i)
		}
		if err := m.Put(i, perCPU); err != nil {
			t.Fatal(err)
		}
	}
	for name, read := range map[string]func(*ebpf.Map, int, func(uint32, []bpf.OvlPeer)) error{
		"batches": readPerCPU[bpf.OvlPeer], "one by one": lookUpPerCPU[bpf.OvlPeer],
	} {
		next := uint32(0)
		err := read(m, n, func(index uint32, perCPU []bpf.OvlPeer) {
			if index != next || sumPeer(perCPU).Received.Packets != uint64(index)*cpus {
				t.Errorf("%s: entry %d, want %d: %+v", name, index, next, perCPU)
			}
			next++
		})
		if err != nil || next != n {
			t.Errorf("%s: %d of %d entries, %v", name, next, n, err)
		}
	}
}
