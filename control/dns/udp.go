package dns

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/control/dns/zone"
)

// receiveBuffer is how much may wait in a socket, in bytes as the kernel counts
// them, some 750 for a query: a few seconds of restart, or a few milliseconds of
// flood.
const receiveBuffer = 2 << 20

// prepare makes a socket say where each packet was sent to.
func prepare(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failure error
	err = raw.Control(func(fd uintptr) {
		// One of them fails on a socket of one family.
		err4 := unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		err6 := unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		if err4 != nil && err6 != nil {
			failure = fmt.Errorf("asking for the destination of packets: %w", err4)
		}
		// Beyond the system's limit only who administers the network may go.
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer/2) != nil {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer/2)
		}
	})
	if err != nil {
		return err
	}
	return failure
}

// batchSize is how many packets one call reads or sends at most.
const batchSize = 32

// packetConn is an ipv4.PacketConn or ipv6.PacketConn, for a socket of one family or
// of both.
type packetConn interface {
	ReadBatch(ms []ipv6.Message, flags int) (int, error)
	WriteBatch(ms []ipv6.Message, flags int) (int, error)
}

func newPacketConn(conn *net.UDPConn) packetConn {
	if conn.LocalAddr().(*net.UDPAddr).IP.To4() != nil {
		return ipv4.NewPacketConn(conn)
	}
	return ipv6.NewPacketConn(conn)
}

// batch is the memory of packets that are read together, and of what they are
// answered with, which is sent together.
type batch struct {
	conn packetConn
	read []ipv6.Message
	// buffers have room for an answer to each; answers are the first answered.
	buffers  [][]byte
	answers  []ipv6.Message
	answered int
}

func newBatch(conn *net.UDPConn) *batch {
	b := &batch{
		conn: newPacketConn(conn), read: make([]ipv6.Message, batchSize),
		buffers: make([][]byte, batchSize), answers: make([]ipv6.Message, batchSize),
	}
	for i := range b.read {
		b.read[i].Buffers = [][]byte{make([]byte, maxQuery)}
		b.read[i].OOB = make([]byte, unix.CmsgSpace(unix.SizeofInet4Pktinfo)+unix.CmsgSpace(unix.SizeofInet6Pktinfo))
		b.buffers[i] = make([]byte, maxQuery)
		b.answers[i].Buffers = make([][]byte, 1)
	}
	return b
}

// add has an answer sent with the others.
func (b *batch) add(answer, control []byte, to net.Addr) {
	m := &b.answers[b.answered]
	m.Buffers[0], m.OOB, m.Addr = answer, control, to
	b.answered++
}

// send sends the answers. One that is lost is asked for again.
func (b *batch) send(log *slog.Logger) {
	for rest := b.answers[:b.answered]; len(rest) > 0; {
		n, err := b.conn.WriteBatch(rest, 0)
		if err != nil || n <= 0 {
			log.Debug("answer not sent", "to", rest[0].Addr, "err", err)
			n = max(n, 0) + 1
		}
		rest = rest[min(n, len(rest)):]
	}
	b.answered = 0
}

// readPackets answers packets in the order in which they arrived, those that wait
// together.
func (n *served) readPackets() {
	b := newBatch(n.udp)
	a := &asking{overUDP: true}
	for {
		count, err := b.conn.ReadBatch(b.read, 0)
		if n.ctx.Err() != nil && err != nil {
			return
		}
		if err != nil {
			n.log.Warn("packets not read", "err", err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		arrived := time.Now()
		for i := range b.read[:count] {
			m := &b.read[i]
			a.arrived = arrived
			from, ok := m.Addr.(*net.UDPAddr)
			if !ok {
				continue
			}
			control := source(m.OOB[:m.NN])
			if answer := n.packet(a, m.Buffers[0][:m.N], m.Flags, control, from.AddrPort(), b.buffers[i]); answer != nil {
				b.add(answer, control, m.Addr)
			}
		}
		b.send(n.log)
	}
}

// packet answers one, in buf if that has room, or has it answered later.
func (n *served) packet(a *asking, message []byte, flags int, control []byte, from netip.AddrPort, buf []byte) (answer []byte) {
	addr := from.Addr().Unmap()
	b := n.clients.known(addr)
	if b != nil && !n.fairness.allows(b, a.arrived) {
		n.done(a, Limited)
		return nil
	}
	v := n.server.opts.Look()
	who, current, known := n.clients.find(v, addr)
	if b != current && !n.fairness.allows(current, a.arrived) {
		n.done(a, Limited)
		return nil
	}
	if flags&unix.MSG_TRUNC != 0 {
		n.done(a, Malformed)
		return nil
	}
	answer, result, wait := n.handle(a, v, who, known, message, buf)
	current.charge(a.arrived, len(a.answer.Addrs)+len(a.answer.Servers))
	if wait {
		return n.packetOutside(a, control, from, current, buf)
	}
	n.done(a, result)
	return answer
}

// packetOutside has one answered later; if it cannot be, it returns what to say.
func (n *served) packetOutside(a *asking, control []byte, from netip.AddrPort, b *budget, buf []byte) (answer []byte) {
	control = slices.Clone(control)
	pending := *a
	pending.answer, pending.records = zone.Answer{}, records{} // their memory is the next one's
	if n.forward(&n.running, b, pending, func(answer []byte) { n.send(answer, control, from) }) {
		return nil
	}
	n.done(a, Failed)
	return a.failed(buf)
}

// send sends one answer, as batch.send does.
func (n *served) send(answer, control []byte, to netip.AddrPort) {
	if _, _, err := n.udp.WriteMsgUDPAddrPort(answer, control, to); err != nil {
		n.log.Debug("answer not sent", "to", to, "err", err)
	}
}

// source makes of the control messages that came with a packet those that send its
// answer from where it was sent to (ip(7), ipv6(7)), by whichever interface.
func source(control []byte) []byte {
	for rest := control; len(rest) >= unix.SizeofCmsghdr; {
		h, data, next, err := unix.ParseOneSocketControlMessage(rest)
		if err != nil {
			return nil
		}
		this := rest[:len(rest)-len(next)]
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			binary.NativeEndian.PutUint32(data, 0) // struct in_pktinfo: the interface, the local address
			return this
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			if !netip.AddrFrom16([16]byte(data)).IsLinkLocalUnicast() {
				binary.NativeEndian.PutUint32(data[16:], 0) // struct in6_pktinfo: the address, the interface
			}
			return this
		}
		rest = next
	}
	return nil
}
