package answer

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	dt "github.com/ovlnet/ovl/datapath/datapathtest"
)

// segment is a frame of TCP.
func segment(t testing.TB, from, to dt.Party, tcp layers.TCP, payload string) []byte {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: from.MAC[:], DstMAC: to.MAC[:], EthernetType: layers.EthernetTypeIPv4}
	var ip interface {
		gopacket.NetworkLayer
		gopacket.SerializableLayer
	} = &layers.IPv4{
		Version: 4, TTL: 64, Flags: layers.IPv4DontFragment, Protocol: layers.IPProtocolTCP,
		SrcIP: from.Addr.AsSlice(), DstIP: to.Addr.AsSlice(),
	}
	length := 54
	if from.Addr.Is6() {
		eth.EthernetType = layers.EthernetTypeIPv6
		ip = &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP, SrcIP: from.Addr.AsSlice(), DstIP: to.Addr.AsSlice()}
		length = 74
	}
	for _, o := range tcp.Options {
		length += int(o.OptionLength)
	}
	if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, fix, eth, ip, &tcp, gopacket.Payload(payload)); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(b.Bytes()[:length+len(payload)]) // without padding
}

// TestReset: the reset that RFC 9293 has for a segment of nobody's connection.
func TestReset(t *testing.T) {
	var b Builder
	mss := []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{5, 180}}}
	for _, c := range []struct {
		name       string
		in         layers.TCP
		payload    string
		seq, ack   uint32
		acks, none bool
	}{
		{"SYN", layers.TCP{SYN: true, Seq: 7, Options: mss}, "", 0, 8, true, false},
		{"SYN with data", layers.TCP{SYN: true, Seq: 7}, "hello", 0, 13, true, false},
		{"FIN", layers.TCP{FIN: true, Seq: 1<<32 - 1}, "hello", 0, 5, true, false},
		{"nothing", layers.TCP{Seq: 7}, "", 0, 7, true, false},
		{"ACK", layers.TCP{ACK: true, Seq: 7, Ack: 99}, "hello", 99, 0, false, false},
		{"SYN and ACK", layers.TCP{SYN: true, ACK: true, Seq: 7, Ack: 99}, "", 99, 0, false, false},
		{"reset", layers.TCP{RST: true, Seq: 7}, "", 0, 0, false, true},
		{"reset and ACK", layers.TCP{RST: true, ACK: true, Seq: 7}, "", 0, 0, false, true},
	} {
		for _, pair := range [][2]dt.Party{{a4, b4}, {a6, b6}} {
			c.in.SrcPort, c.in.DstPort, c.in.Window = 1000, 80, 500
			l4 := 34
			if pair[0].Addr.Is6() {
				l4 = 54
			}
			frame := append(segment(t, pair[0], pair[1], c.in, c.payload), 0, 0, 0) // padding
			got, ok := b.Reset(frame, l4)
			if ok == c.none {
				t.Errorf("%s: answered %v", c.name, ok)
			}
			if c.none {
				continue
			}
			same(t, got, segment(t, pair[1], pair[0], layers.TCP{
				SrcPort: 80, DstPort: 1000, RST: true, ACK: c.acks, Seq: c.seq, Ack: c.ack,
			}, ""))
		}
	}
	if _, ok := b.Reset(segment(t, a4, b4, layers.TCP{SYN: true}, "")[:53], 34); ok {
		t.Error("a segment is answered that is cut short")
	}
}

// TestUnreachable: whole, with the codes of the family, quoting no more than fits and
// no padding.
func TestUnreachable(t *testing.T) {
	var b Builder
	for _, n := range []int{5, 519, 520, 521, 1183, 1184, 1185, 1400} {
		payload := strings.Repeat("x", n)
		four, six := dt.UDP4(a4, b4, payload), dt.UDP6(a6, b6, payload)
		for _, what := range []Unreachable{PortUnreachable, ProtocolUnreachable} {
			got, ok := b.Unreachable4(four, what)
			if !ok {
				t.Fatal("nothing is said")
			}
			code := map[Unreachable]byte{PortUnreachable: 3, ProtocolUnreachable: 2}[what]
			whole := four[:14+28+n]
			want := dt.FragmentationNeeded(b4, a4, 0, whole)[:14+20+8+min(28+n, quote4)]
			same(t, got, mend4(dt.Patch(want, 35, code)))

			got, ok = b.Unreachable6(six, what)
			if !ok {
				t.Fatal("nothing is said")
			}
			code = map[Unreachable]byte{PortUnreachable: 4, ProtocolUnreachable: 1}[what]
			ip := gopacket.NewPacket(got, layers.LayerTypeEthernet, gopacket.Default)
			if err := ip.ErrorLayer(); err != nil && n < 1000 {
				t.Error(err.Error())
			}
			want = dt.PacketTooBig(b6, a6, 0, six[:14+48+n])
			want = dt.Patch(want, 54, 1, code)
			same(t, got[:56], want[:56])
			same(t, got[58:], want[58:]) // all but the checksum
			if !sums6(got) {
				t.Errorf("wrong checksum in %x", got[:60])
			}
		}
	}
	for name, frame := range map[string][]byte{
		"an error":                  dt.ICMP4(a4, b4, 3, 28),
		"a later fragment":          dt.Patch(dt.UDP4(a4, b4, "hello"), 20, 0, 1),
		"IPv6":                      dt.UDP6(a6, b6, "hello"),
		"less than there has to be": dt.UDP4(a4, b4, "hello")[:17],
	} {
		if _, ok := b.Unreachable4(frame, PortUnreachable); ok {
			t.Errorf("%s is answered", name)
		}
	}
	if _, ok := b.Unreachable6(dt.ICMP6Type(a6, b6, 1, 44), PortUnreachable); ok {
		t.Error("an error of ICMPv6 is answered")
	}
}

// mend4 makes the ICMP checksum of a frame.
func mend4(frame []byte) []byte {
	frame = dt.Patch(frame, 36, 0, 0)
	sum := ^sumOf(frame[34:], 0)
	return dt.Patch(frame, 36, byte(sum>>8), byte(sum))
}

func sums6(frame []byte) bool {
	return sumOf(frame[54:], uint32(sumOf(frame[22:54], 0))+58+uint32(len(frame)-54)) == 0xffff
}

func sumOf(b []byte, sum uint32) uint16 {
	for i := 0; i < len(b); i += 2 {
		sum += uint32(b[i]) << 8
		if i+1 < len(b) {
			sum += uint32(b[i+1])
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
