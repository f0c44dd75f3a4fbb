package packet

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/userspace/offload"
)

// FuzzParse holds what is found against plain reading of the rules, and what is in
// order against gopacket's own layers.
func FuzzParse(f *testing.F) {
	for _, frame := range everything() {
		f.Add(frame)
	}
	var p Parser
	f.Fuzz(func(t *testing.T, frame []byte) {
		of := offload.Frame{Data: slices.Clone(frame)}
		if Untag(&of) && hasPriority(of.Data) {
			t.Error("a priority tag is left")
		}
		agree(t, "fuzzed", frame)
		got := *p.Parse(frame)
		framing, header := judge(frame)
		if got.Framing != framing || got.Header != header {
			t.Errorf("%v, %v, want %v, %v: %+v", got.Framing, got.Header, framing, header, got)
		}
		if framing == 0 && header == 0 && !got.Tagged {
			second(t, frame, &got)
		}
	})
}

// judge says of a frame what a Packet has as Framing and Header, in the order and
// the words of the kernel datapath's programs.
func judge(frame []byte) (framing, header datapath.DropReason) {
	if len(frame) < 14 {
		return truncated, 0
	}
	if isTag(binary.BigEndian.Uint16(frame[12:])) {
		// what the device leaves of the frame, and of its tag the type behind
		if len(frame) < 20 || !wholeBehindTags(slices.Delete(slices.Clone(frame), 12, 16)) {
			return truncated, 0
		}
		return 0, 0
	}
	rest := frame[14:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case TypeIPv4:
		if len(rest) < 20 {
			return 0, truncated
		}
		ihl, tot := int(rest[0]&15), int(rest[2])<<8|int(rest[3])
		if rest[0]>>4 != 4 || ihl < 5 || (len(rest) <= 0xffff && (tot < ihl*4 || tot > len(rest))) {
			return 0, malformed
		}
	case TypeIPv6:
		if len(rest) < 40 {
			return 0, truncated
		}
		if rest[0]>>4 != 6 || (int(rest[4])<<8|int(rest[5]))+40 > len(rest) {
			return 0, malformed
		}
	case TypeARP:
		if len(rest) < 28 {
			return 0, truncated
		}
		if string(rest[:6]) != "\x00\x01\x08\x00\x06\x04" || rest[6] != 0 || rest[7] < 1 || rest[7] > 2 {
			return 0, malformed
		}
	}
	return 0, 0
}

func wholeBehindTags(frame []byte) bool {
	at := 12
	for range 8 {
		if len(frame) < at+2 {
			return false
		}
		etherType := binary.BigEndian.Uint16(frame[at:])
		at += 2
		switch etherType {
		case 0x0800:
			return len(frame) >= at+20
		case 0x86dd:
			return len(frame) >= at+40
		case 0x8100, 0x88a8:
			at += 2
		default:
			return true
		}
	}
	return false
}

// second asks gopacket about a frame that is in order. It refuses some of those:
// options that are not in order, a payload of no length, jumbograms.
func second(t *testing.T, frame []byte, got *Packet) {
	switch got.EtherType {
	case TypeIPv4:
		var ip layers.IPv4
		if ip.DecodeFromBytes(frame[14:], gopacket.NilDecodeFeedback) != nil {
			return
		}
		if string(ip.SrcIP) != string(got.SrcAddr[12:]) || string(ip.DstIP) != string(got.DstAddr[12:]) || ip.TOS != got.TOS ||
			uint8(ip.Protocol) != got.Proto {
			t.Errorf("%+v is %+v", got, ip)
		}
	case TypeIPv6:
		var ip layers.IPv6
		if ip.DecodeFromBytes(frame[14:], gopacket.NilDecodeFeedback) != nil {
			return
		}
		if string(ip.SrcIP) != string(got.SrcAddr[:]) || string(ip.DstIP) != string(got.DstAddr[:]) || ip.TrafficClass != got.TOS ||
			uint8(ip.NextHeader) != got.Proto {
			t.Errorf("%+v is %+v", got, ip)
		}
	case TypeARP:
		var a layers.ARP
		if err := a.DecodeFromBytes(frame[14:], gopacket.NilDecodeFeedback); err != nil {
			t.Fatal(err)
		}
		if string(a.SourceProtAddress) != string(got.SrcAddr[12:]) || string(a.DstProtAddress) != string(got.DstAddr[12:]) ||
			(a.Operation == layers.ARPRequest) != got.Request {
			t.Errorf("%+v is %+v", got, a)
		}
	}
}
