package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/ovlnet/ovl/control/config"
)

// Limits of what the server takes.
const (
	// maxRequest is the largest body of a request, in bytes.
	maxRequest = 256 << 10
	// maxTime is how long the backend may work on one request.
	maxTime = 60 * time.Second
	// grace is how long requests under way may go on once the server is
	// told to stop.
	grace = 5 * time.Second
)

// ServerOptions are what NewServer may be told.
type ServerOptions struct {
	// Logger gets one line for each failed request. Default: slog.Default().
	Logger *slog.Logger
	// Version of the agent, for requests that it does not know.
	Version string
}

// Server answers ovlctl out of a Backend.
type Server struct {
	backend  Backend
	opts     ServerOptions
	handler  http.Handler
	requests sync.WaitGroup
}

// NewServer returns a server that calls b.
func NewServer(b Backend, opts ServerOptions) *Server {
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	s := &Server{backend: b, opts: opts}
	s.handler = s.routes()
	return s
}

// Listen opens the instance's socket, which only the user of the agent can
// reach (0600). A socket that is there already has no living owner, since the
// caller holds the instance's lock; it is replaced.
func Listen(lock *config.Lock) (net.Listener, error) {
	path := lock.Config().Socket()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("API socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("API socket: %w", err)
	}
	// Until here the run folder's mode kept others out.
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("API socket: %w", err)
	}
	return l, nil
}

// Serve answers requests on l until ctx ends; then it closes l, lets requests
// under way finish for a few seconds, cancels what is left and returns when
// every one of them has. The error is nil unless l failed.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer s.requests.Wait()
	defer cancel()
	srv := &http.Server{
		Handler:           s.handler,
		BaseContext:       func(net.Listener) context.Context { return base },
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.opts.Logger.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("API socket: %w", err)
	case <-ctx.Done():
	}
	limit, stop := context.WithTimeout(base, grace)
	defer stop()
	if err := srv.Shutdown(limit); err != nil {
		cancel()
		err = srv.Close()
		s.opts.Logger.Warn("requests cut off", "err", err)
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("API socket: %w", err)
	}
	return nil
}

// handle makes a handler of a backend call: it reads and validates the body
// if the request has one, bounds the time, and writes answer or error.
func handle[Req, Res any](s *Server, call func(context.Context, *http.Request, Req) (Res, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		defer s.requests.Done()
		ctx, cancel := context.WithTimeout(r.Context(), maxTime)
		defer cancel()
		defer func() {
			if p := recover(); p != nil {
				s.opts.Logger.Error("request panicked", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
				s.fail(w, r, Errorf(CodeInternal, "the agent failed on this request: see its log"))
			}
		}()
		var req Req
		if err := decode(w, r, &req); err != nil {
			s.fail(w, r, err)
			return
		}
		res, err := call(ctx, r, req)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		s.answer(w, r, http.StatusOK, res)
	}
}

// none is the body of requests and answers that have none.
type none struct{}

// decode reads the one JSON object of r's body into req; a GET or DELETE has
// no body.
func decode[Req any](w http.ResponseWriter, r *http.Request, req *Req) error {
	if _, ok := any(req).(*none); ok {
		return nil
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
	d.DisallowUnknownFields()
	if err := d.Decode(req); err != nil {
		if tooBig, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return Errorf(CodeInvalid, "request body is larger than %d bytes", tooBig.Limit)
		}
		return Errorf(CodeInvalid, "request body: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Errorf(CodeInvalid, "request body has more than one JSON object")
	}
	if v, ok := any(*req).(interface{ Validate() error }); ok {
		return v.Validate()
	}
	return nil
}

// envelope is the form in which an error travels and is printed.
type envelope struct {
	Error *Error `json:"error"`
}

// Envelope returns what is printed for err where JSON is wanted.
func Envelope(err error) any { return envelope{asError(err)} }

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := asError(err)
	s.opts.Logger.Debug("request refused", "method", r.Method, "path", r.URL.Path, "code", e.Code, "err", err)
	s.answer(w, r, e.Code.httpStatus(), envelope{e})
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		s.opts.Logger.Error("answer not encoded", "path", r.URL.Path, "err", err)
		http.Error(w, `{"error":{"code":"internal","message":"the agent could not encode its answer"}}`, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if _, err := w.Write(append(body, '\n')); err != nil {
		s.opts.Logger.Debug("answer not delivered", "path", r.URL.Path, "err", err)
	}
}
