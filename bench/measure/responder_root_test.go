package measure

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// dial returns a connection from e.
func dial(t *testing.T, e Endpoint, addr string) net.Conn {
	t.Helper()
	var c net.Conn
	if err := e.Namespace.Do(func() (err error) {
		c, err = net.Dial("tcp4", addr)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() }) //nolint:errcheck // a test's
	if err := c.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

func ask(t *testing.T, c net.Conn, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if _, err := c.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond) // a segment of its own
	}
}

func TestResponderKeepsConnections(t *testing.T) {
	linktest.NeedRoot(t)
	p := hosts(t)
	r, err := startResponder(p, false)
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, p.Client, r.addr.String())
	for _, request := range [][]string{{"GET / HTTP/1.1\r\n\r\n"}, {"GET / HT", "TP/1.1\r\nHost: x\r\n\r", "\n"}} {
		ask(t, c, request...)
		answer := make([]byte, len(r.answer))
		if _, err := io.ReadFull(c, answer); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200 OK\r\n") {
			t.Fatalf("%q: %q, %v", request, answer, err)
		}
	}
	// A request without an end is not kept for ever.
	endless := dial(t, p.Client, r.addr.String())
	ask(t, endless, strings.Repeat("x", maxRequest))
	if _, err := endless.Read(make([]byte, 1)); err == nil {
		t.Error("a request without an end is answered")
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

// A closing responder ends the connection in good order: a reset would be
// another thing to measure.
func TestResponderCloses(t *testing.T) {
	linktest.NeedRoot(t)
	p := hosts(t)
	r, err := startResponder(p, true)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		c := dial(t, p.Client, r.addr.String())
		ask(t, c, "GET / HTTP/1.1\r\n\r\n")
		answer, err := io.ReadAll(c)
		if err != nil || string(answer) != string(r.answer) {
			t.Errorf("%q, %v", answer, err)
		}
	}
	// wrk must leave nothing at the client that uses up its ports.
	if _, err := Connections(t.Context(), p, time.Second); err == nil {
		t.Error("two responders listen on one port")
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if _, err := Connections(t.Context(), p, time.Second); err != nil {
		t.Fatal(err)
	}
	out, err := output(t.Context(), p.Client, "ss", "--no-header", "--tcp", "--numeric", "state", "time-wait")
	if err != nil || strings.Count(string(out), "\n") > 100 {
		t.Errorf("%d connections are remembered by the client: %v", strings.Count(string(out), "\n"), err)
	}
}

// A connection that a program just started has a copy of goes on having events
// after its end. They must not be taken for those of whoever got its number.
func TestResponderLeavesOthersAlone(t *testing.T) {
	linktest.NeedRoot(t)
	p := hosts(t)
	r, err := startResponder(p, true)
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, p.Client, r.addr.String())
	ask(t, c, "GET / HTTP/1.1\r\n")
	number := -1
	for fd := range 1 << 10 {
		peer, _ := unix.Getpeername(fd)
		if a, ok := peer.(*unix.SockaddrInet4); ok && a.Port == c.LocalAddr().(*net.TCPAddr).Port {
			number = fd
		}
	}
	copied, err := unix.Dup(number)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(copied)
	ask(t, c, "\r\n")
	if _, err := io.ReadFull(c, make([]byte, len(r.answer))); err != nil {
		t.Fatal(err)
	}
	// The server's end closes its number now, which somebody else gets.
	var others [2]int
	for others[0] != number && others[1] != number {
		if err := unix.Pipe2(others[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(others[0])
		defer unix.Close(others[1])
	}
	c.Close()
	time.Sleep(5 * responderPoll * time.Millisecond)
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	for _, fd := range others {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			t.Errorf("descriptor %d: %v", fd, err)
		}
	}
}
