package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/api/apitest"
	"github.com/ovlnet/ovl/control/config"
	"github.com/ovlnet/ovl/encap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testConfig returns an instance in a folder of its own. t.TempDir is too
// long for a unix socket where tests have long names.
func testConfig(t *testing.T) config.Config {
	t.Helper()
	root, err := os.MkdirTemp("", "ovlapi")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	c := config.Default()
	c.Root, c.Instance = root, "t"
	return c
}

// serve runs b on a real socket until the test ends.
func serve(t *testing.T, b api.Backend) config.Config {
	t.Helper()
	c := testConfig(t)
	stop := start(t, c, b)
	t.Cleanup(stop)
	return c
}

// start serves b at c's socket; the returned function stops it and waits.
func start(t *testing.T, c config.Config, b api.Backend) (stop func()) {
	t.Helper()
	lock, err := config.Acquire(c)
	if err != nil {
		t.Fatal(err)
	}
	l, err := api.Listen(lock)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- api.NewServer(b, api.ServerOptions{Version: "v9"}).Serve(ctx, l) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if err := lock.Release(); err != nil {
			t.Error(err)
		}
	}
}

// TestRoundTrip does everything through client, socket and server, and once
// more on the backend: what arrives is what it answered.
func TestRoundTrip(t *testing.T) {
	fake := &apitest.Fake{}
	c := api.NewClient(serve(t, fake))
	ctx := t.Context()

	made, err := c.NetworkCreate(ctx, api.NetworkRequest{
		Name:         "red",
		Subnets:      []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24"), netip.MustParsePrefix("fd00:1::/64")},
		Gateways:     []netip.Addr{netip.MustParseAddr("10.1.0.254")},
		IPRanges:     []netip.Prefix{netip.MustParsePrefix("10.1.0.128/25")},
		AuxAddresses: map[string]netip.Addr{"router": netip.MustParseAddr("10.1.0.9")},
		Internal:     true, Multicast: true, MTU: 1400, Labels: map[string]string{"a": "b"},
	})
	if err != nil {
		t.Fatal(err)
	}
	ep, err := c.Attach(ctx, api.AttachRequest{
		Network: "red", NetNS: "c1", Name: "web", IfName: "eth1", IPs: []netip.Addr{netip.MustParseAddr("10.1.0.7")},
		MAC: encap.MAC{2, 1, 2, 3, 4, 5}, Aliases: []string{"www"}, Labels: map[string]string{"k": "v"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if ep.MacAddress != (encap.MAC{2, 1, 2, 3, 4, 5}) || ep.Interface != "eth1" || ep.Addresses[0].String() != "10.1.0.7/24" {
		t.Errorf("attached %+v", ep)
	}

	for _, get := range []struct {
		name string
		call func(api.Backend) (any, error)
	}{
		{"Status", func(b api.Backend) (any, error) { return b.Status(ctx) }},
		{"Peers", func(b api.Backend) (any, error) { return b.Peers(ctx) }},
		{"TokenCreate", func(b api.Backend) (any, error) { return b.TokenCreate(ctx, api.TokenRequest{}) }},
		{"NetworkList", func(b api.Backend) (any, error) { return b.NetworkList(ctx) }},
		{"NetworkInspect", func(b api.Backend) (any, error) { return b.NetworkInspect(ctx, made.ID[:8]) }},
		{"EndpointList", func(b api.Backend) (any, error) { return b.EndpointList(ctx, "") }},
		{"EndpointList of one", func(b api.Backend) (any, error) { return b.EndpointList(ctx, "red") }},
		{"EndpointInspect", func(b api.Backend) (any, error) { return b.EndpointInspect(ctx, "web") }},
	} {
		got, err := get.call(c)
		if err != nil {
			t.Errorf("%s: %v", get.name, err)
			continue
		}
		want, _ := get.call(fake)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", get.name, got, want)
		}
	}

	half, err := c.Attach(ctx, api.AttachRequest{Network: "red", NetNS: "c2", EnteredInode: 4026531841})
	if err != nil {
		t.Fatal(err)
	}
	if whole, err := c.AttachFinish(ctx, half.ID); err != nil || whole.ID != half.ID {
		t.Errorf("AttachFinish: %+v, %v", whole, err)
	}
	if _, err := c.AttachFinish(ctx, half.ID); api.CodeOf(err) != api.CodeNotFound {
		t.Errorf("AttachFinish, twice: %v", err)
	}
	if _, err := c.Detach(ctx, api.DetachRequest{Endpoint: half.ID}); err != nil {
		t.Error(err)
	}
	gone, err := c.Detach(ctx, api.DetachRequest{Endpoint: "web", Network: "red"})
	if err != nil || gone.ID != ep.ID {
		t.Errorf("Detach: %+v, %v", gone, err)
	}
	if err := c.NetworkRemove(ctx, "red"); err != nil {
		t.Error(err)
	}
	if _, err := c.Leave(ctx, api.LeaveRequest{}); err != nil {
		t.Error(err)
	}
}

// TestErrorsTravel: code and message are the same on both sides.
func TestErrorsTravel(t *testing.T) {
	var next error
	fake := &apitest.Fake{OnLeave: func(api.LeaveRequest) (api.LeaveReport, error) { return api.LeaveReport{}, next }}
	c := api.NewClient(serve(t, fake))
	for _, tt := range []struct {
		err  error
		code api.Code
	}{
		{api.Errorf(api.CodeTaken, "address 10.0.0.2 belongs to web"), api.CodeTaken},
		{fmt.Errorf("leave: %w", api.Errorf(api.CodeUnreachable, "host-b does not answer")), api.CodeUnreachable},
		{errors.New("disk on fire"), api.CodeInternal},
		{fmt.Errorf("too slow: %w", context.DeadlineExceeded), api.CodeTimeout},
		{api.Errorf(api.CodeExhausted, "pool: %w", io.ErrUnexpectedEOF), api.CodeExhausted},
	} {
		next = tt.err
		_, err := c.Leave(t.Context(), api.LeaveRequest{})
		if got := api.CodeOf(err); got != tt.code {
			t.Errorf("%v: code %q, want %q", tt.err, got, tt.code)
		}
		if err.Error() != tt.err.Error() {
			t.Errorf("message %q, want %q", err, tt.err)
		}
		if errors.Is(err, api.ErrUnreachable) {
			t.Errorf("%v: looks as if the agent itself did not answer", err)
		}
	}
}

func TestBackendPanicIsOneFailedRequest(t *testing.T) {
	fake := &apitest.Fake{OnLeave: func(api.LeaveRequest) (api.LeaveReport, error) { panic("bug") }}
	c := api.NewClient(serve(t, fake))
	if _, err := c.Leave(t.Context(), api.LeaveRequest{}); api.CodeOf(err) != api.CodeInternal {
		t.Errorf("got %v", err)
	}
	if _, err := c.Status(t.Context()); err != nil {
		t.Errorf("after the panic: %v", err)
	}
}

// TestRawRequests is what other programs than Client may send.
func TestRawRequests(t *testing.T) {
	cfg := serve(t, &apitest.Fake{})
	hc := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", cfg.Socket())
		},
	}}
	for _, tt := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "/v1/networks", `{"Name":"red","Color":"red"}`, 400, `{"error":{"code":"invalid","message":"request body: json: unknown field \"Color\""}}`},
		{"POST", "/v1/networks", `{"Name":"-red"}`, 400, `"code":"invalid"`},
		{"POST", "/v1/networks", `{"Name":"red"}{"Name":"blue"}`, 400, `more than one JSON object`},
		{"POST", "/v1/networks", `{"Name":"` + strings.Repeat("x", 300<<10) + `"}`, 400, `larger than 262144 bytes`},
		{"POST", "/v1/networks", `{"Name":`, 400, `"code":"invalid"`},
		{"POST", "/v1/networks", ``, 400, `"code":"invalid"`},
		{"POST", "/v1/networks", `{"Name":"red","Subnets":["10.0.0.0"]}`, 400, `"code":"invalid"`},
		{"POST", "/v1/endpoints", `{"Network":"red"}`, 400, `exactly one of`},
		{"GET", "/v1/networks/nix", ``, 404, `{"error":{"code":"not_found","message":"network nix does not exist"}}`},
		{"GET", "/v1/networks/a%2Fb", ``, 400, `"code":"invalid"`},
		{"GET", "/v1/endpoints?network=a+b", ``, 400, `"code":"invalid"`},
		{"DELETE", "/v1/endpoints/%20", ``, 400, `"code":"invalid"`},
		{"PUT", "/v1/networks/red", `{}`, 501, `the agent (v9) does not know PUT /v1/networks/red`},
		{"GET", "/v2/status", ``, 501, `"code":"unsupported"`},
		{"GET", "/v1/status", ``, 200, `"Name":"host-a"`},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tt.method, "http://x"+tt.path, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		res, err := hc.Do(req)
		if err != nil {
			t.Errorf("%s %s: %v", tt.method, tt.path, err)
			continue
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != tt.status || !strings.Contains(string(body), tt.want) {
			t.Errorf("%s %s %.40s: %d %s, want %d %s", tt.method, tt.path, tt.body, res.StatusCode, body, tt.status, tt.want)
		}
	}
	networks, err := api.NewClient(cfg).NetworkList(t.Context())
	if err != nil || len(networks) != 0 {
		t.Errorf("a refused request left %v, %v", networks, err)
	}
}

func TestSocketMode(t *testing.T) {
	cfg := serve(t, &apitest.Fake{})
	info, err := os.Stat(cfg.Socket())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v; want mode 0600", info.Mode(), err)
	}
	if info, err = os.Stat(cfg.RunDir()); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("run folder: %v, %v; want mode 0700", info.Mode(), err)
	}
}

// TestStaleSocket: an agent that was killed leaves its socket behind.
func TestStaleSocket(t *testing.T) {
	c := testConfig(t)
	if err := os.MkdirAll(c.RunDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: c.Socket()})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if _, err := api.NewClient(c).Status(t.Context()); !errors.Is(err, api.ErrUnreachable) {
		t.Errorf("stale socket: %v, want ErrUnreachable", err)
	}
	defer start(t, c, &apitest.Fake{})()
	if _, err := api.NewClient(c).Status(t.Context()); err != nil {
		t.Errorf("after it was replaced: %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	c := testConfig(t)
	_, err := api.NewClient(c).Status(t.Context())
	want := fmt.Sprintf("cannot reach the agent of instance \"t\" at %s: is `ovlctl up` running?", c.Socket())
	if !errors.Is(err, api.ErrUnreachable) || err.Error() != want || api.CodeOf(err) != api.CodeAgentUnreachable {
		t.Errorf("got %v (%s), want %s", err, api.CodeOf(err), want)
	}
}

// TestStopWaitsForAnswers: a request under way when the agent is told to end
// gets its answer, as `ovlctl down` needs.
func TestStopWaitsForAnswers(t *testing.T) {
	c := testConfig(t)
	entered, goOn := make(chan struct{}), make(chan struct{})
	stop := start(t, c, &apitest.Fake{OnLeave: func(api.LeaveRequest) (api.LeaveReport, error) {
		close(entered)
		<-goOn
		return api.LeaveReport{Problems: []string{"late"}}, nil
	}})
	stopped := make(chan struct{})
	answer := make(chan api.LeaveReport, 1)
	go func() {
		r, err := api.NewClient(c).Leave(context.Background(), api.LeaveRequest{})
		if err != nil {
			t.Error(err)
		}
		answer <- r
	}()
	<-entered
	go func() { stop(); close(stopped) }()
	select {
	case <-stopped:
		t.Fatal("Serve returned while a request was under way")
	case <-time.After(50 * time.Millisecond):
	}
	close(goOn)
	if r := <-answer; len(r.Problems) != 1 {
		t.Errorf("got %+v", r)
	}
	<-stopped
}

// TestCallerHangsUp: the backend's context ends with the caller.
func TestCallerHangsUp(t *testing.T) {
	entered, ended := make(chan struct{}), make(chan struct{})
	b := &hanging{Fake: &apitest.Fake{}, entered: entered, ended: ended}
	c := api.NewClient(serve(t, b))
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-entered; cancel() }()
	if _, err := c.Status(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("the backend's context did not end")
	}
}

type hanging struct {
	*apitest.Fake
	entered, ended chan struct{}
}

func (h *hanging) Status(ctx context.Context) (api.Status, error) {
	close(h.entered)
	<-ctx.Done()
	close(h.ended)
	return api.Status{}, ctx.Err()
}
