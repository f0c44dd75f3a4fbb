package encap

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

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
	for _, length := range []int{0, 1, len(inner), 1464, MaxInnerFrame} {
		b := bytes.Repeat([]byte{0xee}, OuterLen+length)
		o := testOuter()
		if err := o.Put(b, length); err != nil {
			t.Fatal(err)
		}
		if rest := b[OuterLen:]; !bytes.Equal(rest, bytes.Repeat([]byte{0xee}, length)) {
			t.Errorf("Put wrote into the inner frame: % x", rest)
		}
		p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.DecodeOptions{NoCopy: true})
		eth := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
		ip, ok := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		if !ok {
			t.Fatalf("no IPv4 in %s", p)
		}
		udp := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
		vx := p.Layer(layers.LayerTypeVXLAN).(*layers.VXLAN)
		if eth.SrcMAC.String() != "02:00:00:00:00:01" || eth.DstMAC.String() != "02:00:00:00:00:02" {
			t.Errorf("Ethernet %s to %s", eth.SrcMAC, eth.DstMAC)
		}
		if ip.SrcIP.String() != "192.0.2.1" || ip.DstIP.String() != "192.0.2.2" || ip.TTL != 64 || ip.TOS != uint8(ECT0) ||
			ip.Flags != layers.IPv4DontFragment || ip.FragOffset != 0 || ip.Id != 0 || int(ip.Length) != len(b)-ethLen {
			t.Errorf("IPv4 %+v", ip)
		}
		if sum := ipv4Checksum(b[ethLen : ethLen+ipv4Len]); sum != 0 {
			t.Errorf("IPv4 checksum is off by %04x", sum)
		}
		if udp.SrcPort != 40000 || udp.DstPort != 4789 || udp.Checksum != 0 || int(udp.Length) != len(b)-ethLen-ipv4Len {
			t.Errorf("UDP %+v", udp)
		}
		if !vx.ValidIDFlag || vx.VNI != 4097 || vx.GBPExtension || vx.GBPDontLearn || vx.GBPApplied {
			t.Errorf("VXLAN %+v", vx)
		}
	}
}

func TestOuterPutRefuses(t *testing.T) {
	for _, c := range []struct {
		name       string
		room, size int
		change     func(*Outer)
		want       error
	}{
		{"no room", OuterLen - 1, 0, func(*Outer) {}, ErrTruncated},
		{"too long", OuterLen, MaxInnerFrame + 1, func(*Outer) {}, ErrTooLong},
		{"negative", OuterLen, -1, func(*Outer) {}, ErrTooLong},
		{"IPv6 VTEP", OuterLen, 0, func(o *Outer) { o.Dst = netip.MustParseAddr("2001:db8::1") }, ErrNotIPv4},
		{"no VTEP", OuterLen, 0, func(o *Outer) { o.Src = netip.Addr{} }, ErrNotIPv4},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, o := make([]byte, c.room), testOuter()
			c.change(&o)
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
	b, o := make([]byte, OuterLen), testOuter()
	for name, fn := range map[string]func(){
		"Put": func() {
			o.SrcPort = SourcePort(FlowHash(frame))
			if err := o.Put(b, len(frame)); err != nil {
				t.Error(err)
			}
		},
		"ParseHeader":           func() { _, _ = ParseHeader(b[OuterLen-HeaderLen:]) },
		"ParseHeader, refusing": func() { _, _ = ParseHeader(frame); _, _ = ParseHeader(nil) },
	} {
		if n := testing.AllocsPerRun(100, fn); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}
