package rpc

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"runtime/debug"
	"sync"
	"time"
)

// Func answers a request of one method. An *Error that it returns, or wraps,
// reaches the caller with its code; others arrive as CodeInternal.
type Func func(ctx context.Context, from string, body []byte) ([]byte, error)

// Mux finds the method that a request names. Its Handle method is a Handler.
type Mux struct {
	log *slog.Logger

	mu      sync.RWMutex
	methods map[string]method
}

type method struct {
	limit time.Duration
	f     Func
}

// NewMux returns a Mux that knows no methods.
func NewMux(log *slog.Logger) *Mux {
	return &Mux{log: log, methods: make(map[string]method)}
}

// methodName is what a method may be called: it is part of a URL.
var methodName = regexp.MustCompile(`^[a-z][a-z0-9_/-]{0,63}$`)

// Register makes f answer requests to name; ctx is over after limit. A
// malformed or taken name is a mistake in the program and panics.
func (m *Mux) Register(name string, limit time.Duration, f Func) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, taken := m.methods[name]; taken || !methodName.MatchString(name) {
		panic(fmt.Sprintf("rpc: method %q is taken or malformed", name))
	}
	m.methods[name] = method{limit, f}
}

// JSON makes a Func of one that takes and returns JSON values.
func JSON[Req any](f func(ctx context.Context, from string, req Req) (any, error)) Func {
	return func(ctx context.Context, from string, body []byte) ([]byte, error) {
		var req Req
		if err := json.Unmarshal(body, &req); err != nil {
			return nil, Errorf(CodeBadRequest, "malformed request: %v", err)
		}
		resp, err := f(ctx, from, req)
		if err != nil {
			return nil, err
		}
		return json.Marshal(resp)
	}
}

// Handle answers one request; its errors are all *Error. A method that panics
// costs its caller an error and this host a line in its log, not its life:
// what another host sends must never stop this one.
func (m *Mux) Handle(ctx context.Context, from, name string, body []byte) (answer []byte, err error) {
	m.mu.RLock()
	found, ok := m.methods[name]
	m.mu.RUnlock()
	if !ok {
		return nil, Errorf(CodeUnknownMethod, "this host does not know the method %.80q; does it run an older version?", name)
	}
	if len(body) > MaxBody {
		return nil, Errorf(CodeTooLarge, "request has over %d bytes", MaxBody)
	}
	ctx, cancel := context.WithTimeout(ctx, found.limit)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			m.log.Error("method panicked", "method", name, "peer", from, "panic", r, "stack", string(debug.Stack()))
			answer, err = nil, Errorf(CodeInternal, "%s failed on the other host; its log says why", name)
		}
	}()
	answer, err = found.f(ctx, from, body)
	if err == nil && len(answer) > MaxBody {
		err = Errorf(CodeTooLarge, "answer has over %d bytes", MaxBody)
	}
	if err != nil {
		return nil, asError(err)
	}
	return answer, nil
}
