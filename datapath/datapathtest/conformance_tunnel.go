package datapathtest

import (
	"encoding/binary"
	"fmt"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// What a sender of tunnel packets may choose, and what it may not.

// Bounds of the outer source port, docs/wire.md.
const (
	minSourcePort = 32768
	maxSourcePort = 60999
)

// tunnelPacket finds the headers of a frame that is UDP, of either family:
// where the IP and the UDP header begin. False for other frames.
func tunnelPacket(frame []byte) (ip, udp int, ok bool) {
	const eth, ip4, ip6, udpLen, protocolUDP = 14, 20, 40, 8, 17
	if len(frame) < eth+ip4+udpLen {
		return 0, 0, false
	}
	switch {
	case binary.BigEndian.Uint16(frame[12:]) == uint16(layers.EthernetTypeIPv4) && frame[eth+9] == protocolUDP:
		ip, udp = eth, eth+ip4
	case binary.BigEndian.Uint16(frame[12:]) == uint16(layers.EthernetTypeIPv6) && frame[eth+6] == protocolUDP:
		ip, udp = eth, eth+ip6
	default:
		return 0, 0, false
	}
	return ip, udp, len(frame) >= udp+udpLen && binary.BigEndian.Uint16(frame[udp+2:]) == vxlanPort
}

// masked returns a tunnel packet with its sender's choices taken out: the
// source port, an IPv4 ID and the checksum over it if that is right, an IPv6
// flow label. Other frames it returns as they are.
func masked(frame []byte) []byte {
	ip, udp, ok := tunnelPacket(frame)
	if !ok {
		return frame
	}
	out := Patch(frame, udp, 0, 0)
	if udp-ip == 20 {
		if checksum(out[ip:udp]) == 0 {
			copy(out[ip+10:], []byte{0, 0})
		}
		copy(out[ip+4:], []byte{0, 0})
	} else {
		out[ip+1] &= 0xf0
		copy(out[ip+2:], []byte{0, 0})
	}
	return out
}

// checkFlow wants the source port of a tunnel packet to be in its range, and
// to be that of all other packets of the inner flow.
func (l *lab) checkFlow(frame []byte) error {
	_, udp, ok := tunnelPacket(frame)
	if !ok {
		return nil
	}
	port := binary.BigEndian.Uint16(frame[udp:])
	if port < minSourcePort || port > maxSourcePort {
		return fmt.Errorf("outer source port %d, want one of %d to %d", port, minSourcePort, maxSourcePort)
	}
	if len(frame) < l.site.Inner {
		return nil
	}
	flow := flowOf(frame[l.site.Inner:])
	if flow == "" {
		return nil
	}
	if before, ok := l.flows[flow]; ok && before != port {
		return fmt.Errorf("outer source port %d, but %d for earlier packets of the flow %s", port, before, flow)
	}
	l.flows[flow] = port
	return nil
}

// flowOf names the TCP or UDP flow of a frame; "" for what is in none.
// Fragments are in none: only the first of them could be told.
func flowOf(frame []byte) string {
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.NoCopy)
	net, transport := p.NetworkLayer(), p.TransportLayer()
	if net == nil || transport == nil {
		return ""
	}
	return fmt.Sprint(net.NetworkFlow(), transport.LayerType(), transport.TransportFlow())
}
