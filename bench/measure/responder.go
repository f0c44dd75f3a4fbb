package measure

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// responderPort is where servers answer that are asked straight, and
// balancedPort those that are asked through a VIP. What remains of a connection
// at its ends, for a minute, would else be in the way of one that comes to the
// same server by the other way from the same port, as happens at high rates only.
const (
	responderPort = 8080
	balancedPort  = 8081
)

// responder returns the address that the client asks.
func (p Pair) responder() netip.AddrPort { return netip.AddrPortFrom(p.target(), p.responderPort()) }

func (p Pair) responderPort() uint16 {
	if p.VIP.IsValid() {
		return balancedPort
	}
	return responderPort
}

// responder answers every HTTP request with the same few bytes. It is one
// thread with three system calls a request and nothing else to do, so that
// what is measured is the path: a real web server would parse, log and look
// for a file, and be slower than wrk asks.
type responder struct {
	addr    netip.AddrPort
	closing bool
	answer  []byte

	listener, epoll int
	// unfinished are requests of which only a part is there, by connection.
	unfinished map[int][]byte
	open       map[int]bool

	ended chan error
	ends  atomic.Bool
}

// responderPoll is how often a responder looks whether it should end, in ms.
const responderPoll = 20

// maxRequest is how long a request may be, in bytes.
const maxRequest = 4096

// endOfRequest is what ends a request without a body.
var endOfRequest = []byte("\r\n\r\n")

// startResponder returns once it listens. A closing one ends each connection
// after the answer, in the same segment, so that it is always the server that
// does: whoever ends a connection has to remember it for a minute.
func startResponder(p Pair, closing bool) (*responder, error) {
	e := p.Server
	r := &responder{
		addr:       netip.AddrPortFrom(e.Addr, p.responderPort()),
		closing:    closing,
		unfinished: map[int][]byte{},
		open:       map[int]bool{},
		ended:      make(chan error, 1),
	}
	connection := "keep-alive"
	if closing {
		connection = "close"
	}
	body := strings.Repeat("x", 64)
	r.answer = fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nConnection: %s\r\nContent-Length: %d\r\n\r\n%s", connection, len(body), body)
	var err error
	r.listener, err = socketAt(e, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, unix.IPPROTO_TCP, func(fd int) error {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return err
		}
		if err := unix.Bind(fd, sockaddr(r.addr)); err != nil {
			return err
		}
		return unix.Listen(fd, 1024)
	})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", r.addr, err)
	}
	if r.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err == nil {
		if err = r.watch(r.listener); err != nil {
			unix.Close(r.epoll)
		}
	}
	if err != nil {
		unix.Close(r.listener)
		return nil, fmt.Errorf("epoll: %w", err)
	}
	go func() { r.ended <- onCPU(serverCPU(), r.serve) }()
	return r, nil
}

// stop ends the responder and returns what went wrong with it.
func (r *responder) stop() error {
	r.ends.Store(true)
	err := <-r.ended
	for fd := range r.open {
		unix.Close(fd)
	}
	unix.Close(r.epoll)
	unix.Close(r.listener)
	return err
}

func (r *responder) watch(fd int) error {
	return unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

func (r *responder) serve() error {
	var events [64]unix.EpollEvent
	buf := make([]byte, maxRequest)
	for !r.ends.Load() {
		n, err := unix.EpollWait(r.epoll, events[:], responderPoll)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("epoll: %w", err)
		}
		for _, event := range events[:max(n, 0)] {
			fd := int(event.Fd)
			if fd == r.listener {
				if err := r.accept(); err != nil {
					return err
				}
				continue
			}
			// A program that this process starts meanwhile has, until it runs, a
			// copy of each connection, so that one which was closed here may
			// still have events. Its number may be anybody's by then.
			if r.open[fd] && !r.answered(fd, buf) {
				delete(r.open, fd)
				delete(r.unfinished, fd)
				unix.Close(fd)
			}
		}
	}
	return nil
}

// accept takes all connections that wait.
func (r *responder) accept() error {
	for {
		fd, _, err := unix.Accept4(r.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ECONNABORTED):
			continue
		case err != nil:
			return fmt.Errorf("accept: %w", err)
		}
		r.open[fd] = true
		if err := r.watch(fd); err != nil {
			return fmt.Errorf("epoll: %w", err)
		}
	}
}

// answered reads from a connection, answers if a request is whole, and
// reports whether the connection stays.
func (r *responder) answered(fd int, buf []byte) bool {
	n, err := unix.Read(fd, buf)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return true
	}
	if err != nil || n == 0 {
		return false
	}
	request := buf[:n]
	if before := r.unfinished[fd]; len(before) > 0 {
		request = append(before, request...)
	}
	if !bytes.HasSuffix(request, endOfRequest) {
		r.unfinished[fd] = bytes.Clone(request)
		return len(request) < maxRequest
	}
	delete(r.unfinished, fd)
	flags := unix.MSG_NOSIGNAL
	if r.closing {
		flags |= unix.MSG_MORE // the end goes with it
	}
	return unix.Sendto(fd, r.answer, flags, nil) == nil && !r.closing
}
