package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/datapath/link/linktest"
	"github.com/ovlnet/ovl/encap"
)

// TestPlainSocket says what a peer has to cope with that does the tunnel in
// userspace, where the underlay is a veth pair: whole packets that are still to
// be cut, with checksums that are still to be made. A vxlan device sends the same
// as our programs.
func TestPlainSocket(t *testing.T) {
	onUnderlays(t, linktest.Options{}, func(t *testing.T, o linktest.Options) {
		for _, kind := range []string{"programs", "vxlan device", "vxlan device with checksum"} {
			t.Run(kind, func(t *testing.T) { newPlainBed(t, o, kind).check(t) })
		}
	})
}

// plainBed has somebody on the first host who sends to two addresses that a
// socket on the second host stands for.
type plainBed struct {
	from        *linktest.Namespace
	device      string
	host        *bedHost // of the socket
	me, you     dt.Party
	me6, you6   dt.Party
	ipv6        bool // underlay
	sizeOfInner int  // of a datagram's payload
}

func newPlainBed(t *testing.T, o linktest.Options, kind string) *plainBed {
	t.Helper()
	b := newBed(t, o, HookAuto)
	mac := encap.MAC{2, 0, 0, 0, 0, 9}
	p := &plainBed{
		host: b.hosts[1], ipv6: o.IPv6, sizeOfInner: 1300,
		me:  dt.Party{Addr: netip.MustParseAddr("10.0.0.2")},
		me6: dt.Party{Addr: netip.MustParseAddr("fd00::2")},
		you: dt.Party{MAC: mac, Addr: netip.MustParseAddr("10.0.0.9")}, you6: dt.Party{MAC: mac, Addr: netip.MustParseAddr("fd00::9")},
	}
	p.host.leave(t)
	b.hosts = b.hosts[:1]
	h := b.hosts[0]
	if kind == "programs" {
		a := b.attach(0, testVNI, p.me.Addr.String()+"/24", p.me6.Addr.String()+"/64")
		b.connect()
		n := h.network(testVNI, b.mtu)
		n.Remotes = append(n.Remotes, datapath.Remote{MAC: mac, Addrs: []netip.Addr{p.you.Addr, p.you6.Addr}, VTEP: p.host.Addr})
		h.apply(t)
		p.from, p.device = a.Namespace, "eth0"
	} else {
		h.leave(t)
		b.hosts = nil
		p.from, p.device = h.Namespace, "vx"
		add := []string{
			"ip", "link", "add", "vx", "type", "vxlan", "id", strconv.Itoa(testVNI), "dstport", "4789", "nolearning",
			"local", h.Addr.String(), "remote", p.host.Addr.String(), "udp6zerocsumrx",
		}
		if kind == "vxlan device" {
			add = append(add, "noudpcsum", "udp6zerocsumtx")
		} else {
			add = append(add, "udpcsum", "noudp6zerocsumtx")
		}
		run(t, p.from, add...)
		run(t, p.from, "ip", "link", "set", "vx", "mtu", strconv.Itoa(b.mtu), "up")
		run(t, p.from, "ip", "addr", "add", p.me.Addr.String()+"/24", "dev", "vx")
		run(t, p.from, "ip", "addr", "add", p.me6.Addr.String()+"/64", "dev", "vx", "nodad")
	}
	p.me.MAC = macOf(t, p.from, p.device)
	p.me6.MAC = p.me.MAC
	for _, to := range []dt.Party{p.you, p.you6} {
		run(t, p.from, "ip", "neigh", "replace", to.Addr.String(), "lladdr", mac.String(), "dev", p.device, "nud", "permanent")
	}
	return p
}

// leave takes the datapath off a host for good.
func (h *bedHost) leave(t *testing.T) {
	t.Helper()
	h.close(t)
	if err := h.Do(func() error { return Remove(h.opts.Dir) }); err != nil {
		t.Fatal(err)
	}
}

func (p *plainBed) check(t *testing.T) {
	for _, gro := range []bool{true, false} {
		in := p.listen(t, gro)
		for _, pair := range [][2]dt.Party{{p.me, p.you}, {p.me6, p.you6}} {
			from, to := pair[0], pair[1]
			name := "UDP to " + to.Addr.String() + ", GRO " + strconv.FormatBool(gro)
			out := udpDial(t, p.from, netip.AddrPortFrom(to.Addr, 9))
			l3 := 20
			if to.Addr.Is6() {
				l3 = 40
			}
			write := func(n int) {
				if _, err := out.Write(make([]byte, n)); err != nil {
					t.Fatal(err)
				}
			}

			write(100)
			in.want(t, name, arrival{length: l3 + 8 + 100, unfinished: true})

			setUDPOption(t, out, unix.UDP_SEGMENT, p.sizeOfInner)
			write(2*p.sizeOfInner + 77)
			if gro {
				// The size is that of the inner datagrams: there is one VXLAN
				// header.
				in.want(t, name+", segments", arrival{length: l3 + 8 + 2*p.sizeOfInner + 77, size: p.sizeOfInner, unfinished: true})
			} else {
				one := arrival{length: l3 + 8 + p.sizeOfInner}
				in.want(t, name+", segments", one, one, arrival{length: l3 + 8 + 77})
			}

			// Nothing tells the size of the segments.
			const payload = 60000
			p.sendTCP(t, from, to, payload)
			in.want(t, "TCP to "+to.Addr.String(), arrival{length: l3 + 20 + payload, unfinished: true})
		}
		_ = in.conn.Close()
	}
}

// arrival is a message that a socket got: a VXLAN packet.
type arrival struct {
	length     int  // of the inner IP packet, which ends with the message
	size       int  // what UDP_GRO says, 0 if nothing
	unfinished bool // the inner checksum is that of the pseudo-header only, otherwise right
}

// plainSocket takes what is sent to a VTEP.
type plainSocket struct{ conn *net.UDPConn }

func (p *plainBed) listen(t *testing.T, gro bool) plainSocket {
	t.Helper()
	c := udpListen(t, p.host.Namespace, netip.AddrPortFrom(p.host.Addr, 4789))
	widen(t, c, 4<<20)
	if gro {
		setUDPOption(t, c, unix.UDP_GRO, 1)
	}
	if p.ipv6 {
		setUDPOption(t, c, unix.UDP_NO_CHECK6_RX, 1)
	}
	return plainSocket{c}
}

// want reads as many messages, and what has come after them. What stacks say to
// groups is left out.
func (s plainSocket) want(t *testing.T, what string, want ...arrival) {
	t.Helper()
	patience := time.Second
	var got []arrival
	for {
		a, group, err := s.read(t, patience)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if a == (arrival{}) {
			break
		}
		if group {
			continue
		}
		if got = append(got, a); len(got) >= len(want) {
			patience = 10 * time.Millisecond
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: got %+v, want %+v", what, got, want)
		return
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%s: message %d of %d is %+v, want %+v", what, i, len(want), got[i], want[i])
		}
	}
}

// read returns the zero arrival when nothing comes.
func (s plainSocket) read(t *testing.T, patience time.Duration) (a arrival, group bool, err error) {
	t.Helper()
	if err := s.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return a, false, err
	}
	buf, oob := make([]byte, 1<<16), make([]byte, 64)
	n, oobn, _, _, err := s.conn.ReadMsgUDPAddrPort(buf, oob)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return arrival{}, false, nil
	}
	if err != nil {
		return a, false, err
	}
	control, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return a, false, err
	}
	for _, m := range control {
		if m.Header.Level == unix.SOL_UDP && m.Header.Type == unix.UDP_GRO {
			a.size = int(binary.NativeEndian.Uint32(m.Data))
		}
	}
	frame := buf[vxlanLen:n]
	if frame[0]&1 == 1 {
		return arrival{size: n}, true, nil
	}
	a.length, a.unfinished, err = checksumOf(frame)
	return a, false, err
}

// checksumOf looks at the TCP or UDP checksum of a frame that ends with its IP
// packet, and returns the length of that.
func checksumOf(frame []byte) (length int, unfinished bool, err error) {
	packet := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.NoCopy)
	network, transport := packet.NetworkLayer(), packet.TransportLayer()
	if network == nil || transport == nil {
		return 0, false, fmt.Errorf("got %v", packet)
	}
	length = len(network.LayerContents()) + len(network.LayerPayload())
	segment := network.LayerPayload()
	if length != len(frame)-14 {
		return 0, false, fmt.Errorf("got an IP packet of %d bytes in a frame of %d", length, len(frame))
	}
	protocol, field := layers.IPProtocolTCP, 16
	if transport.LayerType() == layers.LayerTypeUDP {
		protocol, field = layers.IPProtocolUDP, 6
	}
	flow := network.NetworkFlow()
	pseudo := pseudoHeader(flow.Src().Raw(), flow.Dst().Raw(), protocol, len(segment))
	odd := make([]byte, len(segment)%2)
	if onesSum(slices.Concat(pseudo, segment, odd)) == 0xffff {
		return length, false, nil
	}
	if got := binary.BigEndian.Uint16(segment[field:]); got != onesSum(pseudo) {
		return 0, false, fmt.Errorf("checksum %#04x of %v", got, packet)
	}
	return length, true, nil
}

func pseudoHeader(src, dst []byte, protocol layers.IPProtocol, length int) []byte {
	b := append(bytes.Clone(src), dst...)
	b = binary.BigEndian.AppendUint32(b, uint32(length))
	return append(b, 0, 0, 0, byte(protocol))
}

// sendTCP sends a segment with so much payload that it is to be cut, as TCP
// hands it to a device that segments: no connection is needed for it.
func (p *plainBed) sendTCP(t *testing.T, from, to dt.Party, payload int) {
	t.Helper()
	const needsChecksum, tcp4, tcp6, tcpLen = 1, 1, 4, 20
	frame := dt.TCP(from, to, string(make([]byte, payload)))
	l3, gsoType := 14+20, byte(tcp4)
	if to.Addr.Is6() {
		l3, gsoType = 14+40, tcp6
	}
	pseudo := pseudoHeader(from.Addr.AsSlice(), to.Addr.AsSlice(), layers.IPProtocolTCP, len(frame)-l3)
	binary.BigEndian.PutUint16(frame[l3+16:], onesSum(pseudo))

	// struct virtio_net_hdr of linux/virtio_net.h.
	h := []byte{needsChecksum, gsoType}
	for _, v := range []int{l3 + tcpLen, p.sizeOfInner, l3, 16} {
		h = binary.NativeEndian.AppendUint16(h, uint16(v))
	}
	fd := packetSocket(t, p.from, p.device, 0)
	err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1)
	if err == nil {
		_, err = unix.Write(fd, append(h, frame...))
	}
	if err != nil {
		t.Fatalf("send a TCP segment of %d bytes: %v", payload, err)
	}
}
