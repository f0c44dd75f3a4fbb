package kernel

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/datapath/link/linktest"
	"github.com/ovlnet/ovl/encap"
)

// TestTrains: a host that does the tunnel in userspace hands many packets to its
// kernel as one (UDP GSO), and over a veth pair they arrive uncut. Each is taken
// as if it had come alone.
func TestTrains(t *testing.T) { onUnderlays(t, linktest.Options{Hosts: 3}, testTrains) }

func testTrains(t *testing.T, o linktest.Options) {
	f := newForgedBed(t, o)
	a, b := f.partyA, f.partyB
	// What it says of datagrams that nobody waits for shall not begin with ARP.
	run(t, f.a.Namespace, "ip", "neigh", "replace", b.Addr.String(), "lladdr", b.MAC.String(), "dev", "eth0", "nud", "permanent")
	a6 := dt.Party{MAC: a.MAC, Addr: f.a.port.Addrs[1]}
	b6 := dt.Party{MAC: b.MAC, Addr: f.b.port.Addrs[1]}
	nobody := dt.Party{MAC: encap.MAC{2, 9, 9, 9, 9, 9}, Addr: netip.MustParseAddr("10.0.0.9")}
	text := func(n int) string { return strings.Repeat("carriage ", 200)[:n] }
	wagon := func(frame []byte) []byte { return inTunnel(testVNI, frame) }
	reserved := func(frame []byte) []byte { return dt.Patch(wagon(frame), 0, 0x88) }

	many := make([][]byte, 40)
	for i := range many {
		many[i] = wagon(dt.UDP4(b, a, string(rune('A'+i))+text(1200)))
	}
	// All of one length, as they have to be.
	const length = 200
	udp4, udp6 := dt.UDP4(b, a, text(length-42)), dt.UDP6(b6, a6, text(length-62))
	tcp4, tcp6 := dt.TCP(b, a, text(length-54)), dt.TCP(b6, a6, text(length-74))
	arp := padded(dt.ARPReply(b, a), length)
	short := dt.UDP4(b, a, "the last one may be shorter")
	forged := dt.UDP4(nobody, a, text(length-42))
	elsewhere := inTunnel(testVNI+1, udp4)
	stray := dt.UDP4(b, nobody, text(length-42))
	ect := withTOS(dt.UDP4(b, a, text(length-42)), 2)
	marked := withTOS(dt.UDP4(b, a, text(length-42)), 3)

	cases := []struct {
		name    string
		from    *bedHost // the host of b, if nil
		ecn     int
		train   [][]byte
		want    [][]byte // frames; nil for all
		dropped map[datapath.DropReason]int
	}{
		{name: "two", train: many[:2]},
		{name: "forty", train: many},
		{name: "the last shorter", train: [][]byte{wagon(udp4), wagon(udp4), wagon(short)}},
		{name: "all kinds", train: [][]byte{wagon(udp4), wagon(udp6), wagon(tcp4), wagon(arp), wagon(tcp6)}},
		{name: "IPv6 first", train: [][]byte{wagon(udp6), wagon(arp), wagon(tcp6)}},
		{name: "ARP first", train: [][]byte{wagon(arp), wagon(tcp4), wagon(udp6)}},
		{name: "padding first", train: [][]byte{wagon(padded(short, length)), wagon(tcp4)}},
		{
			name: "some not to be taken", train: [][]byte{wagon(forged), wagon(udp4), elsewhere, wagon(stray), wagon(tcp6), wagon(forged)},
			want:    [][]byte{udp4, tcp6},
			dropped: map[datapath.DropReason]int{datapath.DropInnerSource: 2, datapath.DropUnknownVNI: 1, datapath.DropNotLocal: 1},
		},
		{
			name: "not to be taken and not IP", train: [][]byte{wagon(padded(dt.ARPReply(nobody, a), length)), wagon(udp4)},
			want: [][]byte{udp4}, dropped: map[datapath.DropReason]int{datapath.DropInnerSource: 1},
		},
		{
			name: "from a stranger", from: f.hosts[2], train: [][]byte{wagon(udp4), wagon(tcp4), wagon(short)},
			want: [][]byte{}, dropped: map[datapath.DropReason]int{datapath.DropUnknownVTEP: 3},
		},
		{
			name: "reserved flag", train: [][]byte{reserved(udp4), reserved(tcp4), reserved(short)},
			want: [][]byte{}, dropped: map[datapath.DropReason]int{datapath.DropVXLANFlags: 3},
		},
		{name: "congestion", ecn: 3, train: [][]byte{wagon(ect), wagon(ect)}, want: [][]byte{marked, marked}},
		{
			name: "congestion without ECN", ecn: 3, train: [][]byte{wagon(udp4), wagon(tcp4), wagon(short)},
			want: [][]byte{}, dropped: map[datapath.DropReason]int{datapath.DropECN: 3},
		},
	}
	for _, n := range nics[:2] {
		(&trafficBed{bed: f.bed}).settle(t, n)
		for _, c := range cases {
			t.Run(n.name+", "+c.name, func(t *testing.T) {
				if c.from == nil {
					c.from = f.b.host
				}
				if c.want == nil {
					for _, w := range c.train {
						c.want = append(c.want, w[vxlanLen:])
					}
				}
				out := udpDialFrom(t, c.from, netip.AddrPortFrom(f.hosts[0].Addr, 4789), c.ecn)
				heard := listenAll(t, f.a.Namespace, "eth0")
				before := f.hosts[0].stats(t)
				sendTrain(t, out, c.train)
				got := heard()
				got = slices.DeleteFunc(got, func(frame []byte) bool { return !bytes.HasPrefix(frame[6:], b.MAC[:]) })
				if !slices.EqualFunc(got, c.want, bytes.Equal) {
					t.Errorf("heard %s\nwant %s", hexLines(got), hexLines(c.want))
				}
				f.checkTaken(t, before, c.train, c.want, c.dropped)
			})
		}
	}
}

// vxlanLen is the length of a VXLAN header.
const vxlanLen = 8

// inTunnel puts a VXLAN header before a frame: a datagram of the tunnel.
func inTunnel(vni encap.VNI, frame []byte) []byte {
	return append([]byte{8, 0, 0, 0, byte(vni >> 16), byte(vni >> 8), byte(vni), 0}, frame...)
}

// padded makes a frame as long as that.
func padded(frame []byte, length int) []byte {
	return append(frame[:len(frame):len(frame)], make([]byte, length-len(frame))...)
}

// udpDialFrom opens a socket on a host's VTEP, whose packets have these ECN bits.
func udpDialFrom(t *testing.T, h *bedHost, to netip.AddrPort, ecn int) *net.UDPConn {
	t.Helper()
	c := udpDial(t, h.Namespace, to)
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	level, option := unix.SOL_IP, unix.IP_TOS
	if to.Addr().Is6() {
		level, option = unix.SOL_IPV6, unix.IPV6_TCLASS
	}
	var optErr error
	err = raw.Control(func(fd uintptr) { optErr = unix.SetsockoptInt(int(fd), level, option, ecn) })
	if err := errors.Join(err, optErr); err != nil {
		t.Fatalf("ECN of a socket: %v", err)
	}
	return c
}

// sendTrain hands datagrams over by one call, all as long as the first but the
// last, which may be shorter.
func sendTrain(t *testing.T, c *net.UDPConn, train [][]byte) {
	t.Helper()
	setUDPOption(t, c, unix.UDP_SEGMENT, len(train[0]))
	_, err := c.Write(bytes.Join(train, nil))
	if errors.Is(err, unix.EIO) {
		// Before Linux 6.11, see checkDatagramsTo.
		setUDPOption(t, c, unix.UDP_SEGMENT, 0)
		err = writeAll(c, train)
	}
	if err != nil {
		t.Fatalf("send %d datagrams as one: %v", len(train), err)
	}
}

// checkTaken wants host A to have counted every frame of a train once.
func (f *forgedBed) checkTaken(t *testing.T, before datapath.Stats, train, want [][]byte, dropped map[datapath.DropReason]int) {
	t.Helper()
	after := f.hosts[0].stats(t)
	if err := dt.CheckBalance(after); err != nil {
		t.Error(err)
	}
	all := datapath.Counter{Packets: uint64(len(train))}
	for _, w := range train {
		all.Bytes += uint64(len(w) - vxlanLen)
	}
	taken := datapath.Counter{Packets: uint64(len(want))}
	for _, w := range want {
		taken.Bytes += uint64(len(w))
	}
	less := func(a, b datapath.Counter) datapath.Counter {
		return datapath.Counter{Packets: a.Packets - b.Packets, Bytes: a.Bytes - b.Bytes}
	}
	if got := less(after.DroppedIn(), before.DroppedIn()); got != less(all, taken) {
		t.Errorf("counted %+v as dropped, want %+v", got, less(all, taken))
	}
	from := f.hosts[1].Addr
	if got := less(after.Peers[from].Received, before.Peers[from].Received); got != taken {
		t.Errorf("counted %+v from the peer, want %+v", got, taken)
	}
	device := f.a.port.Device
	if got := less(after.Ports[device].Received, before.Ports[device].Received); got != taken {
		t.Errorf("counted %+v at the port, want %+v", got, taken)
	}
	for _, reason := range datapath.DropReasons() {
		if got := less(after.Drops[reason], before.Drops[reason]); got.Packets != uint64(dropped[reason]) {
			t.Errorf("counted %+v as %s, want %d", got, reason, dropped[reason])
		}
	}
}

// TestTrainOrSegments: a packet that is to be cut outside, and one that is to be
// cut inside, count as what they will be, also where they are dropped whole. The
// kernel tells a program the size only, not of what.
func TestTrainOrSegments(t *testing.T) {
	onUnderlays(t, linktest.Options{Hosts: 3}, testTrainOrSegments)
}

func testTrainOrSegments(t *testing.T, o linktest.Options) {
	f := newForgedBed(t, o)
	r := newTested(t, f.hosts[0], f.hosts[0].dp.objs.FromUnderlay, linktest.UnderlayDevice)
	a, b := f.partyA, f.partyB
	a6 := dt.Party{MAC: a.MAC, Addr: f.a.port.Addrs[1]}
	b6 := dt.Party{MAC: b.MAC, Addr: f.b.port.Addrs[1]}
	const size, n = 1000, 3
	text := strings.Repeat("x", n*size)
	for _, c := range []struct {
		name    string
		inner   []byte
		size    int
		headers int // of each packet inside
	}{
		{"TCP over IPv4", dt.TCP(b, a, text), size, 54},
		{"UDP over IPv4", dt.UDP4(b, a, text), size, 42},
		{"TCP over IPv6", dt.TCP(b6, a6, text), size, 74},
		{"UDP over IPv6", dt.UDP6(b6, a6, text), size, 62},
		{"train of IPv4", train(n, dt.TCP(b, a, text[:size])), size + 54 + vxlanLen, 54},
		{"train of IPv6", train(n, dt.UDP6(b6, a6, text[:size])), size + 62 + vxlanLen, 62},
	} {
		for tos, reason := range map[byte]datapath.DropReason{3: datapath.DropECN, 0: datapath.DropVXLANFlags} {
			t.Run(c.name+", "+reason.String(), func(t *testing.T) {
				in := withTOS(dt.VXLAN(f.hostB, f.hostA, testVNI, c.inner), tos)
				if reason == datapath.DropVXLANFlags {
					in = dt.Patch(in, dt.At(in, dt.VXLANOffset), 0x88)
				}
				in = dt.Patch(in, dt.At(in, dt.UDPChecksumField), 1, 1) // nobody verifies it
				before := f.hosts[0].stats(t).Drops[reason]
				r.runSegments(t, in, c.size, false)
				want := before.Add(datapath.Counter{Packets: n, Bytes: n * uint64(size+c.headers)})
				if got := f.hosts[0].stats(t).Drops[reason]; got != want {
					t.Errorf("counted %+v after %+v, want %+v", got, before, want)
				}
			})
		}
	}
}

// train is what is in a tunnel packet that others like it follow.
func train(n int, frame []byte) []byte {
	return bytes.Repeat(inTunnel(testVNI, frame), n)[vxlanLen:]
}

// TestTrainOfStream: segments of a TCP stream that come as a train are merged
// before they reach the endpoint, which makes up for the slow path, and are
// counted as what was sent.
func TestTrainOfStream(t *testing.T) {
	onUnderlays(t, linktest.Options{Hosts: 3}, testTrainOfStream)
}

func testTrainOfStream(t *testing.T, o linktest.Options) {
	const size, segments = 1000, 40
	f := newForgedBed(t, o)
	a, b := f.partyA, f.partyB
	run(t, f.a.Namespace, "ip", "neigh", "replace", b.Addr.String(), "lladdr", b.MAC.String(), "dev", "eth0", "nud", "permanent")
	ip := &layers.IPv4{Version: 4, TTL: 64, Flags: layers.IPv4DontFragment, Protocol: layers.IPProtocolTCP, SrcIP: b.Addr.AsSlice(), DstIP: a.Addr.AsSlice()}
	eth := &layers.Ethernet{SrcMAC: b.MAC[:], DstMAC: a.MAC[:], EthernetType: layers.EthernetTypeIPv4}
	var train, frames [][]byte
	var stream []byte
	for i := range segments {
		tcp := &layers.TCP{SrcPort: 1000, DstPort: 2000, ACK: true, Seq: uint32(i * size), Window: 100}
		if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		payload := bytes.Repeat([]byte{byte(i)}, size)
		buf := gopacket.NewSerializeBuffer()
		err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, ip, tcp, gopacket.Payload(payload))
		if err != nil {
			t.Fatal(err)
		}
		ip.Id++
		stream = append(stream, payload...)
		frames = append(frames, buf.Bytes())
		train = append(train, inTunnel(testVNI, buf.Bytes()))
	}
	out := udpDialFrom(t, f.b.host, netip.AddrPortFrom(f.hosts[0].Addr, 4789), 0)
	heard := listenAll(t, f.a.Namespace, "eth0")
	before := f.hosts[0].stats(t)
	sendTrain(t, out, train)
	var got []byte
	n := 0
	for _, frame := range heard() {
		const headers = 14 + 20 + 20
		if bytes.HasPrefix(frame[6:], b.MAC[:]) {
			n++
			got = append(got, frame[headers:]...)
		}
	}
	if !bytes.Equal(got, stream) {
		t.Errorf("%d bytes of %d arrive in %d packets, or others", len(got), len(stream), n)
	}
	if n > segments/2 {
		t.Errorf("%d segments arrive in %d packets, want them merged", segments, n)
	}
	f.checkTaken(t, before, train, frames, nil)
}
