package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// backend is an endpoint that serves: on httpTarget a response for each connection,
// and on whoPort, over TCP for each line and over UDP for each datagram, a line that
// says which backend this is and whom it hears.
type backend struct {
	*endpoint
	tcp []net.Listener
	udp *net.UDPConn
	wg  sync.WaitGroup

	mu sync.Mutex
	// served has for each client's address how many connections with a request
	// came to httpTarget: a health check has none.
	served map[netip.Addr]int
	open   map[net.Conn]bool
	closed bool
}

func startBackend(t *testing.T, e *endpoint) *backend {
	t.Helper()
	b := &backend{endpoint: e, served: map[netip.Addr]int{}, open: map[net.Conn]bool{}}
	t.Cleanup(b.stop)
	err := e.Do(func() error {
		for port, serve := range map[int]func(net.Conn, *bufio.Reader) error{httpTarget: b.respond, whoPort: b.sayWho} {
			l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
			if err != nil {
				return err
			}
			b.tcp = append(b.tcp, l)
			b.wg.Go(func() { b.accept(l, serve) })
		}
		var err error
		b.udp, err = net.ListenUDP("udp", &net.UDPAddr{Port: whoPort})
		return err
	})
	if err != nil {
		t.Fatalf("backend %s: %v", e.info.Name, err)
	}
	b.wg.Go(b.answerDatagrams)
	return b
}

// stop ends it and all connections to it.
func (b *backend) stop() {
	for _, l := range b.tcp {
		_ = l.Close()
	}
	if b.udp != nil {
		_ = b.udp.Close()
	}
	b.mu.Lock()
	b.closed = true
	for c := range b.open {
		_ = c.Close()
	}
	b.mu.Unlock()
	b.wg.Wait()
}

func (b *backend) accept(l net.Listener, serve func(net.Conn, *bufio.Reader) error) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		if b.closed {
			_ = c.Close()
		}
		b.open[c] = true
		b.mu.Unlock()
		b.wg.Go(func() {
			// Clients go away as they like.
			_ = serve(c, bufio.NewReader(c))
			_ = c.Close()
			b.mu.Lock()
			delete(b.open, c)
			b.mu.Unlock()
		})
	}
}

func peerOf(a net.Addr) netip.AddrPort {
	p := netip.MustParseAddrPort(a.String())
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// respond takes a request and ends the connection, so that the client's ports are
// free at once.
func (b *backend) respond(c net.Conn, r *bufio.Reader) error {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		if line == "\r\n" {
			break
		}
	}
	b.mu.Lock()
	b.served[peerOf(c.RemoteAddr()).Addr()]++
	b.mu.Unlock()
	body := b.who(peerOf(c.RemoteAddr()))
	_, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	return err
}

// who is what it answers to a client: its own name, and whom it hears.
func (b *backend) who(client netip.AddrPort) string {
	return fmt.Sprintf("%s %s\n", b.info.Name, client)
}

func (b *backend) sayWho(c net.Conn, r *bufio.Reader) error {
	for {
		if _, err := r.ReadString('\n'); err != nil {
			return err
		}
		if _, err := c.Write([]byte(b.who(peerOf(c.RemoteAddr())))); err != nil {
			return err
		}
	}
}

func (b *backend) answerDatagrams() {
	buf := make([]byte, 1500)
	for {
		_, from, err := b.udp.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an earlier answer's client is gone
		}
		client := netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		_, _ = b.udp.WriteToUDPAddrPort([]byte(b.who(client)), from) // likewise
	}
}

// count is how many connections with a request have come to httpTarget, of all clients or of one
// address.
func (b *backend) count(from ...netip.Addr) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for a, k := range b.served {
		if len(from) == 0 || a == from[0] {
			n += k
		}
	}
	return n
}

// awaitQuiet waits until all clients have all that it sent them, and no other has
// come for a moment: after it was drained, nobody misses it.
func (b *backend) awaitQuiet(t *testing.T) {
	t.Helper()
	eventually(t, b.info.Name+" is quiet", func() error {
		before := b.count()
		for range 5 {
			n, err := b.busy()
			if err != nil {
				return err
			}
			if n > 0 {
				return fmt.Errorf("%d connections are not at their end", n)
			}
			time.Sleep(50 * time.Millisecond)
		}
		if n := b.count() - before; n > 0 {
			return fmt.Errorf("%d connections more", n)
		}
		return nil
	})
}

// busy counts the connections of the namespace, as its kernel sees it, in which a
// client may not have all yet.
func (b *backend) busy() (n int, err error) {
	// FIN-WAIT-2, TIME-WAIT and LISTEN, as /proc/net/tcp has them.
	atRest := []string{"05", "06", "0A"}
	err = b.Do(func() error {
		for _, file := range []string{"tcp", "tcp6"} {
			text, err := os.ReadFile("/proc/thread-self/net/" + file)
			if err != nil {
				return err
			}
			for i, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
				if i > 0 && !slices.Contains(atRest, strings.Fields(line)[3]) {
					n++
				}
			}
		}
		return nil
	})
	return n, err
}
