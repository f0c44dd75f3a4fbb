package udp

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// patience is how long a Flush waits, in all, for sockets that are full. What
// does not fit then is dropped: bulk transfers find their rate by losses.
const patience = 10 * time.Millisecond

// span is a run of messages in the order of sending, from lo to before hi, that go
// through one socket.
type span struct {
	lo, hi int
	train  bool
	port   *sourcePort
}

// Flush sends what was added, and forgets it. What could not be sent it passes to
// report, unless that is nil: how many datagrams of how many bytes for which peer, and why. Errors are
// those of sendmsg(2), and os.ErrClosed: unix.EMSGSIZE for what is longer than the
// device's MTU, unix.EAGAIN where the device does not keep up, and the like. A datagram
// that is not reported has been given to the kernel, no more.
func (s *Sender) Flush(report func(p *Path, datagrams, bytes int, err error)) {
	n := len(s.messages)
	if n == 0 {
		return
	}
	s.report, s.patience = report, patience
	s.sort()
	s.fill()
	for lo := 0; lo < n; {
		run := s.runFrom(lo)
		s.sending = run
		socket := run.port.alone
		if run.train {
			socket = run.port.trains
		}
		if err := socket.control(s.write); err != nil {
			for _, i := range s.order[s.sending.lo:run.hi] {
				s.failed(&s.messages[i], err)
			}
		}
		lo = run.hi
	}
	s.messages, s.iovecs, s.report = s.messages[:0], s.iovecs[:0], nil
}

// sort makes the order in which messages are sent: those of a source port together, so
// that there are few system calls, each port's in the order in which they were
// added, so that flows keep theirs.
func (s *Sender) sort() {
	s.order = s.order[:0]
	var start [sourcePorts + 1]int
	for i := range s.messages {
		s.order = append(s.order, i)
		start[s.messages[i].port+1]++
	}
	if start[s.messages[0].port+1] == len(s.messages) {
		return // as they are
	}
	for p := 1; p < len(start); p++ {
		start[p] += start[p-1]
	}
	for i := range s.messages {
		at := &start[s.messages[i].port]
		s.order[*at] = i
		*at++
	}
}

// fill makes headers of the messages.
func (s *Sender) fill() {
	for len(s.headers) < len(s.order) {
		s.headers = append(s.headers, unix.Mmsghdr{})
		s.controls = append(s.controls, sendControl{})
	}
	for k, i := range s.order {
		m, h := &s.messages[i], &s.headers[k].Hdr
		m.path.address(h)
		h.Iov = nil
		if m.iovecs > 0 {
			h.Iov = &s.iovecs[m.first]
		}
		h.SetIovlen(m.iovecs)
		s.controls[k].set(h, m)
	}
}

// runFrom returns the longest run of messages for one socket from lo on.
func (s *Sender) runFrom(lo int) span {
	first := &s.messages[s.order[lo]]
	run := span{lo: lo, hi: lo + 1, train: first.cars > 1, port: &s.ports[first.port]}
	for ; run.hi < len(s.order); run.hi++ {
		if m := &s.messages[s.order[run.hi]]; m.port != first.port || m.cars > 1 != run.train {
			break
		}
	}
	return run
}

// writeRun sends the span s.sending.
func (s *Sender) writeRun(fd uintptr) {
	for run := &s.sending; run.lo < run.hi; {
		n, errno := s.push(int(fd), s.headers[run.lo:run.hi])
		if errno == 0 {
			run.lo += n
			continue
		}
		m := &s.messages[s.order[run.lo]]
		if run.train && (errno == unix.EIO || errno == unix.EINVAL) {
			s.uncouple(m)
		} else {
			s.failed(m, errno)
		}
		run.lo++
	}
}

// push gives messages to the kernel, and returns how many it has taken, at least one,
// or why it has not taken the first.
func (s *Sender) push(fd int, messages []unix.Mmsghdr) (int, unix.Errno) {
	refused := false
	for {
		n, errno := s.sendmmsg(fd, messages)
		switch {
		case errno == 0:
			return n, 0
		case errno == unix.EINTR:
		case errno == unix.EAGAIN && s.patience > 0:
			start := time.Now()
			if !s.wait(fd, s.patience) {
				s.patience = 0
			} else {
				s.patience -= time.Since(start)
			}
		case errno == unix.ECONNREFUSED && !refused:
			refused = true // it was about an earlier one, and is cleared by having been told
		default:
			return 0, errno
		}
	}
}

// uncouple sends a train that the kernel refuses to cut as single datagrams. EINVAL and
// EIO say that the device cannot make checksums (before Linux 6.11), or that the path is one of
// IPsec; before 6.13 EINVAL also says that a datagram is too long. Only if it is not
// that are there no more trains on this path.
func (s *Sender) uncouple(m *message) {
	var (
		header  [1]unix.Mmsghdr
		pieces  []unix.Iovec
		control sendControl
	)
	h, iovecs := &header[0].Hdr, s.iovecs[m.first:m.first+m.iovecs]
	m.path.address(h)
	single := *m
	single.cars = 1
	control.set(h, &single)
	offset := 0 // in the first of iovecs
	for left := m.total; left > 0; {
		pieces = pieces[:0]
		size := min(m.size, left)
		left -= size
		for size > 0 {
			v := iovecs[0]
			n := min(int(v.Len)-offset, size)
			pieces = append(pieces, unix.Iovec{Base: (*byte)(unsafe.Add(unsafe.Pointer(v.Base), offset))})
			pieces[len(pieces)-1].SetLen(n)
			size -= n
			if offset += n; offset == int(v.Len) {
				iovecs, offset = iovecs[1:], 0
			}
		}
		h.Iov = &pieces[0]
		h.SetIovlen(len(pieces))
		var errno unix.Errno
		err := s.ports[m.port].alone.control(func(fd uintptr) { _, errno = s.push(int(fd), header[:]) })
		switch {
		case err != nil:
			s.failed(&single, err)
		case errno != 0:
			s.failed(&single, errno)
		default:
			m.path.noTrains.Store(true)
		}
	}
}

func (s *Sender) failed(m *message, err error) {
	if s.report != nil {
		s.report(m.path, m.cars, m.total, err)
	}
}

func sendmmsg(fd int, messages []unix.Mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd),
		uintptr(unsafe.Pointer(&messages[0])), uintptr(len(messages)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	return int(n), errno
}

// waitWritable waits until the socket takes more, and reports whether it does.
func waitWritable(fd int, atMost time.Duration) bool {
	fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	timeout := unix.NsecToTimespec(int64(atMost))
	n, err := unix.Ppoll(fds[:], &timeout, nil)
	return n > 0 || err == unix.EINTR //nolint:errorlint // as the system call returns it
}
