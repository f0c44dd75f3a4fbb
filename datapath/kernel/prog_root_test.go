package kernel

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// Verdicts of a tc program, linux/pkt_cls.h.
const (
	verdictPass     = 0xffffffff // TC_ACT_UNSPEC: to whoever comes next
	verdictShot     = 2
	verdictRedirect = 7
)

// frameCase is a frame that goes into a program, and what comes out of it.
type frameCase struct {
	name    string
	in      []byte
	verdict uint32
	out     []byte // nil: as it came in
	tunnel  bool   // out is a tunnel packet, of any source port
}

// tested is a program as BPF_PROG_TEST_RUN runs it: for a frame that came in
// by one device of a host.
type tested struct {
	host    *bedHost
	program *ebpf.Program
	ifindex uint32
}

func newTested(t *testing.T, h *bedHost, p *ebpf.Program, device string) tested {
	t.Helper()
	r := tested{host: h, program: p}
	err := h.Do(func() (err error) {
		r.ifindex, err = ifindex(device)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// run returns the program's verdict and the frame that it leaves.
func (r tested) run(t *testing.T, in []byte) (verdict uint32, out []byte) {
	t.Helper()
	// struct __sk_buff of linux/bpf.h: all zeros but the device.
	const size, ifindexOffset = 192, 40
	ctx := make([]byte, size)
	binary.NativeEndian.PutUint32(ctx[ifindexOffset:], r.ifindex)
	o := ebpf.RunOptions{Data: in, DataOut: make([]byte, len(in)+256), Context: ctx}
	err := r.host.Do(func() (err error) {
		verdict, err = r.program.Run(&o)
		return err
	})
	if err != nil {
		t.Fatalf("run %s: %v", r.program, err)
	}
	return verdict, o.DataOut
}

func (r tested) check(t *testing.T, c frameCase) {
	t.Helper()
	verdict, out := r.run(t, c.in)
	if verdict != c.verdict {
		t.Errorf("verdict %d, want %d", int32(verdict), int32(c.verdict))
	}
	want := c.out
	if want == nil {
		want = c.in
	}
	if c.tunnel && len(out) > dt.InnerOffset {
		port := sourcePort(out)
		if port < 32768 || port > 60999 {
			t.Errorf("outer source port %d, want one of 32768 to 60999", port)
		}
		want = ofFlow(want, out)
	}
	if !bytes.Equal(out, want) {
		t.Errorf("frame\n%x, want\n%x", out, want)
	}
}

// ofFlow gives a tunnel packet what another has of its flow: the source port,
// and over IPv6 the flow label.
func ofFlow(frame, other []byte) []byte {
	udp := dt.At(other, dt.OuterUDPOffset)
	frame = dt.Patch(frame, dt.At(frame, dt.OuterUDPOffset), other[udp:udp+2]...)
	if dt.IsIPv6(frame) {
		const class, label = dt.OuterIPOffset + 1, dt.OuterIPOffset + 2
		frame = dt.Patch(frame, class, frame[class]&0xf0|other[class]&0x0f, other[label], other[label+1])
	}
	return frame
}

func sourcePort(frame []byte) uint16 {
	return binary.BigEndian.Uint16(frame[dt.At(frame, dt.OuterUDPOffset):])
}

// flowLabel returns an IPv6 packet's (RFC 8200 section 3).
func flowLabel(frame []byte) uint32 {
	return binary.BigEndian.Uint32(frame[dt.OuterIPOffset:]) & 0xfffff
}

// cutInIP tells frames that end inside their IP header.
func cutInIP(frame []byte) bool {
	switch binary.BigEndian.Uint16(frame[12:]) {
	case unix.ETH_P_IP:
		return len(frame) < 14+20
	case unix.ETH_P_IPV6:
		return len(frame) < 14+40
	}
	return false
}

// stripsEither reports whether the kernel takes a packet of one family out of
// one of the other, as it does since Linux 6.3.
func stripsEither(t *testing.T) bool {
	t.Helper()
	version, err := features.LinuxVersionCode()
	if err != nil {
		t.Fatal(err)
	}
	return version >= 6<<16|3<<8
}

// withTOS sets the type of service of the IPv4 packet in a frame, or the
// traffic class of one of IPv6.
func withTOS(frame []byte, tos byte) []byte {
	if dt.IsIPv6(frame) {
		ip := frame[dt.OuterIPOffset:]
		return dt.Patch(frame, dt.OuterIPOffset, ip[0]&0xf0|tos>>4, ip[1]&0x0f|tos<<4)
	}
	out := dt.Patch(frame, dt.OuterIPOffset+1, tos)
	fixIPChecksum(out)
	return out
}

// knowNeighbour spares the test the resolution of the other host's MAC.
func knowNeighbour(t testing.TB, from *bedHost, to dt.Party) {
	t.Helper()
	run(t, from.Namespace, "ip", "neigh", "replace", to.Addr.String(), "lladdr", to.MAC.String(),
		"dev", linktest.UnderlayDevice, "nud", "permanent")
}

func TestProgramFromEndpoint(t *testing.T) {
	onUnderlays(t, linktest.Options{Hosts: 3}, testProgramFromEndpoint)
}

func testProgramFromEndpoint(t *testing.T, o linktest.Options) {
	f := newForgedBed(t, o)
	local := f.attach(0, testVNI, "10.0.0.4/24", "10.0.0.44/24")
	local.silence(t)
	f.connect()
	knowNeighbour(t, f.hosts[0], f.hostB)
	r := newTested(t, f.hosts[0], f.hosts[0].dp.objs.FromEndpoint, f.a.port.Device)

	a, b := f.partyA, f.partyB
	c := dt.Party{MAC: local.port.MAC, Addr: local.addr()}
	c2 := dt.Party{MAC: c.MAC, Addr: local.port.Addrs[1]}
	a6 := dt.Party{MAC: a.MAC, Addr: f.a.port.Addrs[1]}
	b6 := dt.Party{MAC: b.MAC, Addr: f.b.port.Addrs[1]}
	toB := dt.UDP4(a, b, "hello")
	full := dt.UDP4(a, b, string(make([]byte, f.mtu-28)))
	probe := dt.Patch(dt.ARPRequest(a, b.Addr), 28, 0, 0, 0, 0)
	linkLocal := netip.MustParseAddr("fe80::10:ff:fe00:201") // of B's 02:10:00:00:02:01
	tunnel := func(inner []byte) []byte { return dt.VXLAN(f.hostA, f.hostB, testVNI, inner) }

	for _, c := range []frameCase{
		{name: "IPv4 to another host", in: toB, verdict: verdictRedirect, out: tunnel(toB), tunnel: true},
		{name: "IPv4 as long as the MTU", in: full, verdict: verdictRedirect, out: tunnel(full), tunnel: true},
		{name: "IPv4 with ECN", in: withTOS(toB, 2), verdict: verdictRedirect, out: withTOS(tunnel(withTOS(toB, 2)), 2), tunnel: true},
		{name: "IPv4 with DSCP, which stays inside", in: withTOS(toB, 0xb8), verdict: verdictRedirect, out: tunnel(withTOS(toB, 0xb8)), tunnel: true},
		{name: "IPv4 to this host", in: dt.UDP4(a, c, "hello"), verdict: verdictRedirect},
		{name: "IPv4 to a second address", in: dt.UDP4(a, c2, "hello"), verdict: verdictRedirect},
		{name: "ARP for another host's", in: dt.ARPRequest(a, b.Addr), verdict: verdictRedirect, out: dt.ARPReply(b, a)},
		{name: "ARP for this host's", in: dt.ARPRequest(a, c.Addr), verdict: verdictRedirect, out: dt.ARPReply(c, a)},
		{name: "ARP for a second address", in: dt.ARPRequest(a, c2.Addr), verdict: verdictRedirect, out: dt.ARPReply(c2, a)},
		{name: "ARP probe for what is taken", in: probe, verdict: verdictRedirect,
			out: dt.ARPReply(b, dt.Party{MAC: a.MAC, Addr: netip.IPv4Unspecified()})},
		{name: "ARP reply to another host", in: dt.ARPReply(a, b), verdict: verdictRedirect},
		{name: "solicitation for another host's", in: dt.Solicitation(a6, b6.Addr, a.MAC), verdict: verdictRedirect, out: dt.Advertise(b6, a6, 0x60)},
		{name: "solicitation for a link-local address", in: dt.Solicitation(a6, linkLocal, a.MAC), verdict: verdictRedirect,
			out: dt.Advertise(dt.Party{MAC: b.MAC, Addr: linkLocal}, a6, 0x60)},
		{name: "IPv6 to another host", in: dt.ICMP6(a6, b6), verdict: verdictRedirect, out: tunnel(dt.ICMP6(a6, b6)), tunnel: true},
		{name: "not IP to another host", in: dt.Ethernet(a, b, 0x88b5, "raw"), verdict: verdictRedirect},
		{name: "802.1Q to another host", in: dt.Ethernet(a, b, 0x8100, "\x00\x07\x08\x00tagged"), verdict: verdictRedirect},
		{name: "LLC to another host", in: dt.Ethernet(a, b, 4, "\xaa\xaa\x03x"), verdict: verdictRedirect},
	} {
		t.Run(c.name, func(t *testing.T) { r.check(t, c) })
	}
	for _, c := range f.fromEndpoint() {
		if cutInIP(c.frame) {
			continue // the kernel refuses to run it; TestConformance sends such
		}
		t.Run("drops "+c.name, func(t *testing.T) { f.checkDrop(t, r, c) })
	}
	t.Run("drops what comes by a device that is no port", func(t *testing.T) {
		r := r
		r.ifindex = 1
		f.checkDrop(t, r, forgery{frame: toB, want: datapath.DropUnknownVNI})
	})

	t.Run("counts what it sends", func(t *testing.T) {
		before := f.hosts[0].stats(t).Peers[f.hostB.Addr].Sent
		r.run(t, toB)
		sent := f.hosts[0].stats(t).Peers[f.hostB.Addr].Sent
		if sent.Packets != before.Packets+1 || sent.Bytes != before.Bytes+uint64(len(toB)) {
			t.Errorf("counted %+v after %+v, want 1 packet of %d bytes more", sent, before, len(toB))
		}
	})
	const ports4, ports6 = 14 + 20, 14 + 40
	behind := dt.Extend(dt.UDP6(a6, b6, "hello"), dt.Padding(60))
	fragment := dt.Extend(dt.UDP6(a6, b6, "hello"), dt.FragmentHeader(0, true))
	t.Run("source ports", func(t *testing.T) { checkSourcePorts(t, r, toB, ports4, 48) })
	t.Run("source ports of IPv6", func(t *testing.T) { checkSourcePorts(t, r, dt.UDP6(a6, b6, "hello"), ports6, 48) })
	t.Run("source ports behind a header", func(t *testing.T) { checkSourcePorts(t, r, behind, ports6+8, 48) })
	t.Run("source port of fragments", func(t *testing.T) {
		checkSourcePorts(t, r, fragment, ports6+8, 1)
		_, first := r.run(t, fragment)
		_, later := r.run(t, dt.Extend(dt.UDP6(a6, b6, "hello"), dt.FragmentHeader(9, false)))
		if sourcePort(first) != sourcePort(later) {
			t.Errorf("fragments have source ports %d and %d", sourcePort(first), sourcePort(later))
		}
	})
}

// checkSourcePorts wants one port for a flow, and for flows whose inner source
// ports, at that offset, differ as many as wanted: exactly one, or that and more.
// Over IPv6 it wants the same of flow labels.
func checkSourcePorts(t *testing.T, r tested, frame []byte, offset, wanted int) {
	t.Helper()
	const flows = 64
	ports, labels := map[uint16]bool{}, map[uint32]bool{}
	for i := range flows {
		flow := dt.Patch(frame, offset, 0x80, byte(i))
		_, first := r.run(t, flow)
		_, again := r.run(t, flow)
		if !bytes.Equal(first, again) {
			t.Fatalf("flow %d has packets\n%x and\n%x", i, first, again)
		}
		ports[sourcePort(first)] = true
		labels[flowLabel(first)] = true
	}
	enough := func(n int) bool { return n == wanted || n > wanted && wanted > 1 }
	if !enough(len(ports)) {
		t.Errorf("%d flows have %d source ports, want %d", flows, len(ports), wanted)
	}
	if r.host.Addr.Is6() && !enough(len(labels)) {
		t.Errorf("%d flows have %d flow labels, want %d", flows, len(labels), wanted)
	}
}

// checkDrop runs a frame that the program must drop, untouched, and count.
func (f *forgedBed) checkDrop(t *testing.T, r tested, c forgery) {
	t.Helper()
	f.expectDrop(t, c, func(frame []byte) {
		// What is too big goes back, as an answer: see cases_mtu.go.
		want := uint32(verdictShot)
		if c.want == datapath.DropTooBig && binary.BigEndian.Uint16(frame[12:]) == unix.ETH_P_IP {
			want = verdictRedirect
		}
		if verdict, _ := r.run(t, frame); verdict != want {
			t.Errorf("verdict %d, want %d", int32(verdict), int32(want))
		}
	})
}

// TestProgramRoute is what the way to the other host does to a frame.
func TestProgramRoute(t *testing.T) { onUnderlays(t, linktest.Options{Hosts: 3}, testProgramRoute) }

func testProgramRoute(t *testing.T, o linktest.Options) {
	f := newForgedBed(t, o)
	h := f.hosts[0]
	r := newTested(t, h, h.dp.objs.FromEndpoint, f.a.port.Device)
	toB := dt.UDP4(f.partyA, f.partyB, string(make([]byte, 1400-28)))
	to := f.hostB.Addr.String()

	t.Run("drops what a narrower route does not take", func(t *testing.T) {
		knowNeighbour(t, h, f.hostB)
		run(t, h.Namespace, "ip", "route", "add", to, "dev", linktest.UnderlayDevice, "mtu", "lock", "1400")
		defer run(t, h.Namespace, "ip", "route", "del", to)
		time.Sleep(routeHolds)
		f.checkDrop(t, r, forgery{frame: toB, want: datapath.DropTooBig})
	})
	t.Run("drops what a route takes less of by an unlocked MTU", func(t *testing.T) {
		run(t, h.Namespace, "ip", "route", "add", to, "dev", linktest.UnderlayDevice, "mtu", "1400")
		defer run(t, h.Namespace, "ip", "route", "del", to)
		h.dp.paths.asked = time.Time{} // it is old
		h.apply(t)
		time.Sleep(routeHolds)
		f.checkDrop(t, r, forgery{frame: toB, want: datapath.DropTooBig})
		if s := h.stats(t); s.Drift != 0 || s.Peers[f.hostB.Addr].PathMTU != 1400 {
			t.Errorf("drift %d, path MTU %d, want 0, 1400", s.Drift, s.Peers[f.hostB.Addr].PathMTU)
		}
	})
	h.dp.paths.asked = time.Time{}
	h.apply(t)
	t.Run("drops what has no route", func(t *testing.T) {
		run(t, h.Namespace, "ip", "route", "add", "blackhole", to)
		defer run(t, h.Namespace, "ip", "route", "del", to)
		time.Sleep(routeHolds)
		f.checkDrop(t, r, forgery{frame: toB, want: datapath.DropNoRoute})
	})
	t.Run("leaves an unknown neighbour to the kernel", func(t *testing.T) {
		run(t, h.Namespace, "ip", "neigh", "flush", "dev", linktest.UnderlayDevice, "nud", "all")
		time.Sleep(routeHolds)
		verdict, out := r.run(t, toB)
		want := ofFlow(dt.VXLAN(f.hostA, f.hostB, testVNI, toB), out)
		if verdict != verdictRedirect || !bytes.Equal(out[dt.OuterIPOffset:], want[dt.OuterIPOffset:]) {
			t.Errorf("verdict %d, frame\n%x, want %d and, but for the MACs,\n%x", verdict, out, verdictRedirect, want)
		}
	})
}

func TestProgramFromUnderlay(t *testing.T) {
	onUnderlays(t, linktest.Options{Hosts: 3}, testProgramFromUnderlay)
}

func testProgramFromUnderlay(t *testing.T, o linktest.Options) {
	f := newForgedBed(t, o)
	tap := f.attachTAP(t, 0, testVNI, "10.0.0.5")
	f.connect()
	r := newTested(t, f.hosts[0], f.hosts[0].dp.objs.FromUnderlay, linktest.UnderlayDevice)

	a, b := f.partyA, f.partyB
	toTAP := dt.Party{MAC: tap.port.MAC, Addr: tap.addr()}
	a6 := dt.Party{MAC: a.MAC, Addr: f.a.port.Addrs[1]}
	b6 := dt.Party{MAC: b.MAC, Addr: f.b.port.Addrs[1]}
	inner := dt.UDP4(b, a, "hello")
	tunnel := func(inner []byte) []byte { return dt.VXLAN(f.hostB, f.hostA, testVNI, inner) }
	good := tunnel(inner)
	elsewhere := f.hostA
	elsewhere.Addr = f.hosts[2].Addr.Next()
	protocol, fragment := dt.OuterIPOffset+9, dt.Patch(good, dt.OuterIPOffset+6, 0x20, 0)
	if o.IPv6 {
		protocol, fragment = dt.OuterIPOffset+6, dt.Patch(good, dt.OuterIPOffset+6, unix.IPPROTO_FRAGMENT)
	}

	for _, c := range []frameCase{
		{name: "IPv4 to an endpoint", in: good, verdict: verdictRedirect, out: inner},
		{name: "congestion mark goes inside", in: withTOS(tunnel(withTOS(inner, 2)), 3), verdict: verdictRedirect, out: withTOS(inner, 3)},
		{name: "other marks stay outside", in: withTOS(tunnel(withTOS(inner, 1)), 2), verdict: verdictRedirect, out: withTOS(inner, 1)},
		{name: "outer DSCP stays outside", in: withTOS(good, 0xb8), verdict: verdictRedirect, out: inner},

		{name: "IPv4 to a TAP", in: tunnel(dt.UDP4(b, toTAP, "x")), verdict: verdictRedirect, out: dt.UDP4(b, toTAP, "x")},
		{name: "with an outer checksum", in: dt.Patch(good, dt.At(good, dt.UDPChecksumField), 0x12, 0x34), verdict: verdictPass},
		{name: "IPv6 to an endpoint", in: tunnel(dt.ICMP6(b6, a6)), verdict: verdictRedirect, out: dt.ICMP6(b6, a6)},
		{name: "neighbour discovery inside", in: tunnel(dt.Solicitation(b6, a6.Addr, b.MAC)), verdict: verdictPass},
		{name: "ARP inside", in: tunnel(dt.ARPRequest(b, a.Addr)), verdict: verdictPass},
		{name: "not IP inside", in: tunnel(dt.Ethernet(b, a, 0x88b5, "raw")), verdict: verdictPass},

		{name: "not ours: UDP to another port", in: dt.Patch(good, dt.At(good, dt.OuterUDPOffset+2), 8, 8), verdict: verdictPass},
		{name: "not ours: to another address", in: dt.VXLAN(f.hostB, elsewhere, testVNI, inner), verdict: verdictPass},
		{name: "not ours: TCP", in: dt.Patch(good, protocol, unix.IPPROTO_TCP), verdict: verdictPass},
		{name: "not ours: ARP", in: dt.ARPRequest(b, a.Addr), verdict: verdictPass},
		{name: "not ours: IPv4", in: dt.UDP4(b, a, "x"), verdict: verdictPass},
		{name: "not ours: IPv6", in: dt.ICMP6(b6, a6), verdict: verdictPass},
		{name: "the stack's to put together: fragment", in: fragment, verdict: verdictPass},
	} {
		if c.verdict == verdictRedirect && dt.IsIPv6(c.out) != o.IPv6 && !stripsEither(t) {
			c.verdict, c.out = verdictPass, nil
		}
		t.Run(c.name, func(t *testing.T) { r.check(t, c) })
	}
	// Some drops are found by from_vxlan, after the stack: TestConformance has
	// them all.
	for _, c := range f.fromUnderlay() {
		if verdict, _ := r.run(t, c.frame); verdict == verdictPass {
			continue
		}
		t.Run("drops "+c.name, func(t *testing.T) { f.checkDrop(t, r, c) })
	}

	t.Run("counts what it receives", func(t *testing.T) {
		if o.IPv6 {
			inner = dt.ICMP6(b6, a6) // what every kernel strips
			good = tunnel(inner)
		}
		before := f.hosts[0].stats(t).Peers[f.hostB.Addr].Received
		r.run(t, good)
		got := f.hosts[0].stats(t).Peers[f.hostB.Addr].Received
		if got.Packets != before.Packets+1 || got.Bytes != before.Bytes+uint64(len(inner)) {
			t.Errorf("counted %+v after %+v, want 1 packet of %d bytes more", got, before, len(inner))
		}
	})
}

// TestProgramFromVXLAN: a test run cannot make a frame that has been in a
// tunnel. One that has not is nobody's.
func TestProgramFromVXLAN(t *testing.T) {
	onUnderlays(t, linktest.Options{Hosts: 3}, testProgramFromVXLAN)
}

func testProgramFromVXLAN(t *testing.T, o linktest.Options) {
	f := newForgedBed(t, o)
	r := newTested(t, f.hosts[0], f.hosts[0].dp.objs.FromVxlan, VXLANDevice)
	f.checkDrop(t, r, forgery{frame: dt.UDP4(f.partyB, f.partyA, "x"), want: datapath.DropEncap})
}

// TestProgramBudget bounds what the verifier has to go through: it grows with
// every branch, limits how old a kernel may be, and is paid at each start.
func TestProgramBudget(t *testing.T) { onUnderlays(t, linktest.Options{Hosts: 1}, testProgramBudget) }

func testProgramBudget(t *testing.T, o linktest.Options) {
	b := newBed(t, o, HookAuto)
	objs := b.hosts[0].dp.objs
	for _, c := range []struct {
		program *ebpf.Program
		budget  uint32
	}{
		{objs.FromEndpoint, 100000},
		{objs.FromUnderlay, 15000},
		{objs.FromVxlan, 33000},
	} {
		info, err := c.program.Info()
		if err != nil {
			t.Fatal(err)
		}
		n, ok := info.VerifiedInstructions()
		if !ok {
			skip(t, "the kernel tells verified instructions since Linux 5.16")
		}
		t.Logf("%s: %d verified instructions of %d", info.Name, n, c.budget)
		if n > c.budget {
			t.Errorf("%s has %d verified instructions, its budget is %d: raise it only with a reason in the commit", info.Name, n, c.budget)
		}
	}
}
