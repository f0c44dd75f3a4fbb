package udp

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/encap"
)

// Arrival is a datagram, or a train of some from one sender and one port.
type Arrival struct {
	From netip.Addr
	ECN  encap.ECN
	// Data is valid until the next Receive. At least Headroom bytes of the
	// same array precede it, and are nobody's.
	Data []byte
	// Size is the length of each datagram of a train, the last of which may
	// be shorter; 0 says that Data is a single one.
	//
	// A neighbour whose device hands packets over uncut (veth) can have sent a
	// tunnel packet that is still to be cut inside: UDP with the segments'
	// payload as Size. Then Data is a single datagram nevertheless. The kernel
	// does not tell them apart; the length in the inner IP header does.
	Size int
}

const (
	// Headroom is how many bytes before Data may be written to.
	Headroom = 10
	// arrivalSpace is the room for a message: the longest UDP payload over
	// IPv6 is 65527 bytes. With Headroom, and 22 bytes of VXLAN and Ethernet, an
	// inner IP header is aligned.
	arrivalSpace = 65528
	bufferLen    = Headroom + arrivalSpace + 6
)

// DefaultMessages is how many messages Arrivals take at once, unless told
// otherwise.
const DefaultMessages = 16

// Arrivals is where a Receiver puts what has arrived. It belongs to one
// goroutine.
type Arrivals struct {
	all      []Arrival
	buffers  []byte
	headers  []unix.Mmsghdr
	iovecs   []unix.Iovec
	names    []unix.RawSockaddrInet6
	controls []receiveControl
	used     int // headers that the kernel has changed
}

// receiveControl is room for the ancillary data of a message: UDP_GRO, and TOS or
// traffic class.
type receiveControl [64]byte

// NewArrivals returns room for that many messages, each of 64 KiB; for
// DefaultMessages, if none are asked for.
func NewArrivals(messages int) *Arrivals {
	if messages <= 0 {
		messages = DefaultMessages
	}
	b := &Arrivals{
		all:      make([]Arrival, 0, messages),
		buffers:  make([]byte, messages*bufferLen),
		headers:  make([]unix.Mmsghdr, messages),
		iovecs:   make([]unix.Iovec, messages),
		names:    make([]unix.RawSockaddrInet6, messages),
		controls: make([]receiveControl, messages),
		used:     messages,
	}
	for i := range b.headers {
		b.iovecs[i].Base = &b.buffers[i*bufferLen+Headroom]
		b.iovecs[i].SetLen(arrivalSpace)
		h := &b.headers[i].Hdr
		h.Name = (*byte)(unsafe.Pointer(&b.names[i]))
		h.Iov = &b.iovecs[i]
		h.SetIovlen(1)
		h.Control = &b.controls[i][0]
	}
	return b
}

// All returns what has arrived, oldest first. It is valid until the next
// Receive.
func (b *Arrivals) All() []Arrival { return b.all }

// Reset forgets what has arrived.
func (b *Arrivals) Reset() { b.all = b.all[:0] }

// Room returns how many more Put can add.
func (b *Arrivals) Room() int { return cap(b.all) - len(b.all) }

// Put adds an arrival, whose Data it copies, and reports whether there was room.
// Receivers that are not of the kernel use it.
func (b *Arrivals) Put(a Arrival) bool {
	i := len(b.all)
	if i == cap(b.all) || len(a.Data) > arrivalSpace {
		return false
	}
	n := copy(b.buffer(i), a.Data)
	a.Data = b.buffer(i)[:n:n]
	b.all = append(b.all, a)
	return true
}

func (b *Arrivals) buffer(i int) []byte {
	start := i*bufferLen + Headroom
	return b.buffers[start : start+arrivalSpace : start+arrivalSpace]
}

// prepare undoes what the kernel did to the headers.
func (b *Arrivals) prepare() {
	for i := range b.headers[:b.used] {
		h := &b.headers[i].Hdr
		h.Namelen = uint32(unsafe.Sizeof(b.names[i]))
		h.SetControllen(len(b.controls[i]))
	}
	b.used = 0
}

// take makes arrivals of the first n messages. One that the kernel had to cut off
// cannot be: there is room for the longest.
func (b *Arrivals) take(n int) {
	b.used = n
	b.all = b.all[:n]
	for i := range b.all {
		m := &b.headers[i]
		a := &b.all[i]
		length := min(int(m.Len), arrivalSpace)
		a.Data = b.buffer(i)[:length:length]
		a.From = addrOf(&b.names[i])
		a.ECN, a.Size = b.controls[i].parse(int(m.Hdr.Controllen))
		if a.Size >= length {
			a.Size = 0
		}
	}
}

// addrOf reads the address of what is a RawSockaddrInet4 or RawSockaddrInet6.
func addrOf(name *unix.RawSockaddrInet6) netip.Addr {
	if name.Family == unix.AF_INET {
		return netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(name)).Addr)
	}
	return netip.AddrFrom16(name.Addr)
}

// parse reads the first n bytes of the ancillary data.
func (c *receiveControl) parse(n int) (ecn encap.ECN, size int) {
	const header = unix.SizeofCmsghdr
	for b := c[:min(n, len(c))]; len(b) >= header; {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
		length := int(h.Len)
		if length < header || length > len(b) {
			break
		}
		switch data := b[header:length]; {
		case len(data) == 0:
		case h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(data) >= 4:
			size = int(binary.NativeEndian.Uint32(data))
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TOS:
			ecn = encap.ECN(data[0]) & encap.CE
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_TCLASS && len(data) >= 4:
			ecn = encap.ECN(binary.NativeEndian.Uint32(data)) & encap.CE
		}
		b = b[min(unix.CmsgSpace(length-header), len(b)):]
	}
	return ecn, size
}
