package udp

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/encap"
)

// Options say what tunnel to open.
type Options struct {
	// VTEP is the host's tunnel address. Only what is sent to it is received,
	// and everything is sent from it.
	VTEP netip.Addr
	// Port is the UDP port of all VTEPs. Default encap.Port.
	Port uint16
	// Readers is how many sockets there are to receive. Default one for each
	// CPU, 4 at most.
	Readers int
	// Files are receive sockets of an earlier process, with what is queued in
	// them. All are used, even if they are more than Readers. The caller
	// closes the files, of which the tunnel has copies.
	Files []*os.File
}

// Tunnel is the sockets of a VTEP.
type Tunnel struct {
	vtep      netip.Addr
	port      uint16
	receivers []*Receiver
	ports     []sourcePort
	prober    *prober

	// What Overflowed goes by.
	wrong       *checksumErrors
	wrongBefore uint64
	overflowed  atomic.Uint64

	stopping, closing sync.Once
	stopped, closed   error
}

// Open opens a tunnel in the calling thread's network namespace. The error wraps
// unix.EADDRINUSE if somebody else has the port.
func Open(o Options) (*Tunnel, error) {
	vtep := o.VTEP.Unmap()
	if !vtep.IsValid() || vtep.IsUnspecified() || vtep.IsMulticast() || vtep.Zone() != "" {
		return nil, fmt.Errorf("tunnel: %s cannot be a VTEP's address", o.VTEP)
	}
	if o.Port == 0 {
		o.Port = encap.Port
	}
	if o.Readers <= 0 {
		o.Readers = min(runtime.NumCPU(), 4)
	}
	t := &Tunnel{vtep: vtep, port: o.Port}
	var err error
	if t.wrong, err = openChecksumErrors(vtep); err == nil {
		t.wrongBefore = t.wrong.read()
		err = t.openReceivers(o)
	}
	for i := 0; i < sourcePorts && err == nil; i++ {
		var p sourcePort
		if p, err = openPort(vtep); err == nil {
			t.ports = append(t.ports, p)
		}
	}
	if err == nil {
		t.prober, err = newProber(vtep)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("tunnel %s: %w", netip.AddrPortFrom(vtep, o.Port), err), t.Close())
	}
	return t, nil
}

func (t *Tunnel) openReceivers(o Options) error {
	at := netip.AddrPortFrom(t.vtep, t.port)
	for _, f := range o.Files {
		fd, err := duplicate(f)
		if err != nil {
			return err
		}
		if have := boundTo(fd); have != at {
			return errors.Join(fmt.Errorf("socket taken over: it is bound to %s", have), unix.Close(fd))
		}
		if err := t.addReceiver(fd); err != nil {
			return err
		}
	}
	for len(t.receivers) < o.Readers {
		fd, err := bind(at, len(t.receivers) > 0, unix.SOCK_NONBLOCK)
		if errors.Is(err, unix.EADDRINUSE) {
			return fmt.Errorf("another program, or a vxlan device of the kernel, has the port: %w", err)
		}
		if err != nil {
			return err
		}
		if err := t.addReceiver(fd); err != nil {
			return err
		}
	}
	return nil
}

// duplicate returns a descriptor for what f stands for, out of the runtime's
// hands.
func duplicate(f *os.File) (int, error) {
	c, err := f.SyscallConn()
	if err != nil {
		return -1, fmt.Errorf("socket %s: %w", f.Name(), err)
	}
	return duplicateConn(&socket{f, c})
}

func duplicateConn(s *socket) (fd int, err error) {
	if err2 := s.control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }); err2 != nil {
		err = err2
	}
	if err != nil {
		return -1, fmt.Errorf("socket %s: duplicate: %w", s.file.Name(), err)
	}
	return fd, nil
}

// addReceiver takes a bound descriptor, and closes it where it fails.
func (t *Tunnel) addReceiver(fd int) error {
	err := setOptions(fd, receiveOptions(t.vtep))
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	s, err := newSocket(fd, fmt.Sprintf("udp %s", netip.AddrPortFrom(t.vtep, t.port)))
	if err == nil {
		t.receivers = append(t.receivers, newReceiver(s))
	}
	return err
}

// Receivers returns the sockets that receive, the same each time.
func (t *Tunnel) Receivers() []*Receiver { return t.receivers }

// Files returns copies of the receive sockets, for Options of another process.
// The caller closes them. While anybody holds one, the kernel queues what
// arrives, up to receiveBuffer for each.
func (t *Tunnel) Files() ([]*os.File, error) {
	var files []*os.File
	for _, r := range t.receivers {
		fd, err := duplicateConn(r.socket)
		if err != nil {
			for _, f := range files {
				_ = f.Close()
			}
			return nil, fmt.Errorf("tunnel %s: %w", netip.AddrPortFrom(t.vtep, t.port), err)
		}
		files = append(files, os.NewFile(uintptr(fd), r.socket.file.Name()))
	}
	return files, nil
}

// CloseReceivers closes the receive sockets: who waits in Receive gets an error
// that wraps os.ErrClosed. Senders go on.
func (t *Tunnel) CloseReceivers() error {
	t.stopping.Do(func() {
		var errs []error
		for _, r := range t.receivers {
			errs = append(errs, r.close())
		}
		t.stopped = errors.Join(errs...)
	})
	return t.stopped
}

// Close closes all sockets. Who waits in Receive, or sends from then on, gets an
// error that wraps os.ErrClosed. Closing again does nothing.
func (t *Tunnel) Close() error {
	t.closing.Do(func() {
		errs := []error{t.CloseReceivers()}
		for i := range t.ports {
			errs = append(errs, t.ports[i].close())
		}
		if t.wrong != nil {
			errs = append(errs, t.wrong.close())
		}
		if t.prober != nil {
			errs = append(errs, t.prober.close())
		}
		t.closed = errors.Join(errs...)
	})
	return t.closed
}
