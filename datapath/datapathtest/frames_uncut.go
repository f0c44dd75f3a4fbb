package datapathtest

import (
	"encoding/binary"
	"slices"

	"github.com/google/gopacket/layers"

	"github.com/ovlnet/ovl/datapath"
)

// Packets that a sender leaves to be cut by whoever comes last, as stacks do with
// what is to go by a device that can (TSO, UDP GSO).

// cutUp is the packets that one which is still to be cut becomes, of TCP or UDP without
// extension headers: each with headers of its own, the last one with what is left.
func (f flow) cutUp(from, to End, payload string, size int) [][]byte {
	var out [][]byte
	for i := 0; i*size < len(payload); i++ {
		piece := payload[i*size : min(len(payload), (i+1)*size)]
		frame := Datagram(from, to, piece)
		if f.protocol == protoTCP {
			s := uncutSegment
			s.Seq += uint32(i * size)
			if (i+1)*size < len(payload) {
				s.Flags &^= TCPPSH // RFC 9293: the end of what was handed over at once
			}
			s.Payload = piece
			frame = s.Frame(from, to)
		}
		if f.family == IPv4 {
			frame = mendIP(Patch(frame, OuterIPOffset+4, uint16Bytes(i)...), OuterIPOffset)
		}
		out = append(out, frame)
	}
	return out
}

var uncutSegment = Segment{Flags: TCPPSH | TCPACK, Seq: 1001, Ack: 5001, Window: 500}

// forthUncut is a step in which a packet goes from the client that is to be cut.
func (f flow) forthUncut(payload string, size int) Step {
	whole := datagram(payload)
	if f.protocol == protoTCP {
		s := uncutSegment
		s.Payload = payload
		whole = segment(s)
	}
	s := Step{In: []Frame{f.sends(whole)}, Segments: size}
	for _, frame := range f.cutUp(f.seen, f.target, payload, size) {
		s.Out = append(s.Out, f.site.outTo(f.backend, frame))
	}
	return s
}

// upperHeader is where the transport header of a frame stands, and how long it is.
func upperHeader(frame []byte) (at, length int, protocol layers.IPProtocol) {
	at, protocol = OuterIPOffset+20, layers.IPProtocol(frame[OuterIPOffset+9])
	if IsIPv6(frame) {
		at, protocol = OuterIPOffset+40, layers.IPProtocol(frame[OuterIPOffset+6])
	}
	if protocol == layers.IPProtocolTCP {
		return at, int(frame[at+12]>>4) * 4, protocol
	}
	return at, 8, protocol
}

// virtio is a frame behind a struct virtio_net_hdr (linux/virtio_net.h) which says
// that it is to be cut, with only the sum of the pseudo-header for its checksum.
func virtio(frame []byte, size int) []byte {
	const needsChecksum, tcp4, tcp6, udp = 1, 1, 4, 5
	at, length, protocol := upperHeader(frame)
	kind, sumAt := byte(udp), 6
	if protocol == layers.IPProtocolTCP {
		kind, sumAt = tcp4, 16
		if IsIPv6(frame) {
			kind = tcp6
		}
	}
	pseudo := slices.Clone(frame[at-8 : at]) // IPv4: the addresses
	if IsIPv6(frame) {
		pseudo = slices.Clone(frame[at-32 : at])
	}
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(frame)-at))
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(protocol))
	out := []byte{needsChecksum, kind}
	for _, n := range []int{at + length, size, at, sumAt} {
		out = binary.NativeEndian.AppendUint16(out, uint16(n))
	}
	return append(out, Patch(frame, at+sumAt, uint16Bytes(int(^checksum(pseudo)))...)...)
}

// sizeUncut is what a frame counts for that is to be cut: what becomes of it.
func sizeUncut(frame []byte, size int) datapath.Counter {
	whole := sizeOf(frame)
	at, length, _ := upperHeader(frame)
	headers := at + length
	n := (len(frame) - headers + size - 1) / size
	return datapath.Counter{Packets: uint64(n), Bytes: whole.Bytes + uint64((n-1)*headers)}
}
