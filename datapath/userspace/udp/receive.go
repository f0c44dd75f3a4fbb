package udp

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Receiver is a receive socket. One goroutine at a time may receive.
type Receiver struct {
	socket *socket
	// read is the function for the poller, made once; into, got and errno are
	// its argument and its results.
	read  func(fd uintptr) bool
	into  *Arrivals
	got   int
	errno unix.Errno

	// before is what the queue had dropped when it was taken over.
	before     uint32
	overflowed atomic.Uint64
}

func newReceiver(s *socket) *Receiver {
	r := &Receiver{socket: s}
	r.read = r.recvmmsg
	r.before = r.drops()
	return r
}

// Receive waits until something has arrived, and puts as much of it into b as
// there is room for. The error wraps os.ErrClosed when the tunnel is closed;
// after any other the next Receive may work again.
func (r *Receiver) Receive(b *Arrivals) error {
	b.Reset()
	b.prepare()
	r.into = b
	if r.socket.conn.Read(r.read) != nil {
		return fmt.Errorf("%s: %w", r.socket.file.Name(), os.ErrClosed)
	}
	if r.errno != 0 {
		return fmt.Errorf("%s: receive: %w", r.socket.file.Name(), r.errno)
	}
	b.take(r.got)
	return nil
}

// recvmmsg reports whether the poller need not wait.
func (r *Receiver) recvmmsg(fd uintptr) bool {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd,
			uintptr(unsafe.Pointer(&r.into.headers[0])), uintptr(len(r.into.headers)), unix.MSG_DONTWAIT, 0, 0)
		if errno != unix.EINTR {
			r.got, r.errno = int(n), errno
			return errno != unix.EAGAIN
		}
	}
}

// Overflowed returns how many messages the kernel has dropped since Open, because
// the queue was full or the checksum wrong. A train is one message. After Close
// it is what it last was.
func (r *Receiver) Overflowed() uint64 {
	// The kernel counts in 32 bits. Several callers at once only set it twice.
	last := r.overflowed.Load()
	if now := r.drops() - r.before; now != uint32(last) {
		last += uint64(now - uint32(last))
		r.overflowed.Store(last)
	}
	return last
}

// drops asks for the socket's counter, which is in SO_MEMINFO (Linux 4.12). As
// ancillary data (SO_RXQ_OVFL) it would cost every message, and come with the
// next one only.
func (r *Receiver) drops() uint32 {
	const field, fields = 8, 9 // SK_MEMINFO_DROPS of SK_MEMINFO_VARS, linux/sock_diag.h
	now := r.before + uint32(r.overflowed.Load())
	_ = r.socket.control(func(fd uintptr) {
		var info [fields]uint32
		size := uint32(unsafe.Sizeof(info))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		if errno == 0 && size == uint32(unsafe.Sizeof(info)) {
			now = info[field]
		}
	})
	return now
}

func (r *Receiver) close() error {
	r.Overflowed()
	return r.socket.file.Close()
}
