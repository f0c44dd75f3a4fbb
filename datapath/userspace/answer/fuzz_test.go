package answer

import (
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	dt "github.com/ovlnet/ovl/datapath/datapathtest"
)

// seeds are frames that mutations begin with.
func seeds(f *testing.F) {
	link := dt.LinkOption(1, macA)
	good := dt.Solicit(a6, dt.SolicitedNode(b6.Addr), b6.Addr, link)
	for _, frame := range [][]byte{
		nil,
		dt.ARPRequest(a4, b4.Addr), dt.ARPReply(a4, b4),
		good, good[:77], dt.Solicit(nameless, dt.SolicitedNode(b6.Addr), b6.Addr, dt.NonceOption()),
		dt.Advertise(a6, b6, solicited), dt.Extend(good, dt.Padding(protoDstOpts)),
		dt.Extend(dt.ICMP6(a6, b6), dt.Padding(protoHopByHop), dt.FragmentHeader(0, true)),
		long4(600), dt.ICMP4(a4, b4, 3, 600), dt.Tagged(long4(600), 0x8100, 9), long6(1290),
	} {
		f.Add(frame)
	}
}

// FuzzCheck holds what is accepted against another reader of the same RFCs.
func FuzzCheck(f *testing.F) {
	seeds(f)
	s := sender()
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) < 14 {
			frame = make([]byte, 14)
		}
		if CheckARP(frame[14:], s) == 0 {
			var arp layers.ARP
			if err := arp.DecodeFromBytes(frame[14:], gopacket.NilDecodeFeedback); err != nil {
				t.Fatal(err)
			}
			if string(arp.SourceHwAddress) != string(macA[:]) || arp.Operation < 1 || arp.Operation > 2 {
				t.Errorf("accepted %+v", arp)
			}
		}
		Walk6(frame[14:])
		if _, reason := Inspect6(frame, s); reason != 0 {
			return
		}
		u, _ := Walk6(frame[14:])
		if u.Proto != protoICMPv6 || u.Extended || (u.Type != TypeNeighborSolicitation && u.Type != TypeNeighborAdvertisement) {
			return
		}
		acceptedMessage(t, frame)
	})
}

// acceptedMessage holds a message of neighbour discovery that was accepted against
// gopacket, its checksum by what gopacket would have made of it.
func acceptedMessage(t *testing.T, frame []byte) {
	var ip layers.IPv6
	var icmp layers.ICMPv6
	if frame[14]>>4 != 6 {
		return // whose header is asked for elsewhere
	}
	if err := ip.DecodeFromBytes(frame[14:], gopacket.NilDecodeFeedback); err != nil {
		t.Fatal(err)
	}
	if err := icmp.DecodeFromBytes(ip.Payload, gopacket.NilDecodeFeedback); err != nil {
		t.Fatal(err)
	}
	var options layers.ICMPv6Options
	if icmp.TypeCode.Type() == TypeNeighborSolicitation {
		var ask layers.ICMPv6NeighborSolicitation
		if err := ask.DecodeFromBytes(icmp.Payload, gopacket.NilDecodeFeedback); err != nil {
			t.Fatal(err)
		}
		options = ask.Options
	} else {
		var told layers.ICMPv6NeighborAdvertisement
		if err := told.DecodeFromBytes(icmp.Payload, gopacket.NilDecodeFeedback); err != nil {
			t.Fatal(err)
		}
		options = told.Options
	}
	for _, o := range options {
		if (o.Type == layers.ICMPv6OptSourceAddress || o.Type == layers.ICMPv6OptTargetAddress) && string(o.Data) != string(macA[:]) {
			t.Errorf("accepted option %v", o)
		}
	}
	if err := icmp.SetNetworkLayerForChecksum(&ip); err != nil {
		t.Fatal(err)
	}
	b, was := gopacket.NewSerializeBuffer(), icmp.Checksum
	if err := gopacket.SerializeLayers(b, fix, &icmp, gopacket.Payload(icmp.Payload)); err != nil {
		t.Fatal(err)
	}
	if icmp.Checksum != was && icmp.Checksum^was != 0xffff {
		t.Errorf("accepted checksum %04x of a message whose is %04x", was, icmp.Checksum)
	}
}

// FuzzAnswer holds that answers are whole, whatever is answered.
func FuzzAnswer(f *testing.F) {
	seeds(f)
	var b Builder
	f.Fuzz(func(t *testing.T, frame []byte) {
		if reply, err := b.ARPReply(frame, macB); err == nil && len(reply) != len(frame) {
			t.Errorf("a reply of %d bytes to a request of %d", len(reply), len(frame))
		}
		if advert, err := b.Advertise(frame, macB); err == nil {
			whole(t, advert, layers.LayerTypeICMPv6NeighborAdvertisement)
		}
		if answer, ok := b.TooBig4(frame, gateway4, mtu); ok {
			whole(t, answer, layers.LayerTypeICMPv4)
		}
		if answer, ok := b.TooBig6(frame, gateway6, mtu); ok {
			whole(t, answer, layers.LayerTypeICMPv6)
		}
	})
}

func whole(t *testing.T, frame []byte, want gopacket.LayerType) {
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.DecodeOptions{NoCopy: true})
	if p.Layer(want) == nil {
		t.Errorf("no %v in %v", want, p)
	}
	if p.Metadata().Truncated {
		t.Errorf("truncated: %v", p)
	}
}
