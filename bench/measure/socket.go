package measure

import (
	"fmt"
	"net/netip"
	"runtime"

	"golang.org/x/sys/unix"
)

// udpSocket opens a socket at e and prepares it there.
func udpSocket(e Endpoint, prepare func(fd int) error) (fd int, err error) {
	return socketAt(e, unix.SOCK_DGRAM, unix.IPPROTO_UDP, prepare)
}

// socketAt opens a socket of the family of e's address, that belongs to e's
// namespace.
func socketAt(e Endpoint, kind, protocol int, prepare func(fd int) error) (fd int, err error) {
	family := unix.AF_INET
	if e.Addr.Is6() {
		family = unix.AF_INET6
	}
	err = e.Namespace.Do(func() error {
		var err error
		if fd, err = unix.Socket(family, kind|unix.SOCK_CLOEXEC, protocol); err != nil {
			return fmt.Errorf("socket: %w", err)
		}
		if err := prepare(fd); err != nil {
			unix.Close(fd)
			return fmt.Errorf("socket of %s: %w", e.Addr, err)
		}
		return nil
	})
	return fd, err
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is6() {
		return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	}
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
}

// onCPU runs fn on that CPU, on a thread that nothing else will run on.
func onCPU(cpu int, fn func() error) error {
	done := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine, and its
		// affinity with it.
		runtime.LockOSThread()
		var set unix.CPUSet
		set.Set(cpu)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			done <- fmt.Errorf("run on CPU %d: %w", cpu, err)
			return
		}
		done <- fn()
	}()
	return <-done
}
