package offload_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/ovlnet/ovl/datapath/userspace/offload"
)

// packet is what gopacket builds a frame of, checksums and lengths included.
type packet struct {
	v6, udp   bool
	tags      int
	extension bool // IPv6: destination options; IPv4: options
	id        uint16
	noDF      bool
	ttl, tos  uint8
	port      uint16
	seq, ack  uint32
	flags     string // of F S R P A U E C
	options   bool   // TCP timestamps
	payload   []byte
}

func (p packet) build(tb testing.TB) []byte {
	tb.Helper()
	var stack []gopacket.SerializableLayer
	kind := layers.EthernetTypeIPv4
	if p.v6 {
		kind = layers.EthernetTypeIPv6
	}
	eth := &layers.Ethernet{
		SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, EthernetType: kind,
	}
	stack = append(stack, eth)
	for i := range p.tags {
		tag := &layers.Dot1Q{VLANIdentifier: uint16(7 + i), Type: kind}
		if i+1 < p.tags {
			tag.Type = layers.EthernetTypeDot1Q
		}
		stack = append(stack, tag)
		eth.EthernetType = layers.EthernetTypeDot1Q
		if p.tags == 2 {
			eth.EthernetType = layers.EthernetTypeQinQ
		}
	}
	proto := layers.IPProtocolTCP
	if p.udp {
		proto = layers.IPProtocolUDP
	}
	ttl := p.ttl
	if ttl == 0 {
		ttl = 64
	}
	var network gopacket.NetworkLayer
	if p.v6 {
		ip := &layers.IPv6{
			Version: 6, NextHeader: proto, HopLimit: ttl, TrafficClass: p.tos, FlowLabel: 0x12345,
			SrcIP: net.ParseIP("fd00::1"), DstIP: net.ParseIP("fd00::2"),
		}
		network = ip
		stack = append(stack, ip)
		if p.extension {
			ip.NextHeader = layers.IPProtocolIPv6Destination
			pad := &layers.IPv6DestinationOption{OptionType: 1, OptionData: make([]byte, 4)}
			d := &layers.IPv6Destination{Options: []*layers.IPv6DestinationOption{pad}}
			d.NextHeader = proto
			stack = append(stack, d)
		}
	} else {
		ip := &layers.IPv4{
			Version: 4, Protocol: proto, TTL: ttl, TOS: p.tos, Id: p.id,
			SrcIP: net.IP{10, 0, 0, 1}, DstIP: net.IP{10, 0, 0, 2},
		}
		if !p.noDF {
			ip.Flags = layers.IPv4DontFragment
		}
		if p.extension {
			ip.Options = make([]layers.IPv4Option, 4) // end of list, which adds nothing to sums
		}
		network = ip
		stack = append(stack, ip)
	}
	if p.udp {
		udp := &layers.UDP{SrcPort: layers.UDPPort(5000 + p.port), DstPort: 53}
		if err := udp.SetNetworkLayerForChecksum(network); err != nil {
			tb.Fatal(err)
		}
		stack = append(stack, udp)
	} else {
		tcp := &layers.TCP{SrcPort: layers.TCPPort(5000 + p.port), DstPort: 80, Seq: p.seq, Ack: p.ack, Window: 500}
		for _, f := range p.flags {
			switch f {
			case 'F':
				tcp.FIN = true
			case 'S':
				tcp.SYN = true
			case 'R':
				tcp.RST = true
			case 'P':
				tcp.PSH = true
			case 'A':
				tcp.ACK = true
			case 'U':
				tcp.URG = true
			case 'E':
				tcp.ECE = true
			case 'C':
				tcp.CWR = true
			}
		}
		if p.options {
			tcp.Options = []layers.TCPOption{
				{OptionType: layers.TCPOptionKindNop}, {OptionType: layers.TCPOptionKindNop},
				{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: []byte{1, 2, 3, 4, 5, 6, 7, 8}},
			}
		}
		if err := tcp.SetNetworkLayerForChecksum(network); err != nil {
			tb.Fatal(err)
		}
		stack = append(stack, tcp)
	}
	stack = append(stack, gopacket.Payload(p.payload))
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, stack...); err != nil {
		tb.Fatal(err)
	}
	// Without the padding to 60 bytes, which no virtual device adds.
	return append([]byte(nil), buf.Bytes()[:p.headers()+len(p.payload)]...)
}

func (p packet) String() string {
	return fmt.Sprintf("v6=%v udp=%v tags=%d extension=%v flags=%s %d bytes",
		p.v6, p.udp, p.tags, p.extension, p.flags, len(p.payload))
}

// transport returns where the transport header begins, and the offset of the
// checksum in it.
func (p packet) transport() (start, offset int) {
	start = 14 + 4*p.tags + 20
	if p.v6 {
		start += 20
	}
	if p.extension {
		start += 4
		if p.v6 {
			start += 4
		}
	}
	if p.udp {
		return start, 6
	}
	return start, 16
}

// headers returns the length of all headers.
func (p packet) headers() int {
	start, _ := p.transport()
	switch {
	case p.udp:
		return start + 8
	case p.options:
		return start + 32
	}
	return start + 20
}

// unfinish leaves of the checksum the pseudo-header's sum, as the kernel does for
// a device to finish.
func (p packet) unfinish(frame []byte) []byte {
	start, offset := p.transport()
	proto := uint32(6)
	if p.udp {
		proto = 17
	}
	s := proto + uint32(len(frame)-start)
	addresses := frame[14+4*p.tags+12:][:8]
	if p.v6 {
		addresses = frame[14+4*p.tags+8:][:32]
	}
	for i := 0; i < len(addresses); i += 2 {
		s += uint32(binary.BigEndian.Uint16(addresses[i:]))
	}
	for s>>16 != 0 {
		s = s>>16 + s&0xffff
	}
	binary.BigEndian.PutUint16(frame[start+offset:], uint16(s))
	return frame
}

// header is what a device says of a frame with an unfinished checksum, cut into
// segments of size bytes if that is not zero.
func (p packet) header(size int) offload.Header {
	start, offset := p.transport()
	h := offload.Header{Flags: offload.NeedsCsum, CsumStart: uint16(start), CsumOffset: uint16(offset)}
	if size == 0 {
		return h
	}
	h.HdrLen, h.GSOSize = uint16(p.headers()), uint16(size)
	switch {
	case p.udp:
		h.GSOType = offload.GSOUDP
	case p.v6:
		h.GSOType = offload.GSOTCPv6
	default:
		h.GSOType = offload.GSOTCPv4
	}
	return h
}

// segments builds what the packet is to be cut into.
func (p packet) segments(tb testing.TB, size int) [][]byte {
	tb.Helper()
	var frames [][]byte
	rest, flags := p.payload, p.flags
	for i := 0; ; i++ {
		q := p
		q.id = p.id + uint16(i)
		q.seq = p.seq + uint32(i*size)
		q.payload = rest[:min(size, len(rest))]
		rest = rest[len(q.payload):]
		q.flags = ""
		for _, f := range flags {
			if f == 'C' && i > 0 || (f == 'P' || f == 'F') && len(rest) > 0 {
				continue
			}
			q.flags += string(f)
		}
		frames = append(frames, q.build(tb))
		if len(rest) == 0 {
			return frames
		}
	}
}

func random(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func join(pieces [][]byte) []byte {
	var b []byte
	for _, p := range pieces {
		b = append(b, p...)
	}
	return b
}

func clone(b []byte) []byte { return append([]byte(nil), b...) }
