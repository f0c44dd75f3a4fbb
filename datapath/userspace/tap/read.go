package tap

import (
	"io"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/userspace/offload"
)

// Read waits for a frame and then takes what else is there, without waiting,
// until b is full. What b held before is gone. The error wraps os.ErrClosed
// after Close, and link.ErrNoDevice when the device has been removed.
//
// It does not allocate. One goroutine at a time may read.
func (d *Device) Read(b *Batch) error {
	b.Reset()
	err := d.conn.Read(b.fill)
	if err != nil && b.err == nil {
		// The runtime says no more than that the descriptor cannot be waited
		// for. Why, the kernel says: most likely the device is gone.
		if cerr := d.conn.Control(func(fd uintptr) { b.fill(fd) }); cerr == nil && b.err != nil {
			err = b.err
		}
	}
	if b.n > 0 {
		return nil // whatever else is wrong, the next Read says again
	}
	if err == nil {
		err = b.err
	}
	return d.failed("read", err)
}

// fillFrom is called whenever there may be something to read, and reports
// whether the wait is over.
func (b *Batch) fillFrom(fd uintptr) bool {
	for {
		space := b.next()
		if space == nil {
			return true
		}
		// The descriptor does not block, so the runtime need not make ready
		// for a call that does.
		n, _, errno := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&space[0])), uintptr(len(space)))
		switch {
		case errno == unix.EINTR:
			continue
		case errno == unix.EAGAIN:
			return b.n > 0
		case errno != 0:
			b.err = errno
			return true
		case n <= offload.HeaderLen:
			b.err = io.ErrUnexpectedEOF
			return true
		}
		b.add(space, int(n))
	}
}
