// Package rpc carries a request from one host of the cluster to another and
// the answer back:
//
//	Request ─▶ Transport ═ network ═▶ Transport ─▶ Mux ─▶ Func
//	                     ◀══════════  answer, or an Error with its code
//
// HTTP is the transport of real hosts: HTTP/2 on mutual TLS 1.3. clustertest
// has one that calls the other end's Mux directly. Both know no retries and no
// state; every message is at most MaxBody bytes, both ways.
package rpc

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
)

// MaxBody is the largest request or answer in bytes.
const MaxBody = 1 << 20

// Transport sends requests and takes those of others. All methods may be
// called concurrently.
type Transport interface {
	// Addr is where this host's requests are taken.
	Addr() netip.AddrPort

	// Request sends body to method at the host behind addr, and returns its
	// answer. What the method itself refuses is an *Error; what else went
	// wrong wraps ErrUnreachable, ErrNotSync or trust.ErrStranger where one
	// of them is the reason. It obeys ctx, and has limits of its own.
	Request(ctx context.Context, addr netip.AddrPort, method string, body []byte) ([]byte, error)

	// Serve begins to hand requests to h, from any number of goroutines. It
	// is called once.
	Serve(h Handler)

	// Close stops both directions, waits for the handlers that run, and may
	// be called twice.
	Close() error
}

// Handler answers one request. from is the node ID that the caller says to
// have: every member holds the same key for now, so it is as true as members
// are honest. It keeps honest hosts' records straight; it is no access check.
type Handler func(ctx context.Context, from, method string, body []byte) ([]byte, error)

var (
	// ErrUnreachable means that nothing answers there, or the answer did not come.
	ErrUnreachable = errors.New("cannot be reached")
	// ErrNotSync means that something answers there that does not speak TLS; most
	// likely it is another port of the same host.
	ErrNotSync = errors.New("does not answer as ovl's sync port")
	// ErrTooLarge means that a request is over MaxBody.
	ErrTooLarge = errors.New("message is too large")
)

// Codes of errors that this package makes itself.
const (
	CodeInternal      = "internal"
	CodeBadRequest    = "bad_request"
	CodeTooLarge      = "too_large"
	CodeUnknownMethod = "unknown_method"
	CodeTimeout       = "timeout"
)

// Error is a refusal that survives the wire: the caller's errors.As finds what
// the method returned.
type Error struct {
	// Code is for programs: lower-case words joined by '_'.
	Code string `json:"code"`
	// Message is for people.
	Message string `json:"message"`
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Errorf makes an Error.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// IsCode reports whether err is, or wraps, an Error with that code.
func IsCode(err error, code string) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}

// maxMessage bounds the text of an error on the wire.
const maxMessage = 1 << 10

// asError returns the form in which err crosses the wire.
func asError(err error) *Error {
	var e *Error
	var out Error
	switch {
	case errors.As(err, &e):
		// The wrapping is of use to people on the other side as well.
		out = Error{Code: e.Code, Message: err.Error()}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		out = Error{Code: CodeTimeout, Message: err.Error()}
	default:
		out = Error{Code: CodeInternal, Message: err.Error()}
	}
	if len(out.Message) > maxMessage {
		out.Message = out.Message[:maxMessage]
	}
	return &out
}
