package rpc

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/ovlnet/ovl/control/cluster/trust"
)

// Limits of the HTTP transport. A method's own limit, see Mux.Register, is
// shorter than answerLimit.
const (
	dialLimit      = 3 * time.Second
	handshakeLimit = 5 * time.Second
	answerLimit    = 20 * time.Second
	idleLimit      = 90 * time.Second
	maxHeader      = 8 << 10
	maxStreams     = 250 // requests at once on one connection
)

// Headers of a request.
const (
	headerNode = "Ovl-Node"
	maxNodeID  = 64
)

// pathPrefix comes before the method's name in a URL; it is the version of the
// transport.
const pathPrefix = "/v1/"

// HTTPOptions are for ListenHTTP.
type HTTPOptions struct {
	// Addr is where to listen, TCP; port zero picks a free one.
	Addr netip.AddrPort
	// NodeID is what this host calls itself in its requests.
	NodeID string
	// Identity proves to both ends that the other is of the cluster.
	Identity *trust.Identity
	// Logger takes what strangers do at debug. Default: discard.
	Logger *slog.Logger
}

// HTTP is the Transport of real hosts.
type HTTP struct {
	nodeID   string
	addr     netip.AddrPort
	listener net.Listener
	client   *http.Client
	server   *http.Server

	mu      sync.Mutex
	serving bool
	closed  bool
	served  sync.WaitGroup // the accept loop
	running sync.WaitGroup // handlers
}

var _ Transport = (*HTTP)(nil)

// ListenHTTP takes the port. Requests wait until Serve.
func ListenHTTP(o HTTPOptions) (*HTTP, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	ln, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(o.Addr))
	if err != nil {
		return nil, fmt.Errorf("sync port: %w", err)
	}
	h2 := new(http.Protocols)
	h2.SetHTTP2(true)
	h := &HTTP{
		nodeID:   o.NodeID,
		listener: ln,
		addr:     netip.AddrPortFrom(o.Addr.Addr(), ln.Addr().(*net.TCPAddr).AddrPort().Port()),
		client:   newClient(o.Identity, h2),
	}
	h.server = &http.Server{
		TLSConfig:         o.Identity.ServerConfig(),
		Protocols:         h2,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		ReadHeaderTimeout: handshakeLimit,
		ReadTimeout:       answerLimit,
		WriteTimeout:      2 * answerLimit,
		IdleTimeout:       idleLimit,
		MaxHeaderBytes:    maxHeader,
		// What a port scanner leaves behind is no warning.
		ErrorLog: slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
	}
	return h, nil
}

func newClient(id *trust.Identity, protocols *http.Protocols) *http.Client {
	return &http.Client{
		Timeout: answerLimit,
		// The other end has no business to send us elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: dialLimit, KeepAlive: 15 * time.Second}).DialContext,
			TLSClientConfig:        id.ClientConfig(),
			TLSHandshakeTimeout:    handshakeLimit,
			Protocols:              protocols,
			ResponseHeaderTimeout:  answerLimit,
			MaxResponseHeaderBytes: maxHeader,
			IdleConnTimeout:        idleLimit,
			DisableCompression:     true,
			// A connection to a host that lost its power says nothing: ask it
			// before requests pile up on it.
			HTTP2: &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 3 * time.Second},
		},
	}
}

// Addr returns the address with the port that was really taken.
func (h *HTTP) Addr() netip.AddrPort { return h.addr }

// Serve begins to answer, see Transport.
func (h *HTTP) Serve(handler Handler) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || h.serving {
		return
	}
	h.serving = true
	h.server.Handler = h.handler(handler)
	h.served.Add(1)
	go func() {
		defer h.served.Done()
		// It returns when Close closes the listener; there is no other way
		// to end for one that listens already.
		_ = h.server.ServeTLS(h.listener, "", "")
	}()
}

// Close stops at once: a request that is cut off fails at its caller, and is
// repaired there as any other loss is.
func (h *HTTP) Close() error {
	h.mu.Lock()
	first := !h.closed
	h.closed = true
	h.mu.Unlock()
	var err error
	if first {
		err = h.server.Close()
		if cerr := h.listener.Close(); cerr != nil && !errors.Is(cerr, net.ErrClosed) {
			err = errors.Join(err, cerr)
		}
		h.client.CloseIdleConnections()
	}
	h.served.Wait()
	h.running.Wait()
	return err
}
