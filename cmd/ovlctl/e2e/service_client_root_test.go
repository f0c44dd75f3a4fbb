package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// request asks a service over a connection of its own, from a port of the client's
// or, with 0, from any, and returns the name of the backend that answered. It has
// to have heard the client itself.
func request(from *endpoint, port uint16, to netip.AddrPort) (backend string, err error) {
	err = from.Do(func() error {
		backend, err = requestHere(addrOf(from, to.Addr()), port, to)
		return err
	})
	return backend, err
}

// requests is request from many ports, one after the other.
func requests(t *testing.T, from *endpoint, ports []uint16, to netip.AddrPort) map[uint16]string {
	t.Helper()
	out := make(map[uint16]string, len(ports))
	err := from.Do(func() error {
		for _, port := range ports {
			backend, err := requestHere(addrOf(from, to.Addr()), port, to)
			if err != nil {
				return fmt.Errorf("from port %d: %w", port, err)
			}
			out[port] = backend
		}
		return nil
	})
	if err != nil {
		t.Fatalf("requests of %s: %v", from.info.Name, err)
	}
	return out
}

// requestHere is request in the calling thread's namespace.
func requestHere(client netip.Addr, port uint16, to netip.AddrPort) (backend string, err error) {
	d := net.Dialer{Timeout: patience, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(client, port))}
	c, err := d.Dial("tcp", to.String())
	if err != nil {
		return "", err
	}
	defer c.Close() //nolint:errcheck // all has been read
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n"); err != nil {
		return "", err
	}
	all, err := io.ReadAll(c)
	if err != nil {
		return "", err
	}
	_, body, found := strings.Cut(string(all), "\r\n\r\n")
	if !found {
		return "", fmt.Errorf("the response is %q", all)
	}
	return parseWho(body, c)
}

// parseWho reads what backend.who has written to a client: whom it hears is the
// client itself, or the VIP, if it is its own client.
func parseWho(line string, c net.Conn) (backend string, err error) {
	backend, heard, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	client, vip := peerOf(c.LocalAddr()), peerOf(c.RemoteAddr())
	if heard != client.String() && heard != netip.AddrPortFrom(vip.Addr(), client.Port()).String() {
		return backend, fmt.Errorf("client %s is told %q", client, line)
	}
	return backend, nil
}

// conversation is a flow to whoPort that lasts.
type conversation struct {
	net.Conn
	from    *endpoint
	backend string
}

// converse begins one, over "tcp" or "udp", and asks for the first time.
func (b *serviceBed) converse(t *testing.T, from *endpoint, network string) *conversation {
	t.Helper()
	c := &conversation{from: from}
	err := from.Do(func() (err error) {
		c.Conn, err = net.DialTimeout(network, netip.AddrPortFrom(b.vip, whoPort).String(), patience)
		return err
	})
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
		c.backend, err = c.ask()
	}
	if err != nil {
		t.Fatalf("%s from %s: %v", network, from.info.Name, err)
	}
	return c
}

// ask returns the name of the backend that it leads to.
func (c *conversation) ask() (backend string, err error) {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, "who\n"); err != nil {
		return "", err
	}
	line, err := bufio.NewReaderSize(c, 128).ReadString('\n')
	if err != nil {
		return "", err
	}
	return parseWho(line, c)
}

// conversations begins as many of each client.
func (b *serviceBed) conversations(t *testing.T, each int, network string, clients ...*endpoint) (out []*conversation) {
	t.Helper()
	for _, from := range clients {
		for range each {
			out = append(out, b.converse(t, from, network))
		}
	}
	return out
}

// checkGoOn wants every conversation to go on with whom it began, or, if that is
// among gone, over TCP to be reset.
func checkGoOn(t *testing.T, all []*conversation, gone ...*backend) {
	t.Helper()
	cut := make(map[string]bool)
	for _, b := range gone {
		cut[b.info.Name] = true
	}
	var wg sync.WaitGroup
	for _, c := range all {
		wg.Go(func() {
			got, err := c.ask()
			switch {
			case cut[c.backend] && !errors.Is(err, unix.ECONNRESET):
				t.Errorf("%s of %s to %s, which is gone: %q, %v; want a reset", c.LocalAddr(), c.from.info.Name, c.backend, got, err)
			case !cut[c.backend] && (err != nil || got != c.backend):
				t.Errorf("%s of %s to %s: %q, %v; want it to go on", c.LocalAddr(), c.from.info.Name, c.backend, got, err)
			}
		})
	}
	wg.Wait()
}

// load is a client that asks as fast as it can, each time over a new connection.
type load struct {
	quit chan struct{}
	wg   sync.WaitGroup

	mu   sync.Mutex
	done int
	// failed has what went wrong, by the client's port.
	failed []failedRequest
}

type failedRequest struct {
	client netip.AddrPort
	err    error
}

// loadPort is the first of those that a load uses, loadPorts how many each of its
// workers has.
const loadPort, loadPorts, loadWorkers = 10000, 2000, 4

func (b *serviceBed) startLoad(t *testing.T, from *endpoint) *load {
	t.Helper()
	l := &load{quit: make(chan struct{})}
	client := addrOf(from, b.vip)
	for w := range loadWorkers {
		l.wg.Go(func() {
			err := from.Do(func() error {
				for i := 0; !l.over(); i++ {
					port := uint16(loadPort + w*loadPorts + i%loadPorts)
					_, err := requestHere(client, port, b.http)
					l.note(netip.AddrPortFrom(client, port), err)
				}
				return nil
			})
			if err != nil {
				l.note(netip.AddrPort{}, err)
			}
		})
	}
	t.Cleanup(func() { l.stop() })
	return l
}

func (l *load) over() bool {
	select {
	case <-l.quit:
		return true
	default:
		return false
	}
}

func (l *load) note(client netip.AddrPort, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done++
	if err != nil {
		l.failed = append(l.failed, failedRequest{client, err})
	}
}

// more waits for as many requests again.
func (l *load) more(t *testing.T, n int) {
	t.Helper()
	l.mu.Lock()
	from := l.done
	l.mu.Unlock()
	eventually(t, fmt.Sprintf("%d more requests", n), func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.done < from+n {
			return fmt.Errorf("there are %d", l.done-from)
		}
		return nil
	})
}

// stop ends it and returns what it has done.
func (l *load) stop() (done int, failed []failedRequest) {
	if !l.over() {
		close(l.quit)
	}
	l.wg.Wait()
	return l.done, l.failed
}

// wrk is the client that people use, with a connection for each request.
type wrk struct {
	from   *endpoint
	out    lockedBuffer
	finish func() error
}

var (
	wrkTotal  = regexp.MustCompile(`(?m)^\s*(\d+) requests in `)
	wrkFaults = regexp.MustCompile(`(?m)^\s*(Socket errors|Non-2xx).*$`)
)

// startWrk runs it until it is stopped.
func (b *serviceBed) startWrk(t *testing.T, from *endpoint) *wrk {
	t.Helper()
	w := &wrk{from: from}
	ctx, cancel := context.WithCancel(t.Context())
	cmd := from.Command(ctx, "wrk", "--threads", "1", "--connections", "8", "--duration", "600", "--timeout", patience.String(),
		"--header", "Connection: close", fmt.Sprintf("http://%s/", b.http))
	cmd.Stdout, cmd.Stderr = &w.out, &w.out
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatalf("wrk: %v", err)
	}
	w.finish = sync.OnceValue(func() error {
		defer cancel()
		_ = cmd.Process.Signal(unix.SIGINT) // it then prints its summary
		return cmd.Wait()
	})
	t.Cleanup(func() { _ = w.finish() })
	return w
}

// stop ends it, and returns how many requests were answered and what it has to
// say of others.
func (w *wrk) stop(t *testing.T) (answered int, faults string) {
	t.Helper()
	err := w.finish()
	m := wrkTotal.FindStringSubmatch(w.out.String())
	if err != nil || m == nil {
		t.Fatalf("wrk of %s: %v: %s", w.from.info.Name, err, w.out.String())
	}
	answered, _ = strconv.Atoi(m[1])
	return answered, wrkFaults.FindString(w.out.String())
}
