package offload

import "encoding/binary"

const (
	// A run has no more frames: writev takes 1024 pieces.
	maxPieces = 128
	// UDP_MAX_SEGMENTS before Linux 6.9: a TAP refuses more.
	maxDatagrams = 64
	maxPacket    = 65535
)

// Run merges frames that follow one another in a TCP connection or a flow of
// datagrams into one, as GRO of Linux does: only what Cutter makes the same frames
// of again. It holds no copy: the frames belong to it until Reset.
type Run struct {
	// MTU is the largest IP packet of the network, in bytes. A peer whose tunnel
	// has no wire below hands over packets longer than that in one datagram, to
	// be cut wherever they go. 0: any packet may be as long as it is.
	MTU int
	// Datagram is how many bytes of payload each datagram has of a frame of UDP
	// that is to be cut, however long it is: their boundaries mean something.
	// 0: nobody has said so.
	Datagram int
	// UDP also merges datagrams, for devices that can cut them (TUN_F_USO4 and
	// TUN_F_USO6, Linux 6.2).
	UDP bool

	pieces [maxPieces][]byte // the first frame, and the payload of the others
	n      int
	total  int // bytes in pieces

	at         layout // of the first frame
	transport  bool   // at is valid: it is TCP or UDP, whole
	unfinished bool   // the checksums are still pseudo-header sums
	closed     bool   // nothing more goes in
	checked    bool   // the first frame's checksums are right
	sameID     bool   // IPv4 IDs do not count up

	base  uint64 // pseudo-header's sum without its length
	size  int    // payload of all frames but the last
	flags uint8  // TCP flags of the first frame without CWR
	tail  uint8  // PSH and FIN of the last frame
}

// Reset makes the run empty and lets go of its frames.
func (r *Run) Reset() {
	clear(r.pieces[:r.n])
	r.n = 0
}

// Empty returns whether there is no frame in the run.
func (r *Run) Empty() bool { return r.n == 0 }

// Add appends a frame that begins with its Ethernet header, if it continues the
// run, and returns whether it does. An empty run takes any frame.
func (r *Run) Add(frame []byte) bool {
	if r.n == 0 {
		r.start(frame)
		return true
	}
	if r.closed || !r.continues(frame) {
		return false
	}
	if !r.checked {
		// Only now: a frame that stays alone is its receiver's to check.
		if !r.valid(r.pieces[0]) {
			r.closed = true
			return false
		}
		r.checked = true
	}
	if !r.valid(frame) {
		return false
	}
	if r.n == 1 {
		r.sameID = !r.at.v6 && id(frame) == id(r.pieces[0])
	}
	payload := frame[r.at.payload:]
	r.pieces[r.n] = payload
	r.n++
	r.total += len(payload)
	if r.at.proto == protoTCP {
		r.tail = frame[r.at.l4+tcpFlags] & (flagPSH | flagFIN)
	}
	r.closed = len(payload) < r.size || r.tail != 0 || r.n == maxPieces ||
		r.at.proto == protoUDP && r.n == maxDatagrams
	return true
}

// start makes frame the first.
func (r *Run) start(frame []byte) {
	r.pieces[0], r.n, r.total = frame, 1, len(frame)
	r.transport, r.closed, r.checked, r.sameID, r.tail = false, true, false, false, 0
	l := &r.at
	if !l.parse(frame) || l.end > len(frame) || l.end < l.payload {
		return
	}
	length := l.end - l.l4
	if l.proto == protoUDP && int(binary.BigEndian.Uint16(frame[l.l4+udpLength:])) != length {
		return
	}
	r.transport = true
	r.base = l.pseudo(frame, 0)
	r.unfinished = r.isUnfinished(frame, length)
	if !l.plain || l.end != len(frame) || r.tooLong() {
		return
	}
	r.size = l.end - l.payload
	if l.proto == protoUDP {
		r.closed = !r.UDP
		return
	}
	flags := frame[l.l4+tcpFlags]
	r.flags = flags &^ flagCWR
	r.closed = flags&(flagSYN|flagRST|flagURG|flagPSH|flagFIN) != 0
}

// tooLong returns whether the first frame is to be cut, being what a peer's TCP
// has handed to its tunnel in one piece.
func (r *Run) tooLong() bool {
	return r.MTU != 0 && len(r.pieces[0])-etherLen > r.MTU
}

// isUnfinished returns whether the checksum is no more than the pseudo-header's
// sum: what is left of it where the kernel leaves it to a device (CHECKSUM_PARTIAL).
// One time in 65536 a finished one looks the same; then finishing it again yields
// what is there.
func (r *Run) isUnfinished(frame []byte, length int) bool {
	return binary.BigEndian.Uint16(frame[r.at.csum():]) == Fold(r.base+word(uint16(length)))
}

// continues returns whether a frame has the headers of the next.
func (r *Run) continues(frame []byte) bool {
	l, first := &r.at, r.pieces[0]
	n := len(frame) - l.payload
	if n <= 0 || n > r.size || r.total+n-etherLen > maxPacket {
		return false
	}
	if !sameEther(frame, first) {
		return false
	}
	if l.v6 {
		if !sameIPv6(frame, first) {
			return false
		}
	} else if !sameIPv4(frame, first) || !r.nextID(frame) {
		return false
	}
	if l.proto == protoUDP {
		udp := frame[l.l4:l.payload]
		return sameWord(udp, first[l.l4:]) && int(binary.BigEndian.Uint16(udp[udpLength:])) == udpLen+n
	}
	return r.nextTCP(frame[l.l4:l.payload], first[l.l4:l.payload])
}

func (r *Run) nextID(frame []byte) bool {
	first, next := id(r.pieces[0]), id(frame)
	if next == first && (r.n == 1 || r.sameID) {
		// RFC 6864: what may not be fragmented needs no ID, and some set none.
		return frame[etherLen+6]&0x40 != 0
	}
	return next == first+uint16(r.n) && !r.sameID
}

func (r *Run) nextTCP(tcp, first []byte) bool {
	next := binary.BigEndian.Uint32(first[tcpSeq:]) + uint32(r.total-r.at.payload)
	return binary.BigEndian.Uint32(tcp[tcpSeq:]) == next && sameTCP(tcp, first) &&
		tcp[tcpFlags]&^(flagPSH|flagFIN) == r.flags
}

// valid returns whether the checksums of a frame are right, or unfinished in a run
// where all are. Those written 0xffff where arithmetic has 0 as well are not: to
// cut the packet again would not yield them.
func (r *Run) valid(frame []byte) bool {
	l := &r.at
	if !l.v6 {
		ip := frame[etherLen : etherLen+20]
		if Fold(Sum(ip, 0)) != 0xffff || binary.BigEndian.Uint16(ip[10:]) == 0xffff {
			return false
		}
	}
	length := len(frame) - l.l4
	if r.unfinished {
		return r.isUnfinished(frame, length)
	}
	return r.isFinished(frame, length)
}

// isFinished returns whether the transport's checksum is there and right.
func (r *Run) isFinished(frame []byte, length int) bool {
	l := &r.at
	sum := binary.BigEndian.Uint16(frame[l.csum():])
	if l.proto == protoTCP && sum == 0xffff || l.proto == protoUDP && sum == 0 {
		return false
	}
	return Fold(Sum(frame[l.l4:l.l4+length], r.base+word(uint16(length)))) == 0xffff
}

// Frame returns the run as one frame: its header, and its pieces in the order in
// which they are to be written. The headers of the first frame have then been
// changed, so that no further Add may follow. A frame that stayed alone, and needs
// nothing done, is what it was. The pieces are valid until Reset.
func (r *Run) Frame() (h Header, pieces [][]byte) {
	switch {
	case r.n > 1:
		h = r.merge()
	case r.n == 1 && r.transport:
		h = r.alone()
	}
	return h, r.pieces[:r.n]
}

// merge makes the first frame's headers those of the whole.
func (r *Run) merge() Header {
	l, first := &r.at, r.pieces[0]
	r.closed = true
	ip := first[l.l3:l.l4]
	if l.v6 {
		binary.BigEndian.PutUint16(ip[4:], uint16(r.total-etherLen-40))
	} else {
		binary.BigEndian.PutUint16(ip[2:], uint16(r.total-etherLen))
		binary.BigEndian.PutUint16(ip[10:], 0)
		binary.BigEndian.PutUint16(ip[10:], ^Fold(Sum(ip, 0)))
	}
	length := r.total - l.l4
	if l.proto == protoUDP {
		binary.BigEndian.PutUint16(first[l.l4+udpLength:], uint16(length))
	} else {
		first[l.l4+tcpFlags] |= r.tail
	}
	binary.BigEndian.PutUint16(first[l.csum():], Fold(r.base+word(uint16(length))))
	return r.gso(r.size)
}

// alone returns the header of a frame that stayed alone. One with a wrong checksum
// is left to its receiver.
func (r *Run) alone() Header {
	l, first := &r.at, r.pieces[0]
	length := l.end - l.l4
	// What the Ethernet header and tags take away from each segment as well.
	size := r.MTU - (l.payload - etherLen)
	uncut := r.tooLong()
	if l.proto == protoUDP && r.Datagram > 0 {
		size, uncut = min(size, r.Datagram), true
	}
	if uncut && l.end == len(first) && size > 0 && size < l.end-l.payload {
		if r.unfinished {
			return r.gso(size)
		}
		if r.isFinished(first, length) {
			// Right: so nothing is lost when it is made again for each segment.
			binary.BigEndian.PutUint16(first[l.csum():], Fold(r.base+word(uint16(length))))
			r.unfinished = true
			return r.gso(size)
		}
	}
	if r.unfinished {
		return l.needsCsum()
	}
	return Header{}
}

// gso is the header of a packet to be cut into segments with size bytes of payload.
func (r *Run) gso(size int) Header {
	l := &r.at
	h := l.needsCsum()
	h.HdrLen, h.GSOSize = uint16(l.payload), uint16(size)
	switch {
	case l.proto == protoUDP:
		h.GSOType = GSOUDP
		return h
	case l.v6:
		h.GSOType = GSOTCPv6
	default:
		h.GSOType = GSOTCPv4
	}
	if r.pieces[0][l.l4+tcpFlags]&flagCWR != 0 {
		h.GSOType |= GSOECN
	}
	return h
}
