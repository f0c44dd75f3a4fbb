package udp

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/encap"
)

// Sizes of the kernel's queues in bytes, as asked for: it allows twice as much,
// for what it keeps beside the packets (socket(7)), and a small datagram counts
// for several times its length.
const (
	receiveBuffer = 8 << 20
	sendBuffer    = 2 << 20
)

// socket is a bound UDP socket. The file keeps its descriptor from being closed
// while it is in use.
type socket struct {
	file *os.File
	conn syscall.RawConn
}

func newSocket(fd int, name string) (*socket, error) {
	f := os.NewFile(uintptr(fd), name)
	c, err := f.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), f.Close())
	}
	return &socket{f, c}, nil
}

// control calls f with the descriptor. It returns an error that wraps
// os.ErrClosed if there is none any more.
func (s *socket) control(f func(fd uintptr)) error {
	if s.conn.Control(f) != nil {
		return os.ErrClosed
	}
	return nil
}

// option is one that a socket must have, or may do without if lax.
type option struct {
	level, name, value int
	what               string
	lax                bool
}

func setOptions(fd int, options []option) error {
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil && !o.lax {
			return fmt.Errorf("socket option %s: %w", o.what, err)
		}
	}
	return nil
}

// receiveOptions are those of sockets that receive. What the kernel refuses of
// sizes above its limits (CAP_NET_ADMIN) it cuts down to them.
func receiveOptions(vtep netip.Addr) []option {
	all := []option{
		{unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer, "SO_RCVBUF", true},
		{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer, "SO_RCVBUFFORCE", true},
		{unix.IPPROTO_UDP, unix.UDP_GRO, 1, "UDP_GRO", true}, // Linux 5.0
	}
	if vtep.Is4() {
		return append(all, option{unix.IPPROTO_IP, unix.IP_RECVTOS, 1, "IP_RECVTOS", false})
	}
	return append(all,
		option{unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1, "IPV6_RECVTCLASS", false},
		option{unix.IPPROTO_UDP, unix.UDP_NO_CHECK6_RX, 1, "UDP_NO_CHECK6_RX", false})
}

// sendOptions are those of sockets that send. PMTUDISC_PROBE: DF is set, and what
// the kernel has learned of the path does not keep the socket from sending, as
// it can be forged; whoever sends decides what fits.
func sendOptions(vtep netip.Addr, checksum bool) []option {
	all := []option{
		{unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer, "SO_SNDBUF", true},
		{unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer, "SO_SNDBUFFORCE", true},
		{unix.SOL_SOCKET, unix.SO_RCVBUF, 0, "SO_RCVBUF", true}, // 0: the least there is
	}
	none := 1
	if checksum {
		none = 0
	}
	if vtep.Is4() {
		return append(all,
			option{unix.SOL_SOCKET, unix.SO_NO_CHECK, none, "SO_NO_CHECK", false},
			option{unix.IPPROTO_IP, unix.IP_TTL, encap.OuterTTL, "IP_TTL", false},
			option{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE, "IP_MTU_DISCOVER", false})
	}
	return append(all,
		option{unix.IPPROTO_UDP, unix.UDP_NO_CHECK6_TX, none, "UDP_NO_CHECK6_TX", false},
		option{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, encap.OuterTTL, "IPV6_UNICAST_HOPS", false},
		option{unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE, "IPV6_MTU_DISCOVER", false},
		option{unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, 1, "IPV6_DONTFRAG", false})
}

// deafen makes a socket drop what it receives before it is queued: nobody reads
// it, and a queue that is full would hold memory.
func deafen(fd int) error {
	filter := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
		return fmt.Errorf("socket option SO_ATTACH_FILTER: %w", err)
	}
	return nil
}

// bind returns a new socket with that address. Others may join it later, but
// only if join is it content with joining: SO_REUSEPORT at the time of the bind
// would let two agents share a port without a word. flags are those of socket(2).
func bind(at netip.AddrPort, join bool, flags int) (int, error) {
	family := unix.AF_INET
	if at.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|flags, unix.IPPROTO_UDP)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	share := option{unix.SOL_SOCKET, unix.SO_REUSEPORT, 1, "SO_REUSEPORT", false}
	if join {
		err = setOptions(fd, []option{share})
	}
	if err == nil && family == unix.AF_INET6 {
		err = setOptions(fd, []option{{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1, "IPV6_V6ONLY", false}})
	}
	if err == nil {
		err = unix.Bind(fd, sockaddr(at))
	}
	if err == nil && !join {
		err = setOptions(fd, []option{share})
	}
	if err != nil {
		return -1, errors.Join(fmt.Errorf("UDP %s: %w", at, err), unix.Close(fd))
	}
	return fd, nil
}

func sockaddr(at netip.AddrPort) unix.Sockaddr {
	if at.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}
	}
	return &unix.SockaddrInet6{Addr: at.Addr().As16(), Port: int(at.Port())}
}

// boundTo returns the address of a socket, the zero AddrPort for one that is
// not UDP.
func boundTo(fd int) netip.AddrPort {
	if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL); err != nil || kind != unix.IPPROTO_UDP {
		return netip.AddrPort{}
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}
	}
	switch a := name.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
	}
	return netip.AddrPort{}
}
