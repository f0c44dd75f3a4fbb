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

// socketAt opens an IPv4 socket that belongs to e's namespace.
func socketAt(e Endpoint, kind, protocol int, prepare func(fd int) error) (fd int, err error) {
	err = e.Namespace.Do(func() error {
		var err error
		if fd, err = unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, protocol); err != nil {
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

func sockaddr(a netip.AddrPort) *unix.SockaddrInet4 {
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
