package kernel

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/link/linktest"
	"github.com/ovlnet/ovl/encap"
)

// The hosts' links take more than the one between the routers, which no host is
// told of. Inner packets of 1280 bytes fit that over either family.
const (
	wide   = 1600
	narrow = wide - 200
)

// newNarrowBed has an endpoint of both families on each of two hosts, with
// routers in between.
func newNarrowBed(t *testing.T, ipv6 bool) (b *bed, near, far *bedEndpoint) {
	b = newBed(t, linktest.Options{MTU: wide, NarrowMTU: narrow, IPv6: ipv6}, HookAuto)
	b.mtu = wide - encap.Overhead(b.hosts[0].Addr)
	near = b.attach(0, testVNI, "10.0.0.2/24", "fd00::2/64")
	far = b.attach(1, testVNI, "10.0.0.3/24", "fd00::3/64")
	for _, h := range b.hosts {
		h.network(testVNI, b.mtu).Gateways = []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}
	}
	b.connect()
	return b, near, far
}

// forget makes hosts and endpoints unlearn what they know of paths. Over IPv4 what
// a host knows of a route goes with that only.
func (b *bed) forget(endpoints ...*bedEndpoint) {
	b.t.Helper()
	for _, e := range endpoints {
		run(b.t, e.Namespace, "ip", "-4", "route", "flush", "cache")
		run(b.t, e.Namespace, "ip", "-6", "route", "flush", "cache")
		ns, family := e.host.Namespace, "-4"
		if e.host.Addr.Is6() {
			family = "-6"
		}
		route := strings.Fields(run(b.t, ns, "ip", family, "route", "show", "default"))
		run(b.t, ns, append([]string{"ip", family, "route", "del"}, route...)...)
		run(b.t, ns, append([]string{"ip", family, "route", "add"}, route...)...)
	}
	time.Sleep(routeHolds)
}

// TestPathMTU: what does not fit a path whose narrowest link is none of the
// hosts' own is answered, and gets there once it is cut to fit.
func TestPathMTU(t *testing.T) {
	needTool(t, "tracepath", "iperf3")
	for _, ipv6 := range []bool{false, true} {
		t.Run(fmt.Sprintf("IPv6 underlay %t", ipv6), func(t *testing.T) {
			b, near, far := newNarrowBed(t, ipv6)
			b.checkPathMTU(t, near, far, 0, 20, "10.0.0.1")
			b.checkPathMTU(t, near, far, 1, 40, "fd00::1")
		})
	}
}

// checkPathMTU goes by the i-th address of each endpoint, whose family has
// headers of that length and that gateway.
func (b *bed) checkPathMTU(t *testing.T, near, far *bedEndpoint, i, headers int, gateway string) {
	t.Helper()
	mtu, to := narrow-encap.Overhead(near.host.Addr), far.port.Addrs[i].String()
	fits := mtu - headers - 8
	b.forget(near, far)

	// The first tells the host, the second is told by it, and the third the
	// endpoint's stack does not send.
	out, _ := tryRun(near.Namespace, "ping", "-n", "-c", "3", "-i", "0.1", "-W", "1", "-M", "do", "-s", fmt.Sprint(fits+1), to)
	if !strings.Contains(out, "From "+gateway+" icmp_seq=2 ") || !strings.Contains(out, fmt.Sprint("mtu=", mtu)) {
		t.Errorf("want MTU %d from %s:\n%s", mtu, gateway, out)
	}
	checkPing(t, near.Namespace, to, "-M", "do", "-s", fmt.Sprint(fits))

	b.forget(near, far)
	out = run(t, near.Namespace, "tracepath", "-n", "-m", "2", to)
	if !strings.Contains(out, fmt.Sprint("pmtu ", mtu, "\n")) || !strings.Contains(out, "reached") {
		t.Errorf("want pmtu %d:\n%s", mtu, out)
	}
	b.checkRecovery(t, near, far, to)
	b.checkRecovery(t, far, near, near.port.Addrs[i].String())
}

// checkRecovery sends bulk TCP over a path that nobody knows the MTU of yet, and
// wants it to be as fast within two seconds as it is once everybody does.
func (b *bed) checkRecovery(t *testing.T, from, to *bedEndpoint, addr string) {
	t.Helper()
	b.forget(from, to)
	first := 0.0
	// The first second is enough to see it.
	for _, i := range iperf(t, from.Namespace, to.Namespace, addr, "-t", "1", "-i", "0.2").Intervals {
		first = max(first, i.Sum.BitsPerSecond)
	}
	known := iperf(t, from.Namespace, to.Namespace, addr, "-n", "100M").End.SumReceived.BitsPerSecond
	t.Logf("TCP to %s: %.1f Gb/s within 2 s, %.1f Gb/s with what is known then", addr, first/1e9, known/1e9)
	// A part of it, for the machine has more to do than this: a stream that has
	// not recovered crawls.
	if first < known/4 || first < crawl {
		t.Errorf("TCP to %s does not recover within 2 s: %.1f Mb/s, later %.1f Mb/s", addr, first/1e6, known/1e6)
	}
}

// TestAnswerChecksums: the stack of an endpoint leaves checksums to devices. What
// an answer quotes of such a packet is still right when it has passed a device
// that does them in software, and so is the answer.
func TestAnswerChecksums(t *testing.T) {
	needTool(t, "ethtool")
	const narrow = 1400
	b := newBed(t, linktest.Options{Hosts: 2}, HookAuto)
	near := b.attach(0, testVNI, "10.0.0.2/24", "fd00::2/64")
	far := b.attach(1, testVNI, "10.0.0.3/24", "fd00::3/64")
	b.hosts[0].state.Peers = []datapath.Peer{{VTEP: b.hosts[1].Addr, MTU: narrow}}
	b.connect()
	run(t, b.hosts[0].Namespace, "ethtool", "-K", near.port.Device, "tx", "off")
	heard := listenAll(t, near.Namespace, "eth0")
	for i, at := range []string{"10.0.0.3:9", "[fd00::3]:9"} {
		t.Run(at, func(t *testing.T) {
			udpSend(t, near.Namespace, netip.MustParseAddrPort(at), string(make([]byte, 1380)))
			b.forget(near)
			to := far.port.Addrs[i].String()
			if got := iperf(t, near.Namespace, far.Namespace, to, "-n", "1M").End.SumReceived.BitsPerSecond; got < crawl/10 {
				t.Errorf("TCP crawls: %.1f Mb/s", got/1e6)
			}
			quoted := map[byte]int{}
			for _, f := range heard() {
				if protocol, ok := checkAnswer(t, f); ok {
					quoted[protocol]++
				}
			}
			if quoted[unix.IPPROTO_UDP] == 0 || quoted[unix.IPPROTO_TCP] == 0 {
				t.Errorf("answers by the protocol of what they quote: %v, want some about UDP and TCP", quoted)
			}
		})
	}
}

// TestVMPathMTU: virtual machines hear of it, whatever they leave to the host.
func TestVMPathMTU(t *testing.T) {
	for _, k := range vmKinds {
		t.Run(k.name, func(t *testing.T) {
			b := newBed(t, linktest.Options{Hosts: 2}, HookAuto)
			vm := b.attachVM(t, 0, testVNI, k, "10.0.0.2/24", "fd00::2/64")
			far := b.attach(1, testVNI, "10.0.0.3/24", "fd00::3/64")
			b.hosts[0].state.Peers = []datapath.Peer{{VTEP: b.hosts[1].Addr, MTU: 1400}}
			b.connect()
			for _, addr := range far.port.Addrs {
				if got := iperf(t, vm.Namespace, far.Namespace, addr.String(), "-n", "5M").End.SumReceived.BitsPerSecond; got < crawl/10 {
					t.Errorf("TCP to %s crawls: %.1f Mb/s", addr, got/1e6)
				}
				out := run(t, vm.Namespace, "ip", "route", "get", addr.String())
				if !strings.Contains(out, "mtu 1350") {
					t.Errorf("the machine knows no MTU of the path: %s", out)
				}
			}
		})
	}
}

// checkAnswer wants the checksums of an ICMP error to be right, and returns the
// protocol of what it is about. False: the frame is another.
func checkAnswer(t *testing.T, frame []byte) (byte, bool) {
	t.Helper()
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.NoCopy)
	if v4, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok && v4.TypeCode.Type() == layers.ICMPv4TypeDestinationUnreachable {
		if sum := onesSum(p.NetworkLayer().LayerPayload()); sum != 0xffff {
			t.Errorf("checksum of an ICMP error is off by %#04x:\n%x", sum, frame)
		}
		return v4.LayerPayload()[9], true
	}
	if v6, ok := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6); ok && v6.TypeCode.Type() == layers.ICMPv6TypePacketTooBig {
		ip, body := p.NetworkLayer().(*layers.IPv6), p.NetworkLayer().LayerPayload()
		pseudo := slices.Concat(ip.SrcIP, ip.DstIP, []byte{0, 0, byte(len(body) >> 8), byte(len(body)), 0, 0, 0, 58})
		if sum := onesSum(append(pseudo, body...)); sum != 0xffff {
			t.Errorf("checksum of an ICMPv6 error is off by %#04x:\n%x", sum, frame)
		}
		return body[8+6], true
	}
	return 0, false
}

// onesSum is the sum of RFC 1071.
func onesSum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
