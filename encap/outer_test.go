package encap

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// testOuter6 is testOuter over IPv6.
func testOuter6() Outer {
	o := testOuter()
	o.Src, o.Dst, o.FlowLabel = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2"), 0xabcde
	return o
}

func testOuter() Outer {
	return Outer{
		SrcMAC: MAC{2, 0, 0, 0, 0, 1}, DstMAC: MAC{2, 0, 0, 0, 0, 2},
		Src: netip.MustParseAddr("192.0.2.1"), Dst: netip.MustParseAddr("192.0.2.2"),
		SrcPort: 40000, DstPort: Port, ECN: ECT0, VNI: 4097,
	}
}

// TestOuterPut lets gopacket read what we wrote, over bytes that were not
// zero.
func TestOuterPut(t *testing.T) {
	inner := flow{"10.0.0.1", "10.0.0.2", protoTCP, 40000, 80}.frame()
	for _, c := range []struct {
		outer         Outer
		head, longest int
	}{
		{testOuter(), OuterLenIPv4, MaxInnerFrameIPv4},
		{testOuter6(), OuterLenIPv6, MaxInnerFrameIPv6},
	} {
		if n := OuterLen(c.outer.Src); n != c.head {
			t.Errorf("OuterLen(%s) = %d, want %d", c.outer.Src, n, c.head)
		}
		for _, length := range []int{0, 1, len(inner), 1464, c.longest} {
			b := bytes.Repeat([]byte{0xee}, c.head+length)
			if err := c.outer.Put(b, length); err != nil {
				t.Fatal(err)
			}
			if rest := b[c.head:]; !bytes.Equal(rest, bytes.Repeat([]byte{0xee}, length)) {
				t.Errorf("Put wrote into the inner frame: % x", rest)
			}
			checkOuter(t, b, c.outer)
		}
	}
}

func checkOuter(t *testing.T, b []byte, o Outer) {
	t.Helper()
	p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.DecodeOptions{NoCopy: true})
	eth := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	if eth.SrcMAC.String() != "02:00:00:00:00:01" || eth.DstMAC.String() != "02:00:00:00:00:02" {
		t.Errorf("Ethernet %s to %s", eth.SrcMAC, eth.DstMAC)
	}
	ipLen := ipv4Len
	if o.Src.Is4() {
		ip, ok := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		if !ok {
			t.Fatalf("no IPv4 in %s", p)
		}
		if ip.SrcIP.String() != "192.0.2.1" || ip.DstIP.String() != "192.0.2.2" || ip.TTL != 64 || ip.TOS != uint8(ECT0) ||
			ip.Flags != layers.IPv4DontFragment || ip.FragOffset != 0 || ip.Id != 0 || int(ip.Length) != len(b)-ethLen {
			t.Errorf("IPv4 %+v", ip)
		}
		if sum := ipv4Checksum(b[ethLen : ethLen+ipv4Len]); sum != 0 {
			t.Errorf("IPv4 checksum is off by %04x", sum)
		}
	} else {
		ipLen = ipv6Len
		ip, ok := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
		if !ok {
			t.Fatalf("no IPv6 in %s", p)
		}
		if ip.Version != 6 || ip.SrcIP.String() != "2001:db8::1" || ip.DstIP.String() != "2001:db8::2" || ip.HopLimit != 64 ||
			ip.TrafficClass != uint8(ECT0) || ip.FlowLabel != 0xabcde || int(ip.Length) != len(b)-ethLen-ipv6Len {
			t.Errorf("IPv6 %+v", ip)
		}
	}
	udp := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
	vx := p.Layer(layers.LayerTypeVXLAN).(*layers.VXLAN)
	if udp.SrcPort != 40000 || udp.DstPort != 4789 || udp.Checksum != 0 || int(udp.Length) != len(b)-ethLen-ipLen {
		t.Errorf("UDP %+v", udp)
	}
	if !vx.ValidIDFlag || vx.VNI != 4097 || vx.GBPExtension || vx.GBPDontLearn || vx.GBPApplied {
		t.Errorf("VXLAN %+v", vx)
	}
}

func TestOuterPutRefuses(t *testing.T) {
	v4, v6, mapped := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("::ffff:192.0.2.1")
	for _, c := range []struct {
		name       string
		src, dst   netip.Addr
		room, size int
		want       error
	}{
		{"no room", v4, v4, OuterLenIPv4 - 1, 0, ErrTruncated},
		{"no room over IPv6", v6, v6, OuterLenIPv6 - 1, 0, ErrTruncated},
		{"too long", v4, v4, OuterLenIPv4, MaxInnerFrameIPv4 + 1, ErrTooLong},
		{"too long over IPv6", v6, v6, OuterLenIPv6, MaxInnerFrameIPv6 + 1, ErrTooLong},
		{"negative", v4, v4, OuterLenIPv4, -1, ErrTooLong},
		{"from IPv4 to IPv6", v4, v6, OuterLenIPv6, 0, ErrFamily},
		{"from IPv6 to IPv4", v6, v4, OuterLenIPv6, 0, ErrFamily},
		{"IPv4 as IPv6", mapped, mapped, OuterLenIPv6, 0, ErrFamily},
		{"no VTEP", netip.Addr{}, v4, OuterLenIPv4, 0, ErrFamily},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, o := make([]byte, c.room), testOuter()
			o.Src, o.Dst = c.src, c.dst
			if err := o.Put(b, c.size); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if !bytes.Equal(b, make([]byte, c.room)) {
				t.Errorf("refused, but wrote % x", b)
			}
		})
	}
}

// TestNoAllocation covers what happens once for each packet.
func TestNoAllocation(t *testing.T) {
	frame := flow{"10.0.0.1", "10.0.0.2", protoTCP, 40000, 80}.frame()
	b, o, o6 := make([]byte, OuterLenIPv6), testOuter(), testOuter6()
	header := make([]byte, HeaderLen)
	Header{VNI: 4097}.Put(header)
	for name, fn := range map[string]func(){
		"Put": func() {
			o.SrcPort = SourcePort(FlowHash(frame))
			if err := o.Put(b, len(frame)); err != nil {
				t.Error(err)
			}
		},
		"Put over IPv6": func() {
			o6.FlowLabel = uint32(FlowHash(frame))
			if err := o6.Put(b, len(frame)); err != nil {
				t.Error(err)
			}
		},
		"ParseHeader":           func() { _, _ = ParseHeader(header) },
		"ParseHeader, refusing": func() { _, _ = ParseHeader(frame); _, _ = ParseHeader(nil) },
	} {
		if n := testing.AllocsPerRun(100, fn); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}
