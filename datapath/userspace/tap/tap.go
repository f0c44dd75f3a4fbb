// Package tap moves Ethernet frames between the kernel and this process,
// through one TAP device for each endpoint (docs/adr/0014). What is sent to
// the device is read here; what is written here, the device receives.
//
// What flows, in order: Open makes the device, or Adopt takes its descriptor
// over from an earlier process (open.go). Read fills a Batch with all frames
// that wait (batch.go, read.go); a Writer gathers the pieces of one frame and
// hands them over in one call (write.go). Each frame comes and goes with a
// Header, as IFF_VNET_HDR has it (docs/adr/0015): a frame may be a TCP packet
// of 64 KiB that is still to be cut, or lack its checksum.
//
//	endpoint ── veth ──▶ tc redirect ──▶ TAP ──▶ queue ──▶ Read ──▶ Batch
//	endpoint ◀── veth ◀── tc redirect ◀── TAP ◀──────────── Writer.Write
package tap

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link"
)

// QueueLen is how many frames wait in a device for Read, at most; a frame may
// have 64 KiB. It bounds what an endpoint can make the host keep. What comes
// when the queue is full is dropped and counted as the device's tx_dropped
// (link.DropCounter). In the kernel, every place costs 8 bytes.
const QueueLen = 1024

var (
	// ErrBusy is wrapped where another process, or this one, has the device
	// open already.
	ErrBusy = errors.New("TAP is open already")
	// ErrFull is wrapped where the kernel had no room for a frame, which is
	// lost.
	ErrFull = errors.New("no room for the frame")
	// ErrFrame is wrapped where the kernel does not take a frame: its header
	// contradicts it, it is shorter than an Ethernet header, or it comes in
	// more than 1024 pieces.
	ErrFrame = errors.New("frame is refused")
)

// Device is an open TAP. One goroutine may read while any number write.
type Device struct {
	name   string
	file   *os.File
	conn   syscall.RawConn
	uso    bool
	closed atomic.Bool
}

func newDevice(name string, f *os.File, uso bool) (*Device, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("TAP %s: %w", name, err)
	}
	return &Device{name: name, file: f, conn: conn, uso: uso}, nil
}

// Name returns the device's name as it was opened.
func (d *Device) Name() string { return d.name }

// USO reports whether UDP packets may come that are to be cut, and may be
// written (offload.GSOUDP): from Linux 6.2.
func (d *Device) USO() bool { return d.uso }

// File returns the open descriptor, to be handed to another process, which
// goes on with Adopt. It is the device's own: use SyscallConn, because Fd makes
// reads block, and do not close it.
func (d *Device) File() *os.File { return d.file }

// Close ends a Read that waits. The device stays, with what is queued lost, if
// no other process has the descriptor. It may be called twice.
func (d *Device) Close() error {
	if d.closed.Swap(true) {
		return nil
	}
	return d.file.Close()
}

// failed explains an error of reading or writing.
func (d *Device) failed(what string, err error) error {
	if d.closed.Load() {
		err = os.ErrClosed
	}
	switch {
	case errors.Is(err, unix.EBADFD), errors.Is(err, unix.ENODEV):
		err = fmt.Errorf("%w: it was removed: %w", link.ErrNoDevice, err)
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOMEM), errors.Is(err, unix.ENOBUFS):
		err = fmt.Errorf("%w: %w", ErrFull, err)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EFAULT), errors.Is(err, unix.EMSGSIZE):
		err = fmt.Errorf("%w: %w", ErrFrame, err)
	}
	return fmt.Errorf("%s TAP %s: %w", what, d.name, err)
}

// Remove removes the device, open or not. One that is missing is success; an
// interface of another kind stays, and the error wraps link.ErrNotTAP.
func Remove(name string) error { return link.RemoveTAP(name) }
