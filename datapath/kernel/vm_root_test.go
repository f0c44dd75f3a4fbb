package kernel

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/datapath/link/linktest"
	"github.com/ovlnet/ovl/encap"
)

// vmKind is a virtual machine by its network card.
type vmKind struct {
	name string
	// header: each frame has a virtio header in front, by which either side
	// leaves checksums and segmentation to the other.
	header bool
	// takes are the TUN_F_… flags of what may be left to the machine. It
	// leaves all it can to the host.
	takes int
}

const (
	takesTCP = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6
	takesUDP = unix.TUN_F_USO4 | tunUSO6 // Linux 6.2
	tunUSO6  = 0x40                      // TUN_F_USO6 of linux/if_tun.h
)

var vmKinds = []vmKind{
	{name: "no header"},
	{name: "takes nothing", header: true},
	{name: "takes checksums", header: true, takes: unix.TUN_F_CSUM},
	{name: "takes TCP", header: true, takes: takesTCP},
	{name: "takes TCP and UDP", header: true, takes: takesTCP | takesUDP},
}

func (k vmKind) flags() uint16 {
	if k.header {
		return unix.IFF_VNET_HDR
	}
	return 0
}

// attachVM makes a TAP, a port of it, and a network stack in a namespace that
// stands for the machine. Call connect when all are there.
func (b *bed) attachVM(t *testing.T, host int, vni encap.VNI, k vmKind, addrs ...string) *bedEndpoint {
	t.Helper()
	first := netip.MustParsePrefix(addrs[0])
	tap := b.attachTAPFlags(t, host, vni, first.Addr().String(), k.flags())
	if k.header {
		offload(t, tap, k.takes)
	}
	n := b.hosts[host].network(vni, b.mtu)
	port := &n.Ports[len(n.Ports)-1]
	for _, a := range addrs[1:] {
		port.Addrs = append(port.Addrs, netip.MustParsePrefix(a).Addr())
	}
	vm := &bedEndpoint{host: b.hosts[host], vni: vni, port: *port}
	vm.Namespace = tap.inhabit(t, b, first.Bits(), k.flags())
	run(t, vm.Namespace, "sysctl", "-q", "net.ipv6.conf.eth0.disable_ipv6=0")
	for _, a := range addrs[1:] {
		run(t, vm.Namespace, "ip", "addr", "add", a, "dev", "eth0", "nodad")
	}
	return vm
}

// offload tells the TAP what its owner takes: all of it, if the kernel knows
// it all.
func offload(t *testing.T, e *tapEndpoint, takes int) {
	t.Helper()
	raw, err := e.file.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var setErr error
	err = raw.Control(func(fd uintptr) {
		setErr = unix.IoctlSetInt(int(fd), unix.TUNSETOFFLOAD, takes)
		if setErr == unix.EINVAL { // before Linux 6.2
			setErr = unix.IoctlSetInt(int(fd), unix.TUNSETOFFLOAD, takes&^takesUDP)
		}
	})
	if err != nil || setErr != nil {
		t.Fatalf("TUNSETOFFLOAD %#x: %v, %v", takes, err, setErr)
	}
}

// TestVM: a virtual machine leaves to the host what its card can, and is left
// what it takes, whoever is at the other end.
func TestVM(t *testing.T) { onUnderlays(t, linktest.Options{}, testVM) }

func testVM(t *testing.T, o linktest.Options) {
	needTool(t, "ping")
	kinds := vmKinds
	if o.IPv6 {
		kinds = kinds[len(kinds)-1:]
	}
	b := newBed(t, o, HookAuto)
	near := b.attach(0, testVNI, "10.0.0.2/24", "fd00::2/64")
	far := b.attach(1, testVNI, "10.0.0.3/24", "fd00::3/64")
	var vms []*bedEndpoint
	for i, k := range kinds {
		n := string(rune('4' + i))
		vms = append(vms, b.attachVM(t, 0, testVNI, k, "10.0.0."+n+"/24", "fd00::"+n+"/64"))
	}
	b.connect()
	for i, k := range kinds {
		vm := vms[i]
		t.Run(k.name, func(t *testing.T) {
			for _, peer := range []*bedEndpoint{near, far} {
				checkPing(t, peer.Namespace, vm.addr().String(), b.fullPing(0)...)
				exchange(t, vm, peer, 4<<20)
				checkGivenWhole(t, b, k, vm, peer)
			}
		})
	}
	t.Run("packets of their own", func(t *testing.T) {
		addr := vms[0].addr()
		if o.IPv6 {
			addr = vms[0].port.Addrs[1] // before Linux 6.3 only what the underlay has, too
		}
		meet(t, far.Namespace, addr)
		slow := b.slow(t)
		checkSizes(t, far.Namespace, vms[0].Namespace, addr, 3, 60, 600, 1300)
		if n := b.slow(t) - slow; n > 0 {
			t.Errorf("%d of them took the slow path", n)
		}
	})
	t.Run("one to another", func(t *testing.T) { exchange(t, vms[0], vms[len(vms)-1], 8<<20) })
}

// checkGivenWhole wants a machine that takes large packets of TCP to get them,
// and one that does not, segments.
func checkGivenWhole(t *testing.T, b *bed, k vmKind, vm, peer *bedEndpoint) {
	t.Helper()
	for _, addr := range vm.port.Addrs {
		before := given(t, vm)
		checkTransfer(t, peer.Namespace, vm.Namespace, addr, 8<<20)
		after := given(t, vm)
		mean := int((after.Bytes - before.Bytes) / (after.Packets - before.Packets))
		if whole := mean > 5*b.mtu; whole != (k.takes&unix.TUN_F_TSO4 != 0) {
			t.Errorf("TCP from %s to %s: the machine is given %d bytes at a time", peer.Name, addr, mean)
		}
	}
}

// given counts what a TAP has handed to its reader.
func given(t *testing.T, vm *bedEndpoint) (c datapath.Counter) {
	t.Helper()
	err := vm.host.Do(func() error {
		d, err := netlink.LinkByName(vm.port.Device)
		if err == nil {
			c = datapath.Counter{Packets: d.Attrs().Statistics.TxPackets, Bytes: d.Attrs().Statistics.TxBytes}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// exchange sends streams and segmented datagrams both ways, over each of the
// families that both have.
func exchange(t *testing.T, a, b *bedEndpoint, size int64) {
	t.Helper()
	for _, to := range b.port.Addrs {
		i := slices.IndexFunc(a.port.Addrs, func(back netip.Addr) bool { return back.Is4() == to.Is4() })
		if i < 0 {
			continue
		}
		back := a.port.Addrs[i]
		meet(t, a.Namespace, to)
		checkTransfer(t, a.Namespace, b.Namespace, to, size)
		checkTransfer(t, b.Namespace, a.Namespace, back, size)
		checkDatagrams(t, a.Namespace, b.Namespace, to)
		checkDatagrams(t, b.Namespace, a.Namespace, back)
	}
}

// TestOldSegments: VIRTIO_NET_HDR_GSO_UDP is a datagram that is to be cut into
// IP fragments. Linux no longer offers it, and still takes it from machines
// that were started when it did.
func TestOldSegments(t *testing.T) {
	b := newBed(t, linktest.Options{Hosts: 2}, HookAuto)
	tap := b.attachTAPFlags(t, 0, testVNI, "10.0.0.2", unix.IFF_VNET_HDR)
	near := b.attach(0, testVNI, "10.0.0.3/24")
	far := b.attach(1, testVNI, "10.0.0.4/24")
	b.connect()
	payload := string(bytes.Repeat([]byte("0123456789abcdef"), 250))
	for _, to := range []*bedEndpoint{near, far} {
		in := udpListen(t, to.Namespace, netip.AddrPortFrom(to.addr(), 2222))
		frame := dt.UDP4(dt.Party{MAC: tap.port.MAC, Addr: tap.addr()}, dt.Party{MAC: to.port.MAC, Addr: to.addr()}, payload)
		tap.send(t, append(virtioHeader(frame, virtioGSOUDP, 1416), frame...))
		if err := in.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 2*len(payload))
		if n, err := in.Read(got); err != nil || string(got[:n]) != payload {
			t.Errorf("%s hears %d bytes, %v; want %d", to.Name, n, err, len(payload))
		}
	}
	if c := b.hosts[0].stats(t).Drops[datapath.DropTooBig]; c.Packets > 0 {
		t.Errorf("too big: %+v", c)
	}
}

const virtioGSOUDP = 3 // VIRTIO_NET_HDR_GSO_UDP of linux/virtio_net.h

// virtioHeader is struct virtio_net_hdr for a frame of UDP over IPv4 that the
// kernel is to cut, and whose checksum it is to fill in.
func virtioHeader(frame []byte, gso byte, size uint16) []byte {
	const needsChecksum, udp, field = 1, 14 + 20, 6
	binary.BigEndian.PutUint16(frame[udp+field:], pseudoHeaderSum(frame))
	h := []byte{needsChecksum, gso}
	h = binary.NativeEndian.AppendUint16(h, udp+8) // length of all headers
	h = binary.NativeEndian.AppendUint16(h, size)
	h = binary.NativeEndian.AppendUint16(h, udp)
	return binary.NativeEndian.AppendUint16(h, field)
}

// pseudoHeaderSum is what the checksum field holds that a device completes.
func pseudoHeaderSum(frame []byte) uint16 {
	ip := frame[14:34]
	sum := uint32(unix.IPPROTO_UDP) + uint32(len(frame)-34)
	for i := 12; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	return uint16(sum&0xffff + sum>>16)
}
