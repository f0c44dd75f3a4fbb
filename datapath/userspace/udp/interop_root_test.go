package udp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link/linktest"
	"github.com/ovlnet/ovl/encap"
)

const testVNI = 4242

var (
	plainMAC = encap.MAC{2, 0, 0, 0, 0, 9}
	nearMAC  = encap.MAC{2, 0, 0, 0, 0, 2}
)

// addVXLAN gives a host a vxlan device, whose endpoint is 10.0.0.9, and that knows
// 10.0.0.2 to be behind the peer.
func addVXLAN(t *testing.T, h *linktest.Host, peer netip.Addr) {
	add := []string{"ip", "link", "add", "vx", "address", plainMAC.String(), "type", "vxlan", "id", strconv.Itoa(testVNI),
		"dstport", "4789", "nolearning", "local", h.Addr.String()}
	mtu := "1450"
	if h.Addr.Is6() {
		add = append(add, "udp6zerocsumtx", "udp6zerocsumrx")
		mtu = "1430"
	} else {
		add = append(add, "noudpcsum")
	}
	run(t, h.Namespace, add...)
	run(t, h.Namespace, "ip", "link", "set", "vx", "mtu", mtu, "up")
	run(t, h.Namespace, "ip", "addr", "add", "10.0.0.9/24", "dev", "vx")
	run(t, h.Namespace, "ip", "neigh", "replace", "10.0.0.2", "lladdr", nearMAC.String(), "dev", "vx", "nud", "permanent")
	run(t, h.Namespace, "bridge", "fdb", "append", nearMAC.String(), "dev", "vx", "dst", peer.String())
}

// vxlanHeader is what precedes the inner frame.
func vxlanHeader() []byte {
	b := make([]byte, encap.HeaderLen)
	encap.Header{VNI: testVNI}.Put(b)
	return b
}

// innerUDP is a frame with a UDP datagram to port 7 of the plain endpoint.
func innerUDP(payload []byte) []byte {
	b := append(append([]byte{}, plainMAC[:]...), nearMAC[:]...)
	b = append(b, 8, 0)
	ip := []byte{0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 2, 10, 0, 0, 9}
	binary.BigEndian.PutUint16(ip[2:], uint16(28+len(payload)))
	sum := uint32(0)
	for i := 0; i < len(ip); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
	b = append(b, ip...)
	b = binary.BigEndian.AppendUint16(b, 5000)
	b = binary.BigEndian.AppendUint16(b, 7)
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(payload)))
	return append(append(b, 0, 0), payload...) // no checksum
}

// TestToVXLAN: a vxlan device of the kernel takes what is sent alone and what is
// sent as a train, over a veth pair, where the train comes uncut, and over a wire.
func TestToVXLAN(t *testing.T) {
	for name, o := range map[string]linktest.Options{"veth": {}, "wire": {Wire: true}} {
		t.Run(name, func(t *testing.T) { onUnderlays(t, o, testToVXLAN) })
	}
}

func testToVXLAN(t *testing.T, lab *linktest.Lab) {
	needTools(t, "bridge")
	addVXLAN(t, lab.Hosts[1], lab.Hosts[0].Addr)
	near := openAt(t, lab.Hosts[0])
	path, s := pathTo(t, near, lab.Hosts[1].Addr), near.NewSender()
	var c net.PacketConn
	if err := lab.Hosts[1].Do(func() (err error) {
		c, err = net.ListenPacket("udp4", "10.0.0.9:7")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	head := vxlanHeader()
	var want [][]byte
	for i := range 5 {
		want = append(want, fill(i, 100+i)) // longer each time: alone
	}
	for i := range 30 {
		want = append(want, fill(5+i, 1300)) // a train
	}
	want = append(want, fill(35, 70))
	for _, w := range want {
		s.Add(path, 1, 0, head, innerUDP(w))
	}
	if s.Pending() != 6 {
		t.Errorf("%d messages, want 6", s.Pending())
	}
	flush(t, s)
	buf := make([]byte, 2000)
	for i, w := range want {
		if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, _, err := c.ReadFrom(buf)
		if err != nil || !bytes.Equal(buf[:n], w) {
			t.Fatalf("datagram %d: %.10s of %d bytes, %v; want %.10s of %d", i, buf[:n], n, err, w, len(w))
		}
	}
	if path.noTrains.Load() {
		t.Error("no trains any more")
	}
}

// TestFromVXLAN: what a vxlan device sends arrives, also what it hands over uncut:
// then it is one datagram, of which the inner IP header tells the length.
func TestFromVXLAN(t *testing.T) {
	onUnderlays(t, linktest.Options{}, func(t *testing.T, lab *linktest.Lab) {
		needTools(t, "bridge")
		addVXLAN(t, lab.Hosts[1], lab.Hosts[0].Addr)
		near := openAt(t, lab.Hosts[0])
		var c net.Conn
		if err := lab.Hosts[1].Do(func() (err error) {
			c, err = (&net.Dialer{}).DialContext(context.Background(), "udp4", "10.0.0.2:7")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write(fill(1, 500)); err != nil {
			t.Fatal(err)
		}
		raw, err := c.(*net.UDPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var errSet error
		if err := raw.Control(func(fd uintptr) {
			errSet = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, 1000)
		}); err != nil || errSet != nil {
			t.Fatal(errors.Join(err, errSet))
		}
		if _, err := c.Write(fill(2, 5000)); err != nil { // five datagrams, cut where they must be
			t.Fatal(err)
		}
		late := time.AfterFunc(5*time.Second, func() { near.Close() })
		defer late.Stop()
		b, payload := NewArrivals(0), 0
		for payload < 5500 {
			if err := near.Receivers()[0].Receive(b); err != nil {
				t.Fatalf("%d of 5500 bytes: %v", payload, err)
			}
			for _, a := range b.All() {
				h, err := encap.ParseHeader(a.Data)
				if err != nil || h.VNI != testVNI || a.From != lab.Hosts[1].Addr {
					t.Fatalf("%v, %v from %s", h, err, a.From)
				}
				ip := a.Data[encap.HeaderLen+14:]
				if ip[0] != 0x45 {
					continue // of IPv6's housekeeping
				}
				inner := int(binary.BigEndian.Uint16(ip[2:]))
				t.Logf("%d bytes, Size %d, inner IP %d", len(a.Data), a.Size, inner)
				if inner != len(ip) {
					t.Errorf("inner packet of %d bytes in %d", inner, len(ip))
				}
				payload += inner - 28
			}
		}
	})
}
