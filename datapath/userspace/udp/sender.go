package udp

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/encap"
)

// maxCars is how many datagrams a train may have: what the kernel takes since
// Linux 4.18. Since 6.9 it takes 128, which is more than 64 KiB have of the long ones.
const maxCars = 64

// Sender sends through a tunnel's sockets. It belongs to one goroutine; a tunnel
// may have any number of senders.
type Sender struct {
	ports    []sourcePort
	messages []message
	iovecs   []unix.Iovec // of the messages, in their order

	// What Flush makes of the messages, in the order in which they are sent.
	order    []int
	headers  []unix.Mmsghdr
	controls []sendControl

	// write is the function for a socket's descriptor, made once; sending and
	// report are its arguments.
	write    func(fd uintptr)
	sending  span
	report   func(p *Path, datagrams, bytes int, err error)
	patience time.Duration // left for a socket that is full
	// sendmmsg is the system call, but for tests.
	sendmmsg func(fd int, messages []unix.Mmsghdr) (int, unix.Errno)
	wait     func(fd int, atMost time.Duration) bool
}

// message is what is given to the kernel at once: a datagram, or a train.
type message struct {
	path    *Path
	first   int // of its iovecs
	iovecs  int
	cars    int // datagrams
	size    int // of the first, and of all others but the last
	total   int
	port    uint8 // index
	ecn     encap.ECN
	settled bool // nothing may follow, for the last one is shorter
}

// NewSender returns a sender.
func (t *Tunnel) NewSender() *Sender {
	s := &Sender{ports: t.ports, sendmmsg: sendmmsg, wait: waitWritable}
	s.write = s.writeRun
	return s
}

// Add takes a UDP payload, head and then payload, for the peer at the end of p.
// The hash is the flow's: what has the same keeps its order. The bytes must stay as
// they are, and the caller must keep hold of them, until Flush.
//
// It pays to add what goes together one after the other, and to have it in memory
// without gaps: then the kernel gets it in one piece.
func (s *Sender) Add(p *Path, hash uint32, ecn encap.ECN, head, payload []byte) {
	n := len(head) + len(payload)
	port := uint8(hash % uint32(len(s.ports)))
	var m *message
	if k := len(s.messages); k > 0 && s.messages[k-1].joins(p, port, ecn, n) {
		m = &s.messages[k-1]
		m.settled = n < m.size
	} else {
		s.messages = append(s.messages, message{path: p, first: len(s.iovecs), size: n, port: port, ecn: ecn})
		m = &s.messages[k]
	}
	m.cars++
	m.total += n
	s.put(m, head)
	s.put(m, payload)
}

// Pending returns how many messages, single datagrams or trains, wait for Flush.
// There is no limit, but memory; from a few dozen on more gain nothing.
func (s *Sender) Pending() int { return len(s.messages) }

// joins reports whether a datagram of n bytes may follow those of m.
func (m *message) joins(p *Path, port uint8, ecn encap.ECN, n int) bool {
	return m.path == p && m.port == port && m.ecn == ecn && !m.settled &&
		n > 0 && n <= m.size && m.cars < maxCars && m.total+n <= p.maxTrain && !p.noTrains.Load()
}

// put adds bytes to the last message, to its last iovec if they follow it in
// memory.
func (s *Sender) put(m *message, b []byte) {
	if len(b) == 0 {
		return
	}
	if m.iovecs > 0 {
		last := &s.iovecs[len(s.iovecs)-1]
		if uintptr(unsafe.Pointer(last.Base))+uintptr(last.Len) == uintptr(unsafe.Pointer(&b[0])) {
			last.SetLen(int(last.Len) + len(b))
			return
		}
	}
	s.iovecs = append(s.iovecs, unix.Iovec{Base: &b[0]})
	s.iovecs[len(s.iovecs)-1].SetLen(len(b))
	m.iovecs++
}

// sendControl is the ancillary data of a message: how to cut it, and its ECN
// field. Each is aligned as the kernel wants it.
type sendControl struct {
	cut  unix.Cmsghdr
	size uint16
	_    [unsafe.Sizeof(uintptr(0)) - 2]byte
	mark unix.Cmsghdr
	ecn  int32
	_    [unsafe.Sizeof(uintptr(0)) - 4]byte
}

// set points h to as much of c as m needs: nothing, one of them, or both.
func (c *sendControl) set(h *unix.Msghdr, m *message) {
	cut, mark := m.cars > 1, m.ecn != encap.NotECT
	if cut {
		c.cut.SetLen(unix.CmsgLen(2))
		c.cut.Level, c.cut.Type, c.size = unix.IPPROTO_UDP, unix.UDP_SEGMENT, uint16(m.size)
	}
	if mark {
		c.mark.SetLen(unix.CmsgLen(4))
		c.mark.Level, c.mark.Type, c.ecn = unix.IPPROTO_IP, unix.IP_TOS, int32(m.ecn)
		if m.path.addr.Is6() {
			c.mark.Level, c.mark.Type = unix.IPPROTO_IPV6, unix.IPV6_TCLASS
		}
	}
	switch {
	case cut && mark:
		h.Control = (*byte)(unsafe.Pointer(c))
		h.SetControllen(unix.CmsgSpace(2) + unix.CmsgSpace(4))
	case cut:
		h.Control = (*byte)(unsafe.Pointer(c))
		h.SetControllen(unix.CmsgSpace(2))
	case mark:
		h.Control = (*byte)(unsafe.Pointer(&c.mark))
		h.SetControllen(unix.CmsgSpace(4))
	default:
		h.Control = nil
		h.SetControllen(0)
	}
}
