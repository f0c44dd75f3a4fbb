package dns

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

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

// readPackets answers one packet after the other, in the order in which they
// arrived.
func (n *served) readPackets() {
	message, control := make([]byte, maxQuery), make([]byte, unix.CmsgSpace(unix.SizeofInet4Pktinfo)+unix.CmsgSpace(unix.SizeofInet6Pktinfo))
	buf := make([]byte, maxQuery)
	a := &asking{overUDP: true}
	for {
		size, controlSize, flags, from, err := n.udp.ReadMsgUDPAddrPort(message, control)
		if n.ctx.Err() != nil && err != nil {
			return
		}
		if err != nil {
			n.log.Warn("packet not read", "err", err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		a.arrived = time.Now()
		n.packet(a, message[:size], flags, source(control[:controlSize]), from, buf)
	}
}

// packet answers one.
func (n *served) packet(a *asking, message []byte, flags int, control []byte, from netip.AddrPort, buf []byte) {
	addr := from.Addr().Unmap()
	b := n.clients.known(addr)
	if b != nil && !b.queries.AllowN(a.arrived, 1) {
		n.done(a, Limited)
		return
	}
	v := n.server.opts.Look()
	who, current, known := n.clients.find(v, addr)
	if b != current && !current.queries.AllowN(a.arrived, 1) {
		n.done(a, Limited)
		return
	}
	if flags&unix.MSG_TRUNC != 0 {
		n.done(a, Malformed)
		return
	}
	answer, result, wait := n.handle(a, v, who, known, message, buf)
	current.charge(a.arrived, len(a.answer.Addrs)+len(a.answer.Servers))
	if wait {
		n.packetOutside(a, control, from, current, buf)
		return
	}
	if answer != nil {
		n.send(answer, control, from)
	}
	n.done(a, result)
}

// packetOutside has one answered later.
func (n *served) packetOutside(a *asking, control []byte, from netip.AddrPort, b *budget, buf []byte) {
	control = slices.Clone(control)
	pending := *a
	pending.answer = zone.Answer{} // its memory is the next one's
	if !n.forward(&n.running, b, pending, func(answer []byte) { n.send(answer, control, from) }) {
		n.send(a.failed(buf), control, from)
		n.done(a, Failed)
	}
}

// send sends an answer. One that is lost is asked for again.
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
