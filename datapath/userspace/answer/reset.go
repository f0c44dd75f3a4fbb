package answer

import (
	"encoding/binary"

	"github.com/google/gopacket/layers"
)

const (
	tcpLen      = 20
	tcpSeqAt    = 4
	tcpAckAt    = 8
	tcpOffsetAt = 12
	tcpFlagsAt  = 13

	flagFIN, flagSYN, flagRST, flagACK = 0x01, 0x02, 0x04, 0x10
)

// Reset returns the TCP reset for the sender of a frame of TCP without tag, whose
// TCP header stands at l4 from the Ethernet header on, from where the frame was to
// go: RFC 9293 section 3.10.7.1. False is a reset, which nobody answers.
func (b *Builder) Reset(frame []byte, l4 int) ([]byte, bool) {
	b.prepare()
	if len(frame) < l4+tcpLen || frame[l4+tcpFlagsAt]&flagRST != 0 {
		return nil, false
	}
	kind := etherType(frame)
	packet := b.turnRound(frame, kind)
	if packet == nil {
		return nil, false
	}
	length := 0
	if kind == layers.EthernetTypeIPv4 {
		copy(b.toIP[:4], packet[ip4SrcAt:])
		copy(b.fromIP[:4], packet[ip4DstAt:])
		length = packetLen4(packet)
	} else {
		b.toIP, b.fromIP = [16]byte(packet[ip6SrcAt:]), [16]byte(packet[ip6DstAt:])
		length = packetLen6(packet)
	}
	b.resetOf(frame[l4:l4+tcpLen], length-(l4-ethLen))

	err := b.quote(nil)
	if err != nil {
		return nil, false
	}
	if kind == layers.EthernetTypeIPv4 {
		b.ip4.TOS, b.ip4.Protocol = 0, layers.IPProtocolTCP
		if err = b.tcp.SetNetworkLayerForChecksum(&b.ip4); err == nil {
			err = b.tcp.SerializeTo(b.buf, fix)
		}
		if err == nil {
			err = b.ip4.SerializeTo(b.buf, fix)
		}
	} else {
		b.ip6.HopLimit, b.ip6.NextHeader = ttl, layers.IPProtocolTCP
		if err = b.tcp.SetNetworkLayerForChecksum(&b.ip6); err == nil {
			err = b.tcp.SerializeTo(b.buf, fix)
		}
		if err == nil {
			err = b.ip6.SerializeTo(b.buf, fix)
		}
	}
	return b.finish(frame, kind, err)
}

// resetOf sets the header of a reset for a segment of so many bytes, header
// included.
func (b *Builder) resetOf(segment []byte, length int) {
	flags := segment[tcpFlagsAt]
	b.tcp = layers.TCP{
		SrcPort: layers.TCPPort(binary.BigEndian.Uint16(segment[2:])), DstPort: layers.TCPPort(binary.BigEndian.Uint16(segment)),
		RST: true,
	}
	if flags&flagACK != 0 {
		b.tcp.Seq = binary.BigEndian.Uint32(segment[tcpAckAt:])
		return
	}
	taken := max(0, length-int(segment[tcpOffsetAt]>>4)*4)
	if flags&flagSYN != 0 {
		taken++
	}
	if flags&flagFIN != 0 {
		taken++
	}
	b.tcp.ACK = true
	b.tcp.Ack = binary.BigEndian.Uint32(segment[tcpSeqAt:]) + uint32(taken)
}
