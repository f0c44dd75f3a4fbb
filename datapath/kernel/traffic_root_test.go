package kernel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// trafficBed has two endpoints on one host and one on another.
type trafficBed struct {
	*bed
	a, near, far *bedEndpoint
}

func newTrafficBed(t *testing.T, o linktest.Options) *trafficBed {
	b := newBed(t, o, HookAuto)
	f := &trafficBed{bed: b}
	f.a = b.attach(0, testVNI, "10.0.0.2/24", "fd00::2/64")
	f.near = b.attach(0, testVNI, "10.0.0.3/24", "fd00::3/64")
	f.far = b.attach(1, testVNI, "10.0.0.4/24", "fd00::4/64")
	b.connect()
	return f
}

// peers are those that a talks to. To a neighbour on its host the underlay is
// all one.
func (f *trafficBed) peers(o linktest.Options) []*bedEndpoint {
	if o.IPv6 {
		return []*bedEndpoint{f.far}
	}
	return []*bedEndpoint{f.near, f.far}
}

// TestTraffic: what applications send arrives, whole and at speed.
func TestTraffic(t *testing.T) { onUnderlays(t, linktest.Options{Hosts: 2}, testTraffic) }

func testTraffic(t *testing.T, o linktest.Options) {
	needTool(t, "iperf3", "ping", "ethtool")
	f := newTrafficBed(t, o)
	for _, to := range f.peers(o) {
		t.Run(map[*bedEndpoint]string{f.near: "one host", f.far: "two hosts"}[to], func(t *testing.T) {
			checkTCP(t, f.a.Namespace, to.Namespace, to.addr().String())
			checkTCP(t, f.a.Namespace, to.Namespace, to.port.Addrs[1].String())
			checkUDP(t, f.a.Namespace, to.Namespace, to.addr().String())
			checkPing(t, f.a.Namespace, to.addr().String(), f.fullPing(0)...)
			tooLong := append([]string{"ping", "-n", "-c", "1", "-W", "1", to.addr().String()}, f.fullPing(1)...)
			if out, err := tryRun(f.a.Namespace, tooLong...); err == nil {
				t.Errorf("a ping longer than the MTU passes:\n%s", out)
			}
			checkPing(t, f.a.Namespace, to.addr().String(), "-s", "4000") // in fragments
			checkPing(t, f.a.Namespace, to.port.Addrs[1].String(), "-s", "4000")
			checkSegmentedUDP(t, f.a.Namespace, to.Namespace, to.addr().String())
			checkSegmentedUDP(t, f.a.Namespace, to.Namespace, to.port.Addrs[1].String())
		})
	}
	t.Run("without segmentation offload", func(t *testing.T) {
		if err := f.lab.SetSegmentationOffload(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		checkTCP(t, f.a.Namespace, f.far.Namespace, f.far.addr().String())
		checkTCP(t, f.a.Namespace, f.far.Namespace, f.far.port.Addrs[1].String())
		checkUDP(t, f.a.Namespace, f.far.Namespace, f.far.addr().String())
		checkSegmentedUDP(t, f.a.Namespace, f.far.Namespace, f.far.addr().String())
		f.checkGRO(t)
	})
}

// checkGRO wants what crosses the underlay in segments to be put together
// before anyone at the other host looks at it, whatever is inside what.
func (f *trafficBed) checkGRO(t *testing.T) {
	t.Helper()
	packets := capture(t, f.far.host.Namespace, linktest.UnderlayDevice)
	for _, a := range f.far.port.Addrs {
		iperf(t, f.a.Namespace, f.far.Namespace, a.String(), "-n", "10M")
	}
	n, sum := 0, 0
	for _, p := range packets() {
		if p.from == f.a.host.Addr.String() {
			n, sum = n+1, sum+p.length
		}
	}
	if n == 0 || sum/n < 3*f.mtu {
		t.Errorf("the host receives %d packets of %d bytes in all, want them merged", n, sum)
	}
}

// checkSegmentedUDP sends many datagrams by one call, as QUIC does: the kernel
// cuts them where the packet leaves it.
func checkSegmentedUDP(t *testing.T, from, to *linktest.Namespace, addr string) {
	t.Helper()
	at := netip.AddrPortFrom(netip.MustParseAddr(addr), 4433)
	in := udpListen(t, to, at)
	defer func() { _ = in.Close() }()
	checkSegments(t, udpDial(t, from, at), in)
}

// checkSegments is checkSegmentedUDP for sockets that are open: each of in
// gets every datagram once.
func checkSegments(t *testing.T, out *net.UDPConn, in ...*net.UDPConn) {
	t.Helper()
	const size, segments, rounds = 1300, 40, 10
	raw, err := out.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, size)
	}); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatalf("UDP_SEGMENT: %v", err)
	}
	for _, c := range in {
		widen(t, c, 4<<20)
	}

	payload := make([]byte, size*segments)
	got := make([]byte, 2*size)
	for round := range rounds {
		for i := range payload {
			payload[i] = byte(i/size) ^ byte(i) ^ byte(round)
		}
		if _, err := out.Write(payload); err != nil {
			t.Fatalf("send %d segments: %v", segments, err)
		}
		for _, c := range in {
			for i := range segments {
				if err := c.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
					t.Fatal(err)
				}
				n, err := c.Read(got)
				if err != nil {
					t.Fatalf("round %d, datagram %d of %d: %v", round, i, segments, err)
				}
				if !bytes.Equal(got[:n], payload[i*size:(i+1)*size]) {
					t.Fatalf("round %d, datagram %d arrives changed, with %d bytes", round, i, n)
				}
			}
		}
	}
}

// TestAnyFrame: a network carries whatever its endpoints say to each other,
// unchanged.
func TestAnyFrame(t *testing.T) { onUnderlays(t, linktest.Options{Hosts: 2}, testAnyFrame) }

func testAnyFrame(t *testing.T, o linktest.Options) {
	f := newTrafficBed(t, o)
	a := dt.Party{MAC: f.a.port.MAC, Addr: f.a.addr()}
	for _, to := range f.peers(o) {
		b := dt.Party{MAC: to.port.MAC, Addr: to.addr()}
		heard := listenAll(t, to.Namespace, "eth0")
		send := sender(t, f.a.Namespace, "eth0")
		long := strings.Repeat("0123456789", 200)
		elsewhere := netip.MustParseAddr("172.16.0.1")
		for _, c := range []struct {
			name  string
			frame []byte
		}{
			{"not IP", dt.Ethernet(a, b, 0x88b5, "a frame of an experimental type")},
			{"not IP, as long as may be", dt.Ethernet(a, b, 0x88b5, long[:f.mtu])},
			{"not IP, short", dt.Ethernet(a, b, 0x88b5, "x")},
			{"LLC", dt.Ethernet(a, b, 20, "\xfe\xfe\x03 an 802.2 frame")},
			{"IPv4", dt.UDP4(a, b, "a datagram")},
			{"IPv4 of odd length", dt.UDP4(a, b, "odd")},
			{"IPv4 with ECN and DSCP", withTOS(dt.UDP4(a, b, "a datagram"), 0xb9)},
			{"802.1Q", tagged(7, dt.Ethernet(a, b, 0x88b5, "a tagged frame of forty bytes and a few more"))},
			{"802.1Q with IPv4", tagged(7, dt.UDP4(a, b, "a tagged datagram, of the network's own addresses"))},
			{"802.1Q with IPv4 of another subnet", tagged(7, dt.UDP4(
				dt.Party{MAC: a.MAC, Addr: elsewhere}, dt.Party{MAC: b.MAC, Addr: elsewhere.Next()}, "a tagged datagram of the VLAN's own addresses"))},
			{"802.1Q with ARP", tagged(7, dt.ARPReply(dt.Party{MAC: a.MAC, Addr: elsewhere}, b))},
			{"802.1Q, as long as may be", tagged(4094, dt.Ethernet(a, b, 0x88b5, long[:f.mtu-4]))},
		} {
			send(c.frame)
			got := slices.DeleteFunc(heard(), func(frame []byte) bool { return ownStack(frame) })
			if len(got) != 1 || !bytes.Equal(got[0], c.frame) {
				t.Errorf("%s to %s: heard %s\nwant\n%x", c.name, to.Name, hexLines(got), c.frame)
			}
		}
		// A priority tag is not the network's to carry.
		plain := dt.UDP4(a, b, "a datagram of a priority")
		send(tagged(0xa000, plain))
		if got := heard(); !holds(got, plain) {
			t.Errorf("802.1Q priority to %s: heard %s\nwant it without the tag\n%x", to.Name, hexLines(got), plain)
		}
	}
}

// tagged puts an 802.1Q header into a frame.
func tagged(vlan uint16, frame []byte) []byte {
	const addresses = 12
	tag := binary.BigEndian.AppendUint16([]byte{0x81, 0x00}, vlan)
	return slices.Concat(frame[:addresses], tag, frame[addresses:])
}

func hexLines(frames [][]byte) string {
	s := strconv.Itoa(len(frames)) + " frames"
	for _, f := range frames {
		s += fmt.Sprintf("\n%x", f)
	}
	return s
}
