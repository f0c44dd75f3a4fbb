package tap

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/userspace/offload"
)

// Writer gathers frames for writing. It serves one goroutine, and any number
// of devices. It keeps the pieces of its last frame from garbage collection.
type Writer struct {
	hdr   [offload.HeaderLen]byte
	iov   []unix.Iovec
	errno unix.Errno
	send  func(fd uintptr) // the method value, made once: making one allocates
}

// NewWriter makes a Writer.
func NewWriter() *Writer {
	w := &Writer{iov: make([]unix.Iovec, 1, 64)}
	w.iov[0].Base = &w.hdr[0]
	w.iov[0].SetLen(len(w.hdr))
	w.send = w.writeTo
	return w
}

// Write hands the device one frame that consists of these pieces, at most 1023
// (UIO_MAXIOV less the header), and does not wait. The kernel copies them, and does what the header says is
// still to be done when it has to. When Write returns, a frame that nothing
// holds up is in the receiver's socket.
//
// An error means that the frame is lost. It wraps ErrFull if there was no
// memory for it, ErrFrame if it can never be taken, os.ErrClosed after Close,
// link.ErrNoDevice when the device has been removed. Several Writers may write to
// one device at a time. It does not allocate, but for errors, and when there
// are more pieces than ever before.
func (w *Writer) Write(d *Device, h offload.Header, pieces ...[]byte) error {
	encode(&w.hdr, h)
	w.iov = w.iov[:1]
	for _, p := range pieces {
		if len(p) == 0 {
			continue
		}
		w.iov = append(w.iov, unix.Iovec{Base: &p[0]})
		w.iov[len(w.iov)-1].SetLen(len(p))
	}
	// Control, not Write: that one lets only one goroutine at a time in.
	if err := d.conn.Control(w.send); err != nil {
		return d.failed("write", err)
	}
	if w.errno != 0 {
		return d.failed("write", w.errno)
	}
	return nil
}

// Write is w.Write(d, h, pieces...), for those who write to devices by an
// interface.
func (d *Device) Write(w *Writer, h offload.Header, pieces ...[]byte) error {
	return w.Write(d, h, pieces...)
}

func (w *Writer) writeTo(fd uintptr) {
	for {
		// As in fillFrom: it does not block.
		_, _, w.errno = unix.RawSyscall(unix.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&w.iov[0])), uintptr(len(w.iov)))
		if w.errno != unix.EINTR {
			return
		}
	}
}
