package rpc

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/cluster/trust"
)

var discard = slog.New(slog.DiscardHandler)

func listen(t *testing.T, s trust.Secret, id string) *HTTP {
	t.Helper()
	identity, err := s.Identity()
	if err != nil {
		t.Fatal(err)
	}
	h, err := ListenHTTP(HTTPOptions{Addr: netip.MustParseAddrPort("127.0.0.1:0"), NodeID: id, Identity: identity})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return h
}

// testMux answers with what went wrong or right.
func testMux() *Mux {
	m := NewMux(discard)
	m.Register("echo", time.Second, func(_ context.Context, from string, body []byte) ([]byte, error) {
		return append([]byte(from+" "), body...), nil
	})
	m.Register("refuse", time.Second, func(context.Context, string, []byte) ([]byte, error) {
		return nil, fmt.Errorf("allocate: %w", Errorf("no_address", "none is left in <10.0.0.0/24>"))
	})
	m.Register("long", time.Second, func(context.Context, string, []byte) ([]byte, error) {
		return nil, errors.New(strings.Repeat("x", 1<<20))
	})
	m.Register("big", time.Second, func(context.Context, string, []byte) ([]byte, error) {
		return make([]byte, MaxBody+1), nil
	})
	m.Register("panic", time.Second, func(context.Context, string, []byte) ([]byte, error) { panic("at the disco") })
	m.Register("slow", 50*time.Millisecond, func(ctx context.Context, _ string, _ []byte) ([]byte, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	m.Register("json", time.Second, JSON(func(_ context.Context, _ string, n struct{ N int }) (any, error) { return n.N + 1, nil }))
	return m
}

func pair(t *testing.T) (client, server *HTTP) {
	s := trust.NewSecret()
	client, server = listen(t, s, "client"), listen(t, s, "server")
	server.Serve(testMux().Handle)
	return client, server
}

func TestRequest(t *testing.T) {
	client, server := pair(t)
	got, err := client.Request(t.Context(), server.Addr(), "echo", []byte("hello"))
	if err != nil || string(got) != "client hello" {
		t.Fatalf("%q, %v", got, err)
	}
	full := bytes.Repeat([]byte("x"), MaxBody-len("client "))
	if got, err = client.Request(t.Context(), server.Addr(), "echo", full); err != nil || len(got) != MaxBody {
		t.Errorf("largest message: %d bytes, %v", len(got), err)
	}
	if _, err = client.Request(t.Context(), server.Addr(), "echo", make([]byte, MaxBody+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("one byte more: %v", err)
	}
	if got, err = client.Request(t.Context(), server.Addr(), "json", []byte(`{"N":1}`)); err != nil || string(got) != "2" {
		t.Errorf("json: %q, %v", got, err)
	}
}

func TestErrorsSurviveTheWire(t *testing.T) {
	client, server := pair(t)
	for method, want := range map[string]struct{ code, text string }{
		"refuse":   {"no_address", "allocate: none is left in <10.0.0.0/24>"},
		"long":     {CodeInternal, "xxx"},
		"big":      {CodeTooLarge, "answer"},
		"panic":    {CodeInternal, "its log"},
		"slow":     {CodeTimeout, "deadline"},
		"nowhere":  {CodeUnknownMethod, "older version"},
		"json":     {CodeBadRequest, "malformed"},
		"../echo":  {CodeUnknownMethod, ""},
		"echo?a=b": {"", ""},
	} {
		t.Run(strings.ReplaceAll(method, "/", "_"), func(t *testing.T) {
			got, err := client.Request(t.Context(), server.Addr(), method, []byte("{"))
			if want.code == "" {
				if err != nil {
					t.Errorf("%q, %v", got, err)
				}
				return
			}
			var e *Error
			if !errors.As(err, &e) || e.Code != want.code || !strings.Contains(e.Message, want.text) {
				t.Fatalf("error %#v, want code %s and %q", err, want.code, want.text)
			}
			if len(e.Message) > maxMessage {
				t.Errorf("message has %d bytes", len(e.Message))
			}
		})
	}
}

func TestWhyAHostCannotBeAsked(t *testing.T) {
	client := listen(t, trust.NewSecret(), "client")
	stranger := listen(t, trust.NewSecret(), "stranger")
	stranger.Serve(testMux().Handle)
	if _, err := client.Request(t.Context(), stranger.Addr(), "echo", nil); !errors.Is(err, trust.ErrStranger) {
		t.Errorf("another secret: %v", err)
	}

	gone := listen(t, trust.NewSecret(), "gone")
	gone.Close()
	if _, err := client.Request(t.Context(), gone.Addr(), "echo", nil); !errors.Is(err, ErrUnreachable) {
		t.Errorf("closed port: %v", err)
	}

	// Something that talks first, and no TLS.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "SSH-2.0-something\r\n")
			c.Close()
		}
	}()
	addr := ln.Addr().(*net.TCPAddr).AddrPort()
	if _, err := client.Request(t.Context(), addr, "echo", nil); !errors.Is(err, ErrNotSync) {
		t.Errorf("another service: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Request(ctx, addr, "echo", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// raw sends what our own client never would, from a holder of the key.
func TestHostileRequests(t *testing.T) {
	client, server := pair(t)
	send := func(method, path, node string, body io.Reader) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "https://"+server.Addr().String()+path, body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(headerNode, node)
		resp, err := client.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	endless := io.LimitReader(zeros{}, 64<<20)
	cases := map[string]struct {
		resp *http.Response
		want int
	}{
		"GET":           {send("GET", "/v1/echo", "a", nil), http.StatusMethodNotAllowed},
		"other path":    {send("POST", "/v2/echo", "a", nil), http.StatusNotFound},
		"no node":       {send("POST", "/v1/echo", "", nil), http.StatusBadRequest},
		"long node":     {send("POST", "/v1/echo", strings.Repeat("n", 65), nil), http.StatusBadRequest},
		"endless body":  {send("POST", "/v1/echo", "a", endless), http.StatusRequestEntityTooLarge},
		"after all":     {send("POST", "/v1/echo", "a", strings.NewReader("x")), http.StatusOK},
		"unknown, long": {send("POST", "/v1/"+strings.Repeat("m", 4000), "a", nil), http.StatusNotFound},
	}
	for name, c := range cases {
		if c.resp.StatusCode != c.want {
			t.Errorf("%s: status %d, want %d", name, c.resp.StatusCode, c.want)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), "POST", "https://"+server.Addr().String()+"/v1/echo", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(headerNode, "a")
	req.Header.Set("Big", strings.Repeat("h", 1<<20))
	if resp, err := client.client.Do(req); err == nil {
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			t.Error("a header of 1 MiB is served")
		}
	}
}

// A stranger gets no answer, whatever it sends.
func TestServerSaysNothingToStrangers(t *testing.T) {
	_, server := pair(t)
	for name, first := range map[string]string{
		"plain HTTP": "GET / HTTP/1.0\r\n\r\n", "noise": strings.Repeat("\x16\x03\x01\xff\xff", 100), "silence": "",
	} {
		c, err := net.Dial("tcp", server.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, first); err != nil {
			t.Fatal(err)
		}
		if err := c.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(io.LimitReader(c, 1<<16))
		if bytes.Contains(got, []byte("ovl")) || len(got) > 256 {
			t.Errorf("%s is answered with %q", name, got)
		}
		c.Close()
	}
	c, err := tls.Dial("tcp", server.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err == nil {
		if err := c.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err = c.Read(make([]byte, 1)); err == nil {
			t.Error("a client without a certificate is served")
		}
		c.Close()
	}
}

func TestCloseEndsRequestsUnderWay(t *testing.T) {
	client, server := listen(t, trust.Secret{}, "client"), listen(t, trust.Secret{}, "server")
	started, ended := make(chan struct{}), make(chan struct{})
	server.Serve(func(ctx context.Context, _, _ string, _ []byte) ([]byte, error) {
		close(started)
		<-ctx.Done()
		close(ended)
		return nil, ctx.Err()
	})
	failed := make(chan error)
	go func() {
		_, err := client.Request(t.Context(), server.Addr(), "x", nil)
		failed <- err
	}()
	<-started
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	select {
	case <-ended:
	default:
		t.Error("Close returned before the handler did")
	}
	if err := <-failed; err == nil {
		t.Error("request was answered")
	}
	if err := server.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}

func TestMuxRefusesBadNames(t *testing.T) {
	for _, name := range []string{"", "echo", "Echo", "a b", "/a", strings.Repeat("a", 65)} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("method %q was taken", name)
				}
			}()
			testMux().Register(name, time.Second, nil)
		}()
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }
