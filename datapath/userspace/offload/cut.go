package offload

import "encoding/binary"

// maxHeads bounds what a Cutter keeps for heads, in bytes: 2500 segments with
// common headers, of which 64 KiB make so many only with a GSO size that no TCP
// agrees to (Linux: at least 48 bytes).
const maxHeads = 256 << 10

// Cutter cuts large packets into segments, as tcp_gso_segment and
// __udp_gso_segment of Linux do. It keeps the memory of their heads for the next
// frame. The zero value is ready.
type Cutter struct {
	heads   []byte // one behind the other
	stride  int    // length of a head
	payload []byte // of all segments, in the frame
	size, n int
}

// Cut cuts f, or leaves it whole if it is no GSO frame, and makes the checksums
// that were left open. Segments are valid until the next Cut; each begins with
// prefix. What f's header says of lengths and offsets is not believed where it is
// cut: headers are found in the frame. Errors wrap ErrMalformed; there are no
// segments then.
func (c *Cutter) Cut(prefix []byte, f Frame) error {
	c.n = 0
	if f.GSOType == GSONone {
		return c.whole(prefix, f)
	}
	var l layout
	if !l.parse(f.Data) || !l.is(f.GSOType) {
		return errType
	}
	if f.GSOSize == 0 {
		return errSize
	}
	c.size = int(f.GSOSize)
	c.payload = f.Data[l.payload:]
	if l.payload-l.l3+min(c.size, len(c.payload)) > 65535 {
		return errTooLong
	}
	n := max(1, (len(c.payload)+c.size-1)/c.size)
	c.stride = len(prefix) + l.payload
	if n*c.stride > maxHeads {
		return errTooMany
	}
	c.grow(n * c.stride)
	c.n = n
	if l.proto == protoTCP {
		c.cutTCP(prefix, f, &l)
	} else {
		c.cutUDP(prefix, f, &l)
	}
	return nil
}

// Len returns the number of segments.
func (c *Cutter) Len() int { return c.n }

// Segment returns segment i: what Cut was given as prefix and all headers of the
// segment, and its part of the frame.
func (c *Cutter) Segment(i int) (head, payload []byte) {
	from, to := i*c.stride, (i+1)*c.stride
	head = c.heads[from:to:to]
	from = i * c.size
	return head, c.payload[from:min(from+c.size, len(c.payload))]
}

func (c *Cutter) whole(prefix []byte, f Frame) error {
	if err := Complete(f); err != nil {
		return err
	}
	c.stride = len(prefix)
	c.grow(c.stride)
	copy(c.heads, prefix)
	c.payload = f.Data
	c.size = len(f.Data)
	c.n = 1
	return nil
}

func (c *Cutter) grow(n int) {
	if cap(c.heads) < n {
		c.heads = make([]byte, n)
	}
	c.heads = c.heads[:n]
}

// is returns whether the packet is one of the GSO type.
func (l *layout) is(gsoType uint8) bool {
	switch gsoType {
	case GSOTCPv4, GSOTCPv4 | GSOECN:
		return l.proto == protoTCP && !l.v6
	case GSOTCPv6, GSOTCPv6 | GSOECN:
		return l.proto == protoTCP && l.v6
	case GSOUDP:
		return l.proto == protoUDP
	}
	return false
}

// base returns the sum of what all segments have in common: the pseudo-header but
// its length, the transport's header but its checksum.
func (l *layout) base(f Frame) uint64 {
	transport := f.Data[l.l4:l.payload]
	at := l.csumOffset()
	pseudo := l.pseudo(f.Data, 0)
	if !l.plain && f.Flags&NeedsCsum != 0 && int(f.CsumStart) == l.l4 && int(f.CsumOffset) == at {
		// Behind a routing header or a source route the address that counts is
		// not where it is looked for, and the sender has counted it.
		n := word(uint16(len(f.Data) - l.l4))
		pseudo = uint64(binary.NativeEndian.Uint16(transport[at:])) + (0xffff - n)
	}
	return Sum(transport, pseudo) + less(transport[at:])
}

// base4 returns the sum of an IPv4 header but its length, ID and checksum.
func base4(ip []byte) uint64 {
	return Sum(ip, 0) + less(ip[2:]) + less(ip[4:]) + less(ip[10:])
}

func (c *Cutter) cutTCP(prefix []byte, f Frame, l *layout) {
	headers := f.Data[:l.payload]
	tcp := headers[l.l4:]
	seq := binary.BigEndian.Uint32(tcp[tcpSeq:])
	base := l.base(f) + less(tcp[tcpSeq:]) + less(tcp[tcpSeq+2:]) + less(tcp[tcpOffset:])
	ip := l.startIP(headers)
	last := c.n - 1
	for i := range c.n {
		head, payload := c.Segment(i)
		copy(head[copy(head, prefix):], headers)
		frame := head[len(prefix):]
		ip.put(frame, l, i, len(payload))

		tcp := frame[l.l4:]
		binary.BigEndian.PutUint32(tcp[tcpSeq:], seq)
		seq += uint32(len(payload))
		if i != 0 {
			tcp[tcpFlags] &^= flagCWR
		}
		if i != last {
			tcp[tcpFlags] &^= flagFIN | flagPSH
		}
		s := base + word(uint16(len(tcp)+len(payload))) +
			uint64(binary.NativeEndian.Uint32(tcp[tcpSeq:])) +
			uint64(binary.NativeEndian.Uint16(tcp[tcpOffset:]))
		binary.BigEndian.PutUint16(tcp[tcpCsum:], ^Fold(Sum(payload, s)))
	}
}

func (c *Cutter) cutUDP(prefix []byte, f Frame, l *layout) {
	headers := f.Data[:l.payload]
	base := l.base(f) + less(headers[l.l4+udpLength:])
	ip := l.startIP(headers)
	for i := range c.n {
		head, payload := c.Segment(i)
		copy(head[copy(head, prefix):], headers)
		frame := head[len(prefix):]
		ip.put(frame, l, i, len(payload))

		udp := frame[l.l4:]
		n := uint16(udpLen + len(payload))
		binary.BigEndian.PutUint16(udp[udpLength:], n)
		// Once in the pseudo-header, once in the header.
		sum := ^Fold(Sum(payload, base+2*word(n)))
		if sum == 0 {
			sum = 0xffff
		}
		binary.BigEndian.PutUint16(udp[udpCsum:], sum)
	}
}

// numbering is what differs between the IP headers of segments.
type numbering struct {
	id  uint16
	sum uint64 // of an IPv4 header but length, ID, checksum
}

func (l *layout) startIP(headers []byte) numbering {
	if l.v6 {
		return numbering{}
	}
	ip := headers[l.l3:l.l4]
	return numbering{id: binary.BigEndian.Uint16(ip[4:]), sum: base4(ip)}
}

// put makes the IP header that of segment i.
func (n *numbering) put(frame []byte, l *layout, i, payload int) {
	ip := frame[l.l3:l.l4]
	length := l.payload - l.l3 + payload
	if l.v6 {
		binary.BigEndian.PutUint16(ip[4:], uint16(length-40))
		return
	}
	id := n.id + uint16(i)
	binary.BigEndian.PutUint16(ip[2:], uint16(length))
	binary.BigEndian.PutUint16(ip[4:], id)
	binary.BigEndian.PutUint16(ip[10:], ^Fold(n.sum+word(uint16(length))+word(id)))
}
