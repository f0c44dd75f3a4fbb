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
	size    int
}

// newMessages returns a batch of n messages of size bytes each, for a
// connected socket.
func newMessages(n, size int) *messages {
	m := &messages{headers: make([]mmsghdr, n), iovecs: make([]unix.Iovec, n), data: make([]byte, n*size), size: size}
	for i := range n {
		m.iovecs[i].Base = &m.data[i*size]
		m.iovecs[i].SetLen(size)
		m.headers[i].hdr.Iov = &m.iovecs[i]
		m.headers[i].hdr.SetIovlen(1)
	}
	return m
}

// message is the buffer of the i-th.
func (m *messages) message(i int) []byte { return m.data[i*m.size : (i+1)*m.size] }

// send hands the whole batch to the socket and returns how many went.
func (m *messages) send(fd int) (int, error) { return m.sendSome(fd, 0, len(m.headers)) }

// sendSome is send for the messages from one on up to another.
func (m *messages) sendSome(fd, from, to int) (int, error) {
	return m.call(unix.SYS_SENDMMSG, fd, m.headers[from:to], 0)
}

// receive takes what is there, at most a batch, and does not wait.
func (m *messages) receive(fd int) (int, error) {
	return m.receiveWith(fd, unix.MSG_DONTWAIT)
}

// receiveWith is receive with the flags of recvmmsg(2).
func (m *messages) receiveWith(fd, flags int) (int, error) {
	return m.call(unix.SYS_RECVMMSG, fd, m.headers, flags)
}

// bytes is how much the first n messages hold that receive took.
func (m *messages) bytes(n int) uint64 {
	var sum uint64
	for i := range n {
		sum += uint64(m.headers[i].len)
	}
	return sum
}

func (m *messages) call(trap uintptr, fd int, headers []mmsghdr, flags int) (int, error) {
	n, _, errno := unix.Syscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(&headers[0])), uintptr(len(headers)), uintptr(flags), 0, 0)
	runtime.KeepAlive(m)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
