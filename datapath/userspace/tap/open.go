package tap

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/songgao/water"
	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link"
	"github.com/ovlnet/ovl/datapath/userspace/offload"
)

const cloneDevice = "/dev/net/tun"

// mode is what our descriptors are: whole Ethernet frames behind a Header.
const mode = unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR

// What the reader of a TAP can do with packets, linux/if_tun.h.
const (
	tunCsum   = 0x01
	tunTSO4   = 0x02
	tunTSO6   = 0x04
	tunTSOECN = 0x08
	tunUSO4   = 0x20
	tunUSO6   = 0x40

	tunTCP = tunCsum | tunTSO4 | tunTSO6 | tunTSOECN
	tunUDP = tunUSO4 | tunUSO6
)

// Open opens the TAP of that name in the calling thread's network namespace,
// and makes it if it is missing. It outlives this process until Remove. It is
// up, has no address, and a queue of QueueLen frames.
//
// The error wraps link.ErrNotTAP if the name is another interface's, ErrBusy if
// the TAP is open elsewhere, os.ErrPermission without CAP_NET_ADMIN and
// os.ErrNotExist without /dev/net/tun.
func Open(name string) (*Device, error) {
	exists, err := link.ExistsTAP(name)
	if err != nil {
		return nil, err
	}
	if !exists {
		if err := create(name); err != nil {
			return nil, fmt.Errorf("create TAP %s: %w", name, err)
		}
	}
	d, err := attach(name)
	if err != nil && !exists {
		err = errors.Join(err, Remove(name))
	}
	return d, err
}

// create makes a persistent TAP and leaves it closed. Its descriptor cannot
// become ours: water has no IFF_VNET_HDR, and what a descriptor is attached to,
// and how, is settled once.
func create(name string) error {
	if err := mayCreate(); err != nil {
		return err
	}
	// A process that is started meanwhile would inherit the descriptor, and
	// keep the device busy.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	dev, err := water.New(water.Config{
		DeviceType:             water.TAP,
		PlatformSpecificParams: water.PlatformSpecificParams{Name: name, Persist: true},
	})
	if err != nil {
		return err
	}
	return dev.Close()
}

// mayCreate says what is missing before water is asked, which loses its
// descriptor where the kernel refuses.
func mayCreate() error {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&h, &caps[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	if caps[0].Effective&(1<<unix.CAP_NET_ADMIN) == 0 {
		return fmt.Errorf("CAP_NET_ADMIN is missing: %w", os.ErrPermission)
	}
	return nil
}

// attach opens a TAP that exists.
func attach(name string) (*Device, error) {
	fd, err := unix.Open(cloneDevice, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open TAP %s: %w", name, &os.PathError{Op: "open", Path: cloneDevice, Err: err})
	}
	if err := setInterface(fd, name); err != nil {
		unix.Close(fd) //nolint:errcheck // nothing was written
		return nil, fmt.Errorf("open TAP %s: %w", name, err)
	}
	d, err := settle(name, fd)
	if err != nil {
		return nil, fmt.Errorf("open TAP %s: %w", name, err)
	}
	return d, nil
}

func setInterface(fd int, name string) error {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	ifr.SetUint16(mode)
	err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w, perhaps by another process: %w", ErrBusy, err)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("it was made otherwise, with several queues (IFF_MULTI_QUEUE) perhaps: %w", err)
	}
	return err
}

// settle makes an attached descriptor, which becomes its own, and its device
// what Device needs. The descriptor is given to the runtime's poller only now:
// before it was attached, polling it was an error.
func settle(name string, fd int) (*Device, error) {
	f := os.NewFile(uintptr(fd), cloneDevice)
	uso, err := configure(fd)
	if err == nil {
		err = link.SettleTAP(name, QueueLen)
	}
	if err != nil {
		f.Close() //nolint:errcheck // nothing was written
		return nil, err
	}
	return newDevice(name, f, uso)
}

// configure reports whether the kernel knows UDP segmentation.
func configure(fd int) (uso bool, err error) {
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, offload.HeaderLen); err != nil {
		return false, fmt.Errorf("length of headers: %w", err)
	}
	// It could have been removed just now, and been made again by TUNSETIFF.
	if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1); err != nil {
		return false, fmt.Errorf("make it persist: %w", err)
	}
	err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tunTCP|tunUDP)
	if err == nil {
		return true, nil
	}
	if errors.Is(err, unix.EINVAL) { // before Linux 6.2
		err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tunTCP)
	}
	if err != nil {
		return false, fmt.Errorf("take large packets: %w", err)
	}
	return false, nil
}

// Adopt goes on with a descriptor that another process had opened by Open, for
// the device of that name in the calling thread's namespace. Frames that wait
// in it are kept. On success f is closed, and the Device has its own duplicate;
// on error f stays the caller's.
func Adopt(name string, f *os.File) (*Device, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("adopt TAP %s: %w", name, err)
	}
	fd := -1
	ctlErr := conn.Control(func(old uintptr) {
		if err = check(name, int(old)); err != nil {
			return
		}
		if fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0); err == nil {
			err = unix.SetNonblock(fd, true)
		}
	})
	if err = errors.Join(ctlErr, err); err != nil {
		if fd >= 0 {
			unix.Close(fd) //nolint:errcheck // nothing was written
		}
		return nil, fmt.Errorf("adopt TAP %s: %w", name, err)
	}
	d, err := settle(name, fd)
	if err != nil {
		return nil, fmt.Errorf("adopt TAP %s: %w", name, err)
	}
	f.Close() //nolint:errcheck // the duplicate lives
	return d, nil
}

// check returns an error unless the descriptor is attached, as ours are, to
// the TAP of that name in the calling thread's namespace.
func check(name string, fd int) error {
	ifr, err := unix.NewIfreq("")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.TUNGETIFF, ifr); errors.Is(err, unix.EBADFD) {
		return fmt.Errorf("%w: the descriptor's was removed: %w", link.ErrNoDevice, err)
	} else if err != nil {
		return fmt.Errorf("the descriptor is no TAP's: %w", err)
	}
	if ifr.Name() != name {
		return fmt.Errorf("the descriptor is that of %s", ifr.Name())
	}
	if have := ifr.Uint16(); have&mode != mode {
		return fmt.Errorf("the descriptor was opened otherwise: flags %#x, want %#x", have, mode)
	}
	return sameNamespace(fd)
}

// sameNamespace returns an error unless the device of the descriptor is in the
// calling thread's namespace.
func sameNamespace(fd int) error {
	ns, err := unix.IoctlRetInt(fd, unix.TUNGETDEVNETNS)
	if err != nil {
		return fmt.Errorf("the descriptor's network namespace: %w", err) // Linux 5.5 has it
	}
	defer unix.Close(ns) //nolint:errcheck // read only
	var theirs, own unix.Stat_t
	if err := unix.Fstat(ns, &theirs); err != nil {
		return fmt.Errorf("the descriptor's network namespace: %w", err)
	}
	if err := unix.Stat("/proc/thread-self/ns/net", &own); err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	if theirs.Ino != own.Ino || theirs.Dev != own.Dev {
		return errors.New("the descriptor's device is in another network namespace")
	}
	return nil
}
