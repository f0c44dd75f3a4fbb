package kernel

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// echo sends numbered datagrams, a thousand a second, to a socket that sends
// them back.
type echo struct {
	name     string
	client   *net.UDPConn
	server   *net.UDPConn
	quit     chan struct{}
	wg       sync.WaitGroup
	sent     uint32
	returned map[uint32]bool
}

func startEcho(t *testing.T, from, to *bedEndpoint) *echo {
	t.Helper()
	at := netip.AddrPortFrom(to.addr(), 7)
	e := &echo{
		name:     from.Name + " to " + to.Name,
		server:   udpListen(t, to.Namespace, at),
		client:   udpDial(t, from.Namespace, at),
		quit:     make(chan struct{}),
		returned: map[uint32]bool{},
	}
	widen(t, e.server, 4<<20)
	widen(t, e.client, 4<<20)
	e.wg.Go(e.send)
	e.wg.Go(e.receive)
	e.wg.Go(e.reflect)
	t.Cleanup(func() { e.stop() })
	return e
}

func (e *echo) send() {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-e.quit:
			return
		case <-tick.C:
			// A datagram that cannot be sent is one that does not return.
			_, _ = e.client.Write(binary.BigEndian.AppendUint32(nil, e.sent))
			e.sent++
		}
	}
}

func (e *echo) receive() {
	buf := make([]byte, 64)
	for {
		n, err := e.client.Read(buf)
		if err != nil {
			return // closed
		}
		if n == 4 {
			e.returned[binary.BigEndian.Uint32(buf)] = true
		}
	}
}

func (e *echo) reflect() {
	buf := make([]byte, 64)
	for {
		n, from, err := e.server.ReadFromUDPAddrPort(buf)
		if err != nil {
			return // closed
		}
		_, _ = e.server.WriteToUDPAddrPort(buf[:n], from)
	}
}

// stop returns how many datagrams were sent and how many of them came back.
func (e *echo) stop() (sent, returned int) {
	select {
	case <-e.quit:
	default:
		close(e.quit)
		time.Sleep(100 * time.Millisecond) // for the last to return
		_ = e.client.Close()
		_ = e.server.Close()
	}
	e.wg.Wait()
	return int(e.sent), len(e.returned)
}
