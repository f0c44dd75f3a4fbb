package measure

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is the kernel's struct of that name on 64-bit machines; x/sys has
// neither it nor the calls that use it.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   [4]byte
}

// messages are the buffers of a batch, prepared once: what is measured is the
// network, not the preparation.
type messages struct {
	headers []mmsghdr
	iovecs  []unix.Iovec
	data    []byte
}

// newMessages returns a batch of n messages of size bytes each, for a
// connected socket.
func newMessages(n, size int) *messages {
	m := &messages{headers: make([]mmsghdr, n), iovecs: make([]unix.Iovec, n), data: make([]byte, n*size)}
	for i := range n {
		m.iovecs[i].Base = &m.data[i*size]
		m.iovecs[i].SetLen(size)
		m.headers[i].hdr.Iov = &m.iovecs[i]
		m.headers[i].hdr.SetIovlen(1)
	}
	return m
}

// send hands the whole batch to the socket and returns how many went.
func (m *messages) send(fd int) (int, error) { return m.call(unix.SYS_SENDMMSG, fd, 0) }

// receive takes what is there, at most a batch, and does not wait.
func (m *messages) receive(fd int) (int, error) {
	return m.call(unix.SYS_RECVMMSG, fd, unix.MSG_DONTWAIT)
}

// bytes is how much the first n messages hold that receive took.
func (m *messages) bytes(n int) uint64 {
	var sum uint64
	for i := range n {
		sum += uint64(m.headers[i].len)
	}
	return sum
}

func (m *messages) call(trap uintptr, fd, flags int) (int, error) {
	n, _, errno := unix.Syscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(&m.headers[0])), uintptr(len(m.headers)), uintptr(flags), 0, 0)
	runtime.KeepAlive(m)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
