package datapathtest

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// What a sender of tunnel packets may choose, and what it may not.

// Bounds of the outer source port, docs/wire.md.
const (
	minSourcePort = 32768
	maxSourcePort = 60999
)

// ipHeader finds the IP header of a frame without tags, and where it ends if it
// has no options. False for other frames.
func ipHeader(frame []byte) (start, end int, ok bool) {
	const eth, ip4, ip6 = 14, 20, 40
	if len(frame) < eth {
		return 0, 0, false
	}
	switch layers.EthernetType(binary.BigEndian.Uint16(frame[12:])) {
	case layers.EthernetTypeIPv4:
		return eth, eth + ip4, len(frame) >= eth+ip4
	case layers.EthernetTypeIPv6:
		return eth, eth + ip6, len(frame) >= eth+ip6
	}
	return 0, 0, false
}

// tunnelPacket finds the UDP header of a frame to the tunnel's port. False for
// other frames.
func tunnelPacket(frame []byte) (udp int, ok bool) {
	start, end, ok := ipHeader(frame)
	if !ok || len(frame) < end+8 {
		return 0, false
	}
	protocol := frame[start+9]
	if isIPv6(frame, start) {
		protocol = frame[start+6]
	}
	isUDP := layers.IPProtocol(protocol) == layers.IPProtocolUDP
	return end, isUDP && binary.BigEndian.Uint16(frame[end+2:]) == vxlanPort
}

// masked returns a frame of the underlay with its sender's choices taken out: an
// IPv4 ID and the checksum over it if that is right, an IPv6 flow label, and of a
// tunnel packet the source port, and the UDP checksum if that is right.
func masked(frame []byte) []byte {
	start, end, ok := ipHeader(frame)
	if !ok {
		return frame
	}
	out := slices.Clone(frame)
	if isIPv6(out, start) {
		out[start+1] &= 0xf0
		copy(out[start+2:], []byte{0, 0})
	} else {
		if checksum(out[start:end]) == 0 {
			copy(out[start+10:], []byte{0, 0})
		}
		copy(out[start+4:], []byte{0, 0})
	}
	if udp, ok := tunnelPacket(out); ok {
		if slices.Equal(WithUDPChecksum(frame, start), frame) {
			copy(out[udp+6:], []byte{0, 0})
		}
		copy(out[udp:], []byte{0, 0})
	}
	return out
}

// sourcePort is the outer one of a tunnel packet, 0 of another.
func sourcePort(frame []byte) uint16 {
	udp, ok := tunnelPacket(frame)
	if !ok {
		return 0
	}
	return binary.BigEndian.Uint16(frame[udp:])
}

// checkFlow wants the source port of a tunnel packet to be in its range, and
// to be that of all other packets of the inner flow.
func (l *lab) checkFlow(frame []byte) error {
	udp, ok := tunnelPacket(frame)
	if !ok {
		return nil
	}
	port := binary.BigEndian.Uint16(frame[udp:])
	if port < minSourcePort || port > maxSourcePort {
		return fmt.Errorf("outer source port %d, want one of %d to %d", port, minSourcePort, maxSourcePort)
	}
	l.sport = port
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

// flowOf names the TCP or UDP flow of a frame, or the packet that it is a fragment
// of: not all fragments have ports to go by, and yet they go one way. It is "" for
// what is neither.
func flowOf(frame []byte) string {
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.NoCopy)
	net, transport := p.NetworkLayer(), p.TransportLayer()
	if net == nil {
		return ""
	}
	const addresses = 12
	tags := frame[addresses : len(frame)-len(net.LayerContents())-len(net.LayerPayload())]
	flow := fmt.Sprintf("%x %s", tags, net.NetworkFlow())
	if ip, ok := net.(*layers.IPv4); ok && (ip.Flags&layers.IPv4MoreFragments != 0 || ip.FragOffset != 0) {
		return fmt.Sprintf("%s fragments of %s %d", flow, ip.Protocol, ip.Id)
	}
	if f, ok := p.Layer(layers.LayerTypeIPv6Fragment).(*layers.IPv6Fragment); ok {
		return fmt.Sprintf("%s fragments of %s %d", flow, f.NextHeader, f.Identification)
	}
	if transport == nil {
		return ""
	}
	return fmt.Sprintf("%s %s %s", flow, transport.LayerType(), transport.TransportFlow())
}
