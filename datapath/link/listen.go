package link

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const (
	// listenBuffer is how much a UDP socket queues, in bytes as the kernel counts
	// them: some thousand small packets.
	listenBuffer = 4 << 20
	// listenBacklog is how many TCP connections wait to be accepted.
	listenBacklog = 1024
)

// Listen opens a UDP and a TCP socket at a port of every address that the
// namespace has or will have, of both families where the kernel has IPv6. They
// queue what comes when nobody reads.
func (n *Namespace) Listen(port uint16) (udp, tcp *os.File, err error) {
	err = n.Do(func() error {
		if udp, err = bindAny("udp", unix.SOCK_DGRAM, port); err != nil {
			return err
		}
		if tcp, err = bindAny("tcp", unix.SOCK_STREAM, port); err != nil {
			return errors.Join(err, udp.Close())
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("listen at port %d in network namespace %s: %w", port, n.path, err)
	}
	return udp, tcp, nil
}

// bindAny does what package net would, which asks once, and of whichever
// namespace it is in at the time, whether there is IPv6.
func bindAny(name string, kind int, port uint16) (_ *os.File, err error) {
	family, at := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(port)})
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		family, at = unix.AF_INET, &unix.SockaddrInet4{Port: int(port)}
		fd, err = unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	}
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if family == unix.AF_INET6 {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0)
	}
	if err == nil && kind == unix.SOCK_STREAM {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if err != nil {
		return nil, errors.Join(os.NewSyscallError("setsockopt", err), f.Close())
	}
	if kind == unix.SOCK_DGRAM {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, listenBuffer) //nolint:errcheck // best effort
	}
	if err := unix.Bind(fd, at); err != nil {
		return nil, errors.Join(os.NewSyscallError("bind", err), f.Close())
	}
	if kind == unix.SOCK_STREAM {
		if err := unix.Listen(fd, listenBacklog); err != nil {
			return nil, errors.Join(os.NewSyscallError("listen", err), f.Close())
		}
	}
	return f, nil
}
