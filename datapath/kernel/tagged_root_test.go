package kernel

import (
	"bytes"
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// TestVLAN: endpoints that put all they say into a VLAN reach each other in it, as
// on a trunk: with one tag, and with a second one around it (802.1ad). Streams
// are handed over uncut, with the tag beside them.
//
// Their addresses are the VLAN's, which the network knows nothing of; so it is
// one that carries what goes to everybody, for ARP and neighbour discovery.
func TestVLAN(t *testing.T) { onUnderlays(t, linktest.Options{}, testVLAN) }

func testVLAN(t *testing.T, o linktest.Options) {
	needTool(t, "ping")
	b := newBed(t, o, HookAuto)
	all := []*bedEndpoint{
		b.attach(0, testVNI, "10.0.0.2/24", "fd00::2/64"),
		b.attach(0, testVNI, "10.0.0.3/24", "fd00::3/64"),
		b.attach(1, testVNI, "10.0.0.4/24", "fd00::4/64"),
		b.attachVM(t, 0, testVNI, vmKinds[len(vmKinds)-1], "10.0.0.5/24", "fd00::5/64"),
	}
	for _, h := range b.hosts {
		h.network(testVNI, b.mtu).Multicast = true
	}
	b.connect()
	for i, e := range all {
		e.port.Addrs = []netip.Addr{
			netip.AddrFrom4([4]byte{172, 16, 0, byte(i + 1)}), netip.AddrFrom16([16]byte{0xfd, 1, 15: byte(i + 1)}),
		}
		run(t, e.Namespace, "ip", "addr", "flush", "dev", "eth0", "scope", "global")
		run(t, e.Namespace, "ip", "addr", "add", e.port.Addrs[0].String()+"/24", "dev", "eth0")
		run(t, e.Namespace, "ip", "addr", "add", e.port.Addrs[1].String()+"/64", "dev", "eth0", "nodad")
		run(t, e.Namespace, "ip", "link", "set", "eth0", "mtu", strconv.Itoa(b.mtu-8))
	}
	for _, tags := range [][]vlanTag{{{unix.ETH_P_8021Q, 5}}, {{unix.ETH_P_8021Q, 5}, {unix.ETH_P_8021AD, 7}}} {
		t.Run(strconv.Itoa(len(tags)), func(t *testing.T) {
			for _, e := range all {
				tagEverything(t, e.Namespace, tags)
			}
			for _, peer := range all[1:] {
				exchange(t, all[0], peer, 4<<20)
			}
			checkPing(t, all[0].Namespace, all[2].addr().String(), "-s", "3000") // in fragments
		})
	}
}

// vlanTag is an 802.1Q or 802.1ad header.
type vlanTag struct{ protocol, vlan int32 }

// tagEverything has eth0 of a namespace put tags on all that it sends, the
// last one outermost, and take as many off what it receives. A vlan device does
// the same, where there are such.
func tagEverything(t *testing.T, ns *linktest.Namespace, tags []vlanTag) {
	t.Helper()
	var push, pop asm.Instructions
	saved := asm.Mov.Reg(asm.R6, asm.R1)
	for _, tag := range tags {
		push = append(push,
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.Mov.Imm(asm.R2, int32(htons(uint16(tag.protocol)))),
			asm.Mov.Imm(asm.R3, tag.vlan),
			asm.FnSkbVlanPush.Call())
		pop = append(pop, asm.Mov.Reg(asm.R1, asm.R6), asm.FnSkbVlanPop.Call())
	}
	done := asm.Instructions{asm.Mov.Imm32(asm.R0, -1), asm.Return()}
	_, _ = tryRun(ns, "tc", "qdisc", "del", "dev", "eth0", "clsact")
	run(t, ns, "tc", "qdisc", "add", "dev", "eth0", "clsact")
	for parent, what := range map[uint32]asm.Instructions{netlink.HANDLE_MIN_EGRESS: push, netlink.HANDLE_MIN_INGRESS: pop} {
		program := slices.Concat(asm.Instructions{saved}, what, done)
		if err := addFilter(ns, "eth0", parent, program); err != nil {
			t.Fatalf("tag what eth0 of %s sends: %v", ns.Name, err)
		}
	}
}

func addFilter(ns *linktest.Namespace, device string, parent uint32, program asm.Instructions) error {
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: program})
	if err != nil {
		return err
	}
	defer func() { _ = prog.Close() }()
	return ns.Do(func() error {
		index, err := ifindex(device)
		if err != nil {
			return err
		}
		return netlink.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{
				LinkIndex: int(index), Parent: parent, Priority: 1, Handle: 1, Protocol: unix.ETH_P_ALL,
			},
			Fd: prog.FD(), Name: "tag", DirectAction: true,
		})
	})
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// TestFragments: datagrams that endpoints have cut into fragments arrive whole.
func TestFragments(t *testing.T) {
	for name, o := range map[string]linktest.Options{"veth": {}, "wire": {Wire: true}} {
		t.Run(name, func(t *testing.T) {
			f := newTrafficBed(t, o)
			for i := range f.a.port.Addrs {
				checkSizes(t, f.a.Namespace, f.near.Namespace, f.near.port.Addrs[i], tooLong...)
				checkSizes(t, f.a.Namespace, f.far.Namespace, f.far.port.Addrs[i], tooLong...)
				checkSizes(t, f.far.Namespace, f.a.Namespace, f.a.port.Addrs[i], tooLong...)
			}
		})
	}
}

// tooLong are sizes of datagrams that do not fit the MTU.
var tooLong = []int{1473, 2900, 9000, 60000}

// checkSizes sends datagrams of these many bytes, one after the other.
func checkSizes(t *testing.T, from, to *linktest.Namespace, addr netip.Addr, sizes ...int) {
	t.Helper()
	at := netip.AddrPortFrom(addr, 4000)
	in := udpListen(t, to, at)
	defer func() { _ = in.Close() }()
	widen(t, in, 4<<20)
	for i, size := range sizes {
		payload := bytes.Repeat([]byte{byte(i), 0x5a, 0xa5}, size/3)
		udpSend(t, from, at, string(payload))
		if err := in.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 1<<16)
		n, err := in.Read(got)
		if err != nil || !bytes.Equal(got[:n], payload) {
			t.Errorf("datagram of %d bytes from %s to %s: %d bytes arrive, %v", len(payload), from.Name, at, n, err)
		}
	}
}
