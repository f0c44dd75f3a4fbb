package packet

import (
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// BenchmarkParse has Parse as it is; the same by gopacket's DecodingLayerParser over
// this package's layers; and over gopacket's own.
func BenchmarkParse(b *testing.B) {
	frames := everything()
	for _, name := range []string{"UDP4", "TCP4", "TCP6", "ICMP", "ARP", "Tagged", "Extended", "Cut4"} {
		frame := frames[name]
		b.Run("parse/"+name, func(b *testing.B) {
			var p Parser
			b.ReportAllocs()
			for b.Loop() {
				p.Parse(frame)
			}
		})
		b.Run("layers/"+name, func(b *testing.B) {
			var p Parser
			b.ReportAllocs()
			for b.Loop() {
				p.decode(frame)
			}
		})
		b.Run("gopacket/"+name, func(b *testing.B) {
			var eth layers.Ethernet
			var tag layers.Dot1Q
			var arp layers.ARP
			var ip4 layers.IPv4
			var ip6 layers.IPv6
			var tcp layers.TCP
			var udp layers.UDP
			var icmp layers.ICMPv4
			p := gopacket.NewDecodingLayerParser(layers.LayerTypeEthernet, &eth, &tag, &arp, &ip4, &ip6, &tcp, &udp, &icmp)
			p.IgnoreUnsupported, p.IgnorePanic = true, true
			var decoded []gopacket.LayerType
			b.ReportAllocs()
			for b.Loop() {
				_ = p.DecodeLayers(frame, &decoded)
			}
		})
	}
}
