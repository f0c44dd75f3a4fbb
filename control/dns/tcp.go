package dns

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// transferTime is how long a message over TCP may take, from its first byte to the
// last, in either direction.
const transferTime = 5 * time.Second

// accept serves connections, as many as there may be.
func (n *served) accept() {
	for {
		conn, err := n.tcp.Accept()
		switch {
		case err == nil:
			n.open(conn)
		case n.ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return
		default:
			n.log.Warn("connection not accepted", "err", err)
			time.Sleep(100 * time.Millisecond)
		}
	}
}

// open begins to serve a connection, or closes it.
func (n *served) open(conn net.Conn) {
	addr := addrOf(conn)
	_, b, _ := n.clients.find(n.server.opts.Look(), addr)
	n.mu.Lock()
	defer n.mu.Unlock()
	full := len(n.conns) >= n.server.opts.Connections || int(b.connections.Load()) >= n.server.opts.ClientConnections
	if full || n.ctx.Err() != nil {
		conn.Close() //nolint:errcheck // nothing was written
		return
	}
	n.conns[conn] = struct{}{}
	b.connections.Add(1)
	n.server.counters.connections.Add(1)
	n.running.Go(func() {
		n.serve(conn, addr)
		n.mu.Lock()
		delete(n.conns, conn)
		n.mu.Unlock()
		b.connections.Add(-1)
		n.server.counters.connections.Add(-1)
	})
}

func addrOf(conn net.Conn) netip.Addr {
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// stream is a connection. Answers are written in whatever order they are ready
// (RFC 7766 section 7).
type stream struct {
	net.Conn
	in *bufio.Reader
	// later are the queries that the host's resolvers are being asked.
	later sync.WaitGroup
	mu    sync.Mutex
}

// serve answers queries until the client has no more, or too little to say.
func (n *served) serve(conn net.Conn, addr netip.Addr) {
	s := &stream{Conn: conn, in: bufio.NewReaderSize(conn, maxQuery)}
	defer conn.Close() //nolint:errcheck // what could not be written is told by write
	defer s.later.Wait()
	message := make([]byte, maxQuery)
	for {
		size, err := s.read(message, n.server.opts.Idle)
		if err != nil {
			return
		}
		if !n.message(s, message[:size], addr) {
			return
		}
	}
}

// message answers one; false if nothing more is to be read.
func (n *served) message(s *stream, message []byte, addr netip.Addr) bool {
	if _, b, _ := n.clients.find(n.server.opts.Look(), addr); b.queries.Wait(n.ctx) != nil {
		return false
	}
	a := &asking{arrived: time.Now()}
	v := n.server.opts.Look()
	who, b, known := n.clients.find(v, addr)
	answer, result, wait := n.handle(a, v, who, known, message, nil)
	b.charge(a.arrived, len(a.answer.Addrs)+len(a.answer.Servers))
	if wait {
		if n.forward(&s.later, b, *a, func(answer []byte) { _ = s.write(answer) }) {
			return true
		}
		answer, result = a.failed(nil), Failed
	}
	if answer == nil {
		n.done(a, result)
		return false // who sends what is no query is not heard further
	}
	err := s.write(answer)
	n.done(a, result)
	return err == nil
}

// read reads a message into b (RFC 1035 section 4.2.2).
func (s *stream) read(b []byte, idle time.Duration) (int, error) {
	if err := s.SetReadDeadline(time.Now().Add(idle)); err != nil {
		return 0, err
	}
	if _, err := s.in.Peek(1); err != nil {
		return 0, err
	}
	if err := s.SetReadDeadline(time.Now().Add(transferTime)); err != nil {
		return 0, err
	}
	var length [2]byte
	if _, err := io.ReadFull(s.in, length[:]); err != nil {
		return 0, err
	}
	size := int(binary.BigEndian.Uint16(length[:]))
	if size > len(b) {
		return 0, io.ErrShortBuffer
	}
	return io.ReadFull(s.in, b[:size])
}

func (s *stream) write(answer []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.SetWriteDeadline(time.Now().Add(transferTime)); err != nil {
		return err
	}
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(answer)), uint16(len(answer)))
	_, err := s.Write(append(framed, answer...))
	return err
}
