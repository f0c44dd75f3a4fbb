package health

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// here is the namespace that the test runs in.
type here struct{}

func (here) Do(fn func() error) error { return fn() }

// gone is one that cannot be entered.
type gone struct{}

var errGone = errors.New("no such namespace")

func (gone) Do(func() error) error { return errGone }

// serve answers each connection on loopback with what handle does.
func serve(t *testing.T, handle func(net.Conn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			handle(conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return netip.MustParseAddrPort(l.Addr().String())
}

// long is a time-out that no test comes to.
const long = time.Minute

func TestProbeTCP(t *testing.T) {
	at := serve(t, func(net.Conn) {})
	if err := probe(t.Context(), Check{Namespace: here{}, Kind: TCP, Target: at, Timeout: long}); err != nil {
		t.Error(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := netip.MustParseAddrPort(l.Addr().String())
	l.Close()
	err = probe(t.Context(), Check{Namespace: here{}, Kind: TCP, Target: closed, Timeout: long})
	if err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("a port that is closed: %v", err)
	}
	if err := probe(t.Context(), Check{Namespace: gone{}, Kind: TCP, Target: at, Timeout: long}); !errors.Is(err, errGone) {
		t.Errorf("a namespace that is gone: %v", err)
	}
}

// answering reads a request, and writes text.
func answering(text string) func(net.Conn) {
	return func(c net.Conn) {
		http.ReadRequest(bufio.NewReader(c)) //nolint:errcheck // whatever it is
		io.WriteString(c, text)              //nolint:errcheck // the check may have seen enough
	}
}

func TestProbeHTTP(t *testing.T) {
	for _, c := range []struct {
		answer string
		want   string // part of the error, or "" for a good result
	}{
		{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", ""},
		{"HTTP/1.0 204 No Content\r\n\r\n", ""},
		{"HTTP/1.1 399 Odd\r\nContent-Length: 0\r\n\r\n", ""},
		{"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n", ""},
		{"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""},
		{"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\ncut off", ""},
		{"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "status 400 Bad Request"},
		{"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "status 503 Service Unavailable"},
		{"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", "status 500"},
		{strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 9), "1xx"},
		{"SSH-2.0-OpenSSH_9.6\r\n", "malformed HTTP"},
		{"", "EOF"},
	} {
		at := serve(t, answering(c.answer))
		err := probe(t.Context(), Check{Namespace: here{}, Kind: HTTP, Target: at, Path: "/", Timeout: long})
		text := ""
		if err != nil {
			text = err.Error()
		}
		if c.want == "" && err != nil || !strings.Contains(text, c.want) {
			t.Errorf("answer %.60q: error %q, want %q", c.answer, text, c.want)
		}
		if err != nil && !strings.HasPrefix(text, fmt.Sprintf("GET http://%s/: ", at)) {
			t.Errorf("%q does not say what was asked", text)
		}
	}
}

// TestProbeRequest: what the endpoint gets to see.
func TestProbeRequest(t *testing.T) {
	got := make(chan *http.Request, 1)
	at := serve(t, func(c net.Conn) {
		req, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			t.Error(err)
		}
		got <- req
		io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n") //nolint:errcheck // see the result
	})
	c := Check{Namespace: here{}, Kind: HTTP, Target: at, Path: "/live?full=1", Timeout: long}
	if err := probe(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	req := <-got
	if req == nil || req.Method != "GET" || req.RequestURI != c.Path || req.Host != at.String() || !req.Close {
		t.Errorf("request %+v", req)
	}
}

// endless answers with begin, and then with x for ever.
type endless struct {
	begin string
	read  int
}

func (e *endless) Write(b []byte) (int, error) { return len(b), nil }

func (e *endless) Read(b []byte) (int, error) {
	n := copy(b, e.begin)
	e.begin = e.begin[n:]
	if n == 0 {
		n = copy(b, strings.Repeat("x", len(b)))
	}
	e.read += n
	return n, nil
}

// TestGetBounds: neither a header nor a body without end holds a check.
func TestGetBounds(t *testing.T) {
	c := Check{Target: netip.MustParseAddrPort("10.0.0.2:80"), Path: "/"}
	body := &endless{begin: "HTTP/1.1 200 OK\r\n\r\n"}
	if err := get(body, c); err != nil {
		t.Error(err)
	}
	if body.read > 3*maxBody {
		t.Errorf("%d bytes were read, %d of the body wanted", body.read, maxBody)
	}
	header := &endless{begin: "HTTP/1.1 200 OK\r\nX: "}
	if err := get(header, c); err == nil {
		t.Error("a header without end is a good answer")
	}
	if header.read > maxHeader {
		t.Errorf("%d bytes of header were read, %d allowed", header.read, maxHeader)
	}
}

// TestProbeTimeout: an endpoint that takes a connection and is silent.
func TestProbeTimeout(t *testing.T) {
	at := serve(t, func(c net.Conn) { io.Copy(io.Discard, c) }) //nolint:errcheck // until the check gives up
	c := Check{Namespace: here{}, Kind: HTTP, Target: at, Path: "/", Timeout: 50 * time.Millisecond}
	if err := probe(t.Context(), c); err == nil || !strings.Contains(err.Error(), "timeout") {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c.Timeout = long
	time.AfterFunc(50*time.Millisecond, cancel)
	if err := probe(ctx, c); err == nil {
		t.Error("a check outlives its Checker")
	}
}
