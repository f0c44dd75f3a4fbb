// Package udptest joins tunnels without sockets, for tests that need no root.
//
// What flows through: a Sender's datagrams, when it flushes, go into the channel of
// the tunnel that has the address, as trains if the Underlay makes some; a Receiver takes
// them out. What has no tunnel is lost, as on any network; what a full channel has no room
// for is lost and counted.
package udptest

import (
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/userspace/udp"
	"github.com/ovlnet/ovl/encap"
)

// Queue is how many datagrams or trains a tunnel's channel has room for.
const Queue = 1024

// Underlay is what joins tunnels.
type Underlay struct {
	// Trains makes trains of datagrams, as udp.Sender does. It is set before
	// anything is sent.
	Trains bool

	mu      sync.Mutex
	tunnels map[netip.Addr]*Tunnel
	mtu     int
	wrong   error
}

// New returns an underlay with an MTU of 1500 bytes.
func New() *Underlay { return &Underlay{tunnels: map[netip.Addr]*Tunnel{}, mtu: 1500} }

// SetMTU sets what every Path.MTU says (within 10 ms) and what gets across: IP packets of
// that many bytes. With an error nothing does.
func (u *Underlay) SetMTU(mtu int, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.mtu, u.wrong = mtu, err
}

func (u *Underlay) pathMTU() (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.mtu, u.wrong
}

func (u *Underlay) tunnel(vtep netip.Addr) *Tunnel {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.tunnels[vtep]
}

// Tunnel is the end of the underlay with one address. It has one receiver: itself.
type Tunnel struct {
	// Queued is what has arrived. Tests may put arrivals there, and take them
	// out instead of Receive.
	Queued chan udp.Arrival

	underlay *Underlay
	vtep     netip.Addr
	lost     atomic.Uint64
	closing  sync.Once
	closed   chan struct{}
}

// Tunnel adds an end, in the place of one that had the address.
func (u *Underlay) Tunnel(vtep netip.Addr) *Tunnel {
	t := &Tunnel{Queued: make(chan udp.Arrival, Queue), underlay: u, vtep: vtep, closed: make(chan struct{})}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.tunnels[vtep] = t
	return t
}

// Path returns the way to an address of the same family.
func (t *Tunnel) Path(addr netip.Addr) (*udp.Path, error) {
	if addr.Is4() != t.vtep.Is4() {
		return nil, fmt.Errorf("path from %s to %s: not two addresses of one family", t.vtep, addr)
	}
	return udp.NewPath(addr, t.underlay.pathMTU), nil
}

// Receive implements udp.In.
func (t *Tunnel) Receive(b *udp.Arrivals) error {
	b.Reset()
	select { // what has arrived before Close is lost, as with sockets
	case <-t.closed:
		return os.ErrClosed
	default:
	}
	select {
	case <-t.closed:
		return os.ErrClosed
	case a := <-t.Queued:
		b.Put(a)
	}
	for b.Room() > 0 {
		select {
		case a := <-t.Queued:
			b.Put(a)
		default:
			return nil
		}
	}
	return nil
}

// Overflowed implements udp.In.
func (t *Tunnel) Overflowed() uint64 { return t.lost.Load() }

// Close ends Receive. Closing again does nothing.
func (t *Tunnel) Close() error {
	t.closing.Do(func() { close(t.closed) })
	return nil
}

// NewSender returns a sender with the tunnel's address.
func (t *Tunnel) NewSender() *Sender { return &Sender{tunnel: t} }

// Sender implements udp.Out.
type Sender struct {
	tunnel  *Tunnel
	waiting []outgoing
}

type outgoing struct {
	path *udp.Path
	hash uint32
	udp.Arrival
	cars, last int
}

// Add implements udp.Out.
func (s *Sender) Add(p *udp.Path, hash uint32, ecn encap.ECN, head, payload []byte) {
	data := append(append([]byte{}, head...), payload...)
	if n := len(s.waiting); n > 0 && s.tunnel.underlay.Trains {
		w := &s.waiting[n-1]
		first := w.last // as long as all before it
		if w.path == p && w.hash == hash && w.ECN == ecn && len(data) > 0 && len(data) <= first &&
			(w.Size == 0 || w.last == w.Size) && w.cars < 64 && len(w.Data)+len(data) <= 65507 {
			w.Size, w.last = first, len(data)
			w.Data = append(w.Data, data...)
			w.cars++
			return
		}
	}
	s.waiting = append(s.waiting, outgoing{
		path: p, hash: hash, cars: 1, last: len(data),
		Arrival: udp.Arrival{From: s.tunnel.vtep, ECN: ecn, Data: data},
	})
}

// Pending implements udp.Out.
func (s *Sender) Pending() int { return len(s.waiting) }

// Flush implements udp.Out.
func (s *Sender) Flush(report func(p *udp.Path, datagrams, bytes int, err error)) {
	headers := 28
	if s.tunnel.vtep.Is6() {
		headers = 48
	}
	for i := range s.waiting {
		w := &s.waiting[i]
		mtu, err := s.tunnel.underlay.pathMTU()
		length := w.Size
		if length == 0 {
			length = len(w.Data)
		}
		if err == nil && length+headers > mtu {
			err = unix.EMSGSIZE
		}
		if err != nil {
			if report != nil {
				report(w.path, w.cars, len(w.Data), err)
			}
			continue
		}
		if to := s.tunnel.underlay.tunnel(w.path.Addr()); to != nil {
			select {
			case to.Queued <- w.Arrival:
			default:
				to.lost.Add(1)
			}
		}
	}
	s.waiting = s.waiting[:0]
}

var (
	_ udp.Out = (*Sender)(nil)
	_ udp.In  = (*Tunnel)(nil)
)
