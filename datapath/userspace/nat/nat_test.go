package nat

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/datapath/userspace/offload"
)

// build makes the frame of a packet with these ends, whole and right. IPv4 packets
// have an option; IPv6 packets extension headers.
func build(t testing.TB, e Ends, proto uint8, extended bool, payload []byte) []byte {
	t.Helper()
	src, dst := netip.AddrFrom16(e.Src).Unmap(), netip.AddrFrom16(e.Dst).Unmap()
	var all []gopacket.SerializableLayer
	eth := &layers.Ethernet{SrcMAC: []byte{2, 0, 0, 0, 0, 1}, DstMAC: []byte{2, 0, 0, 0, 0, 2}, EthernetType: layers.EthernetTypeIPv4}
	var network gopacket.NetworkLayer
	if src.Is4() {
		ip := &layers.IPv4{Version: 4, TTL: 64, Id: 77, Protocol: layers.IPProtocol(proto), SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
		if extended {
			ip.Options = []layers.IPv4Option{{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 0}}
		}
		network, all = ip, append(all, eth, ip)
	} else {
		eth.EthernetType = layers.EthernetTypeIPv6
		ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocol(proto), SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
		network, all = ip, append(all, eth, ip)
	}
	switch proto {
	case TCP:
		tcp := &layers.TCP{SrcPort: layers.TCPPort(e.SrcPort), DstPort: layers.TCPPort(e.DstPort), Seq: 5, ACK: true, Ack: 6, Window: 99}
		_ = tcp.SetNetworkLayerForChecksum(network)
		all = append(all, tcp)
	case UDP:
		u := &layers.UDP{SrcPort: layers.UDPPort(e.SrcPort), DstPort: layers.UDPPort(e.DstPort)}
		_ = u.SetNetworkLayerForChecksum(network)
		all = append(all, u)
	}
	all = append(all, gopacket.Payload(payload))
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
		t.Fatal(err)
	}
	frame := slices.Clone(b.Bytes())
	if n := 14 + 20 + 8 + len(payload); src.Is4() && !extended && proto == UDP {
		frame = frame[:n] // without padding
	}
	if !src.Is4() && extended {
		frame = dt.Extend(frame, dt.Padding(0), dt.Padding(60))
	}
	return frame
}

func randomEnds(r *rand.Rand, v6 bool) (e Ends) {
	for i := range 16 {
		e.Src[i], e.Dst[i] = byte(r.Uint32()), byte(r.Uint32())
	}
	if !v6 {
		prefix := [12]byte{10: 0xff, 11: 0xff}
		copy(e.Src[:], prefix[:])
		copy(e.Dst[:], prefix[:])
	}
	e.SrcPort, e.DstPort = uint16(r.Uint32()), uint16(r.Uint32())
	return e
}

// TestSetEnds: what is changed is what would have been built, byte for byte.
func TestSetEnds(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 4000 {
		v6, extended, proto := i&1 == 1, i&2 == 2, uint8(TCP)
		if i&4 == 4 {
			proto = UDP
		}
		payload := make([]byte, r.IntN(100))
		for j := range payload {
			payload[j] = byte(r.Uint32())
		}
		was, is := randomEnds(r, v6), randomEnds(r, v6)
		frame, want := build(t, was, proto, extended, payload), build(t, is, proto, extended, payload)
		var s Segment
		if reason := Parse(frame, &s); reason != 0 {
			t.Fatal(reason)
		}
		if got := s.Ends(frame); got != was || s.Proto != proto || s.V6 != v6 || s.First || s.Later {
			t.Fatalf("%+v of %+v, want %+v", got, s, was)
		}
		if i&8 == 8 { // as a device gets it, which then finishes it
			unfinish(frame, &s)
			if !s.LooksUnfinished(frame) {
				t.Fatal("an unfinished checksum is not told")
			}
			s.SetEnds(frame, &is, true)
			if !s.LooksUnfinished(frame) {
				t.Fatal("an unfinished checksum is no more")
			}
			f := offload.Frame{Data: frame}
			f.Flags, f.CsumStart, f.CsumOffset = offload.NeedsCsum, uint16(s.L4), uint16(s.sumAt()-s.L4)
			if !s.Unfinished(f) {
				t.Fatal("an unfinished checksum is not told by its header")
			}
			f.Data = frame[:ipEnd(frame)]
			if err := offload.Complete(f); err != nil {
				t.Fatal(err)
			}
		} else {
			s.SetEnds(frame, &is, false)
		}
		if !bytes.Equal(frame, want) {
			t.Fatalf("%+v to %+v:\n%x\nwant\n%x", was, is, frame, want)
		}
	}
}

// ipEnd is where the packet in a frame ends.
func ipEnd(frame []byte) int {
	if dt.IsIPv6(frame) {
		return 54 + int(binary.BigEndian.Uint16(frame[18:]))
	}
	return 14 + int(binary.BigEndian.Uint16(frame[16:]))
}

// unfinish leaves of a checksum the sum of the pseudo-header.
func unfinish(frame []byte, s *Segment) {
	sum := offload.Pseudo4(frame[14:], s.Proto, ipEnd(frame)-s.L4)
	if s.V6 {
		sum = offload.Pseudo6(frame[14:], s.Proto, ipEnd(frame)-s.L4)
	}
	binary.BigEndian.PutUint16(frame[s.sumAt():], offload.Fold(sum))
}

// TestNoChecksum: a datagram without one gets none; one whose checksum comes out
// as 0 has 0xffff.
func TestNoChecksum(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	was, is := randomEnds(r, false), randomEnds(r, false)
	frame := build(t, was, UDP, false, []byte("hello!"))
	binary.BigEndian.PutUint16(frame[40:], 0)
	var s Segment
	Parse(frame, &s)
	s.SetEnds(frame, &is, false)
	if sum := binary.BigEndian.Uint16(frame[40:]); sum != 0 {
		t.Errorf("checksum %#x where there was none", sum)
	}
	for p := range 1 << 16 {
		is.SrcPort = uint16(p)
		frame := build(t, was, UDP, false, []byte("hello!"))
		s.SetEnds(frame, &is, false)
		if sum := binary.BigEndian.Uint16(frame[40:]); sum == 0 {
			t.Fatal("a checksum is gone")
		} else if sum == 0xffff {
			return
		}
	}
	t.Error("no checksum comes out as 0")
}

// TestFragments: a first fragment has ports, a later one only addresses.
func TestFragments(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	was, is := randomEnds(r, false), randomEnds(r, false)
	whole, want := build(t, was, UDP, false, make([]byte, 64)), build(t, is, UDP, false, make([]byte, 64))
	fragment := func(frame []byte, field uint16) []byte {
		out := slices.Clone(frame)
		binary.BigEndian.PutUint16(out[20:], field)
		binary.BigEndian.PutUint16(out[24:], 0)
		binary.BigEndian.PutUint16(out[24:], ^offload.Fold(offload.Sum(out[14:34], 0)))
		return out
	}
	for _, c := range []struct {
		field        uint16
		first, later bool
	}{{0x2000, true, false}, {0x2001, false, true}, {0x0001, false, true}} {
		frame := fragment(whole, c.field)
		wanted := fragment(want, c.field)
		if c.later {
			copy(wanted[34:], frame[34:])
		}
		var s Segment
		if reason := Parse(frame, &s); reason != 0 || s.First != c.first || s.Later != c.later || s.ID != 77 || s.FragmentProto != UDP {
			t.Fatalf("%v, %+v", reason, s)
		}
		s.SetEnds(frame, &is, false)
		if !bytes.Equal(frame, wanted) {
			t.Errorf("%#x:\n%x\nwant\n%x", c.field, frame, wanted)
		}
	}
	six := build(t, randomEnds(r, true), UDP, false, make([]byte, 64))
	for _, offset := range []uint16{1, 8} {
		h := []byte{0, 0, byte(offset >> 8), byte(offset), 0, 0, 1, 2}
		frame := slices.Concat(six[:54], h, six[54:])
		frame[54], frame[20] = UDP, 44
		binary.BigEndian.PutUint16(frame[18:], uint16(len(frame)-54))
		var s Segment
		if reason := Parse(frame, &s); reason != 0 || s.First != (offset == 1) || s.Later != (offset == 8) || s.ID != 0x102 || s.FragmentProto != UDP {
			t.Errorf("%v, %+v", reason, s)
		}
	}
}

// errorAbout builds an ICMP error that quotes so much of the packet in a frame.
func errorAbout(t testing.TB, e Ends, about []byte, n int) []byte {
	t.Helper()
	quote := about[14:min(len(about), 14+n)]
	src, dst := netip.AddrFrom16(e.Src).Unmap(), netip.AddrFrom16(e.Dst).Unmap()
	from, to := dt.Party{MAC: [6]byte{2, 0, 0, 0, 0, 1}, Addr: src}, dt.Party{MAC: [6]byte{2, 0, 0, 0, 0, 2}, Addr: dst}
	if src.Is4() {
		return dt.FragmentationNeeded(from, to, 1400, append(slices.Clone(about[:14]), quote...))
	}
	return dt.PacketTooBig(from, to, 1400, append(slices.Clone(about[:14]), quote...))
}

// TestSetQuoted: an error that is changed is one that was built about what is
// quoted then, byte for byte, however much of it is quoted.
func TestSetQuoted(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 2000 {
		v6, extended, proto := i&1 == 1, i&2 == 2, uint8(TCP)
		if i&4 == 4 {
			proto = UDP
		}
		outerWas, outerIs, was, is := randomEnds(r, v6), randomEnds(r, v6), randomEnds(r, v6), randomEnds(r, v6)
		before, after := build(t, was, proto, extended, make([]byte, 40)), build(t, is, proto, extended, make([]byte, 40))
		header := 20
		if v6 {
			header = 40
		}
		if extended {
			header += map[bool]int{false: 4, true: 16}[v6]
		}
		n := header + 8 + r.IntN(40)
		if proto == TCP && n == header+tcpSumAt+1 {
			continue // half a checksum is left as it is
		}
		frame, want := errorAbout(t, outerWas, before, n), errorAbout(t, outerIs, after, n)
		var s Segment
		var q Quote
		if reason := Parse(frame, &s); reason != 0 || !s.IsError(frame) || s.IsEcho(frame) || !s.Quote(frame, &q) {
			t.Fatalf("%v: no error: %+v", reason, s)
		}
		if q.Ends != was || q.Proto != proto {
			t.Fatalf("quoted %+v, want %+v", q.Ends, was)
		}
		s.SetQuoted(frame, &q, &outerIs, &is)
		if !bytes.Equal(frame, want) {
			t.Fatalf("%d bytes quoted, %+v\n%x\nwant\n%x", n, s, frame, want)
		}
		short := errorAbout(t, outerWas, before, header+7)
		if Parse(short, &s); s.Quote(short[:s.L4+8+header+7], &q) {
			t.Fatal("a quote without ports")
		}
	}
}

// TestTurnEcho: the reply is what an endpoint would send.
func TestTurnEcho(t *testing.T) {
	four := dt.Party{MAC: [6]byte{2, 0, 0, 0, 0, 1}, Addr: netip.MustParseAddr("10.0.0.1")}
	four2 := dt.Party{MAC: [6]byte{2, 0, 0, 0, 0, 2}, Addr: netip.MustParseAddr("10.0.0.2")}
	six, six2 := four, four2
	six.Addr, six2.Addr = netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2")
	for _, c := range [][2][]byte{
		{dt.ICMP4Echo(four, four2, false), dt.ICMP4Echo(four2, four, true)},
		{dt.ICMP6Echo(six, six2, false), dt.ICMP6Echo(six2, six, true)},
	} {
		var s Segment
		if reason := Parse(c[0], &s); reason != 0 || !s.IsEcho(c[0]) || s.IsError(c[0]) || s.IsEcho(c[1]) {
			t.Fatalf("%v: no echo request: %+v", reason, s)
		}
		s.TurnEcho(c[0])
		if !bytes.Equal(c[0], c[1]) {
			t.Errorf("%x\nwant\n%x", c[0], c[1])
		}
	}
}
