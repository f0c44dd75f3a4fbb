package packet

import (
	"encoding/binary"
	"errors"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// errEnd ends the decoding of a frame whose reason is in the Packet. gopacket's own
// errors say more, and allocate.
var errEnd = errors.New("packet: not in order")

// decode reads any frame. Whatever a layer is to find is missing until it has: the
// decoder does not call layers of which not a byte is there.
func (p *Parser) decode(frame []byte) {
	if p.decoder == nil {
		in := header{packet: &p.packet}
		p.decoder = gopacket.NewDecodingLayerParser(layers.LayerTypeEthernet,
			&ethernet{header: in}, &tag{header: in}, &arp{header: in}, &ip4{header: in}, &ip6{header: in})
		p.decoder.IgnoreUnsupported = true
		p.decoder.IgnorePanic = true // no layer has any, and to catch them costs
		p.decoded = make([]gopacket.LayerType, 0, 1+maxTags+1)
	}
	p.packet = Packet{Framing: datapath.DropTruncated}
	// What it returns is errEnd, or nil for what there is no layer for.
	_ = p.decoder.DecodeLayers(frame, &p.decoded)
}

// header is what the layers have in common: where they put what they find.
type header struct {
	packet  *Packet
	next    gopacket.LayerType
	payload []byte
}

// NextLayerType implements gopacket.DecodingLayer.
func (h *header) NextLayerType() gopacket.LayerType { return h.next }

// LayerPayload implements gopacket.DecodingLayer.
func (h *header) LayerPayload() []byte { return h.payload }

// continues says what follows a frame's MACs or a tag, and what is missing so far.
func (h *header) continues(etherType uint16, payload []byte) {
	p := h.packet
	p.Inner, h.payload = etherType, payload
	missing := datapath.DropTruncated
	switch etherType {
	case TypeIPv4:
		h.next = layers.LayerTypeIPv4
	case TypeIPv6:
		h.next = layers.LayerTypeIPv6
	case TypeARP:
		h.next = layers.LayerTypeARP
		if p.Tagged {
			h.next, missing = gopacket.LayerTypeZero, 0
		}
	case Type8021Q, Type8021AD:
		h.next = layers.LayerTypeDot1Q
		p.Tagged = true
	default:
		h.next, missing = gopacket.LayerTypeZero, 0
	}
	if h.next == gopacket.LayerTypeZero {
		h.payload = nil
	}
	p.Framing, p.Header = 0, missing
	if p.Tagged {
		p.Framing, p.Header = missing, 0
	}
}

// ethernet is gopacket's layer for what is long enough for one.
type ethernet struct {
	header
	layer layers.Ethernet
}

// CanDecode implements gopacket.DecodingLayer.
func (*ethernet) CanDecode() gopacket.LayerClass { return layers.LayerTypeEthernet }

// DecodeFromBytes implements gopacket.DecodingLayer. An EtherType that is a length
// (IEEE 802.3) is an EtherType like others here.
func (e *ethernet) DecodeFromBytes(data []byte, df gopacket.DecodeFeedback) error {
	if len(data) < ethLen {
		return errEnd
	}
	if err := e.layer.DecodeFromBytes(data, df); err != nil {
		return errEnd
	}
	p := e.packet
	p.Dst, p.Src = encap.MAC(e.layer.DstMAC), encap.MAC(e.layer.SrcMAC)
	p.EtherType = binary.BigEndian.Uint16(data[12:])
	p.L3 = ethLen
	e.continues(p.EtherType, data[ethLen:])
	return nil
}

// tag is gopacket's layer for what is long enough for one, and not too many.
type tag struct {
	header
	layer layers.Dot1Q
}

// CanDecode implements gopacket.DecodingLayer.
func (*tag) CanDecode() gopacket.LayerClass { return layers.LayerTypeDot1Q }

// DecodeFromBytes implements gopacket.DecodingLayer.
func (t *tag) DecodeFromBytes(data []byte, df gopacket.DecodeFeedback) error {
	p := t.packet
	if len(data) < tagLen || p.L3 >= ethLen+maxTags*tagLen || (p.L3 == ethLen && len(data) < leastTagged-ethLen) {
		return errEnd
	}
	if err := t.layer.DecodeFromBytes(data, df); err != nil {
		return errEnd
	}
	p.L3 += tagLen
	t.continues(uint16(t.layer.Type), t.layer.Payload)
	return nil
}

// arp is gopacket's layer for what is ARP of IPv4 over Ethernet.
type arp struct {
	header
	layer layers.ARP
}

// CanDecode implements gopacket.DecodingLayer.
func (*arp) CanDecode() gopacket.LayerClass { return layers.LayerTypeARP }

// DecodeFromBytes implements gopacket.DecodingLayer. The lengths that a message
// has for its addresses are looked at before gopacket goes by them, and all of the
// hardware's type, of which gopacket keeps the lower half.
func (a *arp) DecodeFromBytes(data []byte, df gopacket.DecodeFeedback) error {
	p := a.packet
	a.payload = nil
	if len(data) < arpLen {
		return errEnd
	}
	p.Header = datapath.DropInnerMalformed
	if data[0] != 0 || data[4] != 6 || data[5] != 4 || a.layer.DecodeFromBytes(data, df) != nil {
		return errEnd
	}
	if a.layer.AddrType != layers.LinkTypeEthernet || a.layer.Protocol != layers.EthernetTypeIPv4 ||
		(a.layer.Operation != layers.ARPRequest && a.layer.Operation != layers.ARPReply) {
		return errEnd
	}
	p.Header = 0
	p.Request = a.layer.Operation == layers.ARPRequest
	p.SrcAddr, p.DstAddr = mapped(a.layer.SourceProtAddress), mapped(a.layer.DstProtAddress)
	return nil
}

// ip4 is not gopacket's layer, which refuses options that are not in order, and
// takes a packet that is cut short or has no length.
type ip4 struct{ header }

// CanDecode implements gopacket.DecodingLayer.
func (*ip4) CanDecode() gopacket.LayerClass { return layers.LayerTypeIPv4 }

// DecodeFromBytes implements gopacket.DecodingLayer. Behind a tag, all of the
// header has to be there, and no more is asked.
func (i *ip4) DecodeFromBytes(data []byte, _ gopacket.DecodeFeedback) error {
	p := i.packet
	if len(data) < ip4Len {
		return errEnd
	}
	if p.Tagged {
		p.Framing = 0
		return nil
	}
	p.Header = datapath.DropInnerMalformed
	length := int(data[0]&0x0f) * 4
	if data[0]>>4 != 4 || length < ip4Len || !fits4(data, length) {
		return errEnd
	}
	p.Header = 0
	p.SrcAddr, p.DstAddr = mapped(data[12:]), mapped(data[16:])
	p.TOS, p.Proto = data[1], data[9]
	return nil
}

// ip6 is not gopacket's layer, which refuses a packet without payload, walks the
// first extension header, and takes a packet that is cut short.
type ip6 struct{ header }

// CanDecode implements gopacket.DecodingLayer.
func (*ip6) CanDecode() gopacket.LayerClass { return layers.LayerTypeIPv6 }

// DecodeFromBytes implements gopacket.DecodingLayer, as ip4's.
func (i *ip6) DecodeFromBytes(data []byte, _ gopacket.DecodeFeedback) error {
	p := i.packet
	if len(data) < ip6Len {
		return errEnd
	}
	if p.Tagged {
		p.Framing = 0
		return nil
	}
	p.Header = datapath.DropInnerMalformed
	if data[0]>>4 != 6 || !fits6(data) {
		return errEnd
	}
	p.Header = 0
	p.SrcAddr, p.DstAddr = [16]byte(data[8:]), [16]byte(data[24:])
	p.TOS, p.Proto = data[0]<<4|data[1]>>4, data[6]
	return nil
}
