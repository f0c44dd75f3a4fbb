package udp

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Longest trains, in bytes of UDP payload: what the length in the IP header of
// the train can say before it is cut.
const (
	maxTrain4 = 65535 - 20 - 8
	maxTrain6 = 65535 - 8
)

// mtuLifetime is how long an answer of Path.MTU is kept: asking takes a few
// microseconds, which is too much for every packet.
const mtuLifetime = 10 * time.Millisecond

// Path is the way to a peer's VTEP. It holds no descriptor, so that there is
// nothing to close, and any number of goroutines may use it.
type Path struct {
	// Owner is whatever whoever asked for the path wants to find by it.
	Owner any

	addr     netip.Addr
	name4    unix.RawSockaddrInet4
	name6    unix.RawSockaddrInet6
	maxTrain int
	// noTrains is set once the kernel has refused to cut trains on this path.
	noTrains atomic.Bool

	ask   func() (int, error)
	now   func() time.Duration // of no particular beginning
	known atomic.Pointer[mtuAnswer]
}

type mtuAnswer struct {
	mtu   int
	err   error
	until time.Duration
}

// Path returns the way to the VTEP of a peer, whose address must be of the
// tunnel's family.
func (t *Tunnel) Path(addr netip.Addr) (*Path, error) {
	addr = addr.Unmap()
	if !addr.IsValid() || addr.Is4() != t.vtep.Is4() || addr.Zone() != "" {
		return nil, fmt.Errorf("path from %s to %s: not two addresses of one family", t.vtep, addr)
	}
	return newPath(addr, t.port, func() (int, error) { return t.prober.mtu(addr) }), nil
}

// NewPath returns a path of something that is not the kernel's UDP, for fakes.
// mtu says its MTU.
func NewPath(addr netip.Addr, mtu func() (int, error)) *Path { return newPath(addr, 0, mtu) }

func newPath(addr netip.Addr, port uint16, ask func() (int, error)) *Path {
	start := time.Now()
	p := &Path{addr: addr, ask: ask, now: func() time.Duration { return time.Since(start) }}
	bigEndian := port<<8 | port>>8
	if b := [2]byte{0, 1}; *(*uint16)(unsafe.Pointer(&b)) == 1 {
		bigEndian = port // as this machine is
	}
	if addr.Is4() {
		p.name4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: bigEndian, Addr: addr.As4()}
		p.maxTrain = maxTrain4
	} else {
		p.name6 = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: bigEndian, Addr: addr.As16()}
		p.maxTrain = maxTrain6
	}
	return p
}

// Addr returns the peer's VTEP.
func (p *Path) Addr() netip.Addr { return p.addr }

// address points h to the peer's address.
func (p *Path) address(h *unix.Msghdr) {
	if p.addr.Is4() {
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&p.name4)), uint32(unsafe.Sizeof(p.name4))
	} else {
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&p.name6)), uint32(unsafe.Sizeof(p.name6))
	}
}

// MTU returns the largest outer IP packet, in bytes, for which the kernel
// presently has a way: the least of the device's MTU, the route's, and what
// routers have said (RFC 1191, RFC 8201), which the kernel takes to its own
// account when it concerns a socket of the tunnel. It may be 10 ms old. Without a route,
// the error wraps unix.ENETUNREACH or unix.EHOSTUNREACH.
func (p *Path) MTU() (int, error) {
	now := p.now()
	if k := p.known.Load(); k != nil && now < k.until {
		return k.mtu, k.err
	}
	mtu, err := p.ask()
	p.known.Store(&mtuAnswer{mtu, err, now + mtuLifetime})
	return mtu, err
}

// prober asks the kernel for routes, by a socket that it connects to one peer after
// another and never sends from.
type prober struct {
	mu     sync.Mutex // from connect to the answer
	socket *socket
	vtep   netip.Addr
}

func newProber(vtep netip.Addr) (*prober, error) {
	fd, err := bind(netip.AddrPortFrom(vtep, 0), false, 0)
	if err != nil {
		return nil, err
	}
	if err := deafen(fd); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	s, err := newSocket(fd, "udp routes of "+vtep.String())
	if err != nil {
		return nil, err
	}
	return &prober{socket: s, vtep: vtep}, nil
}

// mtu connects anew each time: a connected socket keeps the route that it found.
func (p *prober) mtu(addr netip.Addr) (mtu int, err error) {
	const discard = 9 // any port will do
	p.mu.Lock()
	defer p.mu.Unlock()
	level, name := unix.IPPROTO_IP, unix.IP_MTU
	if addr.Is6() {
		level, name = unix.IPPROTO_IPV6, unix.IPV6_MTU
	}
	closed := p.socket.control(func(fd uintptr) {
		if err = unix.Connect(int(fd), sockaddr(netip.AddrPortFrom(addr, discard))); err == nil {
			mtu, err = unix.GetsockoptInt(int(fd), level, name)
		}
	})
	if err = errors.Join(closed, err); err != nil {
		return 0, fmt.Errorf("route from %s to %s: %w", p.vtep, addr, err)
	}
	return min(mtu, 65535), nil // lo's is 64 KiB
}

func (p *prober) close() error { return p.socket.file.Close() }
