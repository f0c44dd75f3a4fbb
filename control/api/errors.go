package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// Code says what kind of failure an Error is. Programs decide on it; people
// read the message.
type Code string

// The codes, and the HTTP status that each travels with.
const (
	// CodeInvalid: the request is malformed or out of range. Nothing was
	// changed, and nothing will be until it is written differently.
	CodeInvalid Code = "invalid"
	// CodeNotFound: the network, endpoint, namespace, process or interface
	// that the request names does not exist.
	CodeNotFound Code = "not_found"
	// CodeExists: an object of that name exists already.
	CodeExists Code = "exists"
	// CodeInUse: the object still has others that depend on it.
	CodeInUse Code = "in_use"
	// CodeTaken: the wanted address or MAC belongs to someone else; the
	// message says to whom.
	CodeTaken Code = "taken"
	// CodeExhausted: no address, subnet or VNI is left.
	CodeExhausted Code = "exhausted"
	// CodeElsewhere: only the host that holds the object can do this.
	CodeElsewhere Code = "elsewhere"
	// CodeAmbiguous: the reference fits several objects.
	CodeAmbiguous Code = "ambiguous"
	// CodeUnreachable: another host, which had to be asked, does not answer;
	// the message says which.
	CodeUnreachable Code = "unreachable"
	// CodeAgentUnreachable is made by Client alone: this host's agent does
	// not answer. It comes with ErrUnreachable.
	CodeAgentUnreachable Code = "agent_unreachable"
	// CodeUnsupported: this host or this version cannot do it.
	CodeUnsupported Code = "unsupported"
	// CodeCannotEnter: the agent may not enter the network namespace. The
	// caller may: see AttachRequest.EnteredInode.
	CodeCannotEnter Code = "cannot_enter"
	// CodeTimeout: the time allowed for the request ran out.
	CodeTimeout Code = "timeout"
	// CodeInternal: everything that is the agent's own fault.
	CodeInternal Code = "internal"
	// CodeUsage is made by ovlctl alone: the command line itself is wrong.
	CodeUsage Code = "usage"
)

// ErrUnreachable is wrapped by the error of every Client call that got no
// answer from the agent.
var ErrUnreachable = errors.New("agent cannot be reached")

// Error is a refusal or failure that keeps its code from the agent to the
// command that asked. Message is one line in lower case that names the object
// and the rule.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`

	cause error
}

// Errorf makes an Error. A %w in format keeps its operand for errors.Is and
// errors.As on this side of the socket; only code and text travel.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), cause: errors.Unwrap(err)}
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Unwrap returns what Errorf was given for %w, if anything.
func (e *Error) Unwrap() error { return e.cause }

// CodeOf returns the code of the outermost Error in err's chain, CodeTimeout
// if a deadline ended it, else CodeInternal. It is empty for nil.
func CodeOf(err error) Code {
	var e *Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return e.Code
	case errors.Is(err, context.DeadlineExceeded):
		return CodeTimeout
	default:
		return CodeInternal
	}
}

// asError returns what travels for err: its code, and its whole text, which
// may say more than the Error inside it.
func asError(err error) *Error { return &Error{Code: CodeOf(err), Message: err.Error()} }

// httpStatus is for people who look at the socket with curl; ovlctl decides
// on the code.
func (c Code) httpStatus() int {
	switch c {
	case CodeInvalid, CodeUsage:
		return http.StatusBadRequest
	case CodeNotFound:
		return http.StatusNotFound
	case CodeExists, CodeInUse, CodeTaken, CodeExhausted, CodeElsewhere, CodeAmbiguous:
		return http.StatusConflict
	case CodeUnreachable, CodeAgentUnreachable:
		return http.StatusBadGateway
	case CodeUnsupported, CodeCannotEnter:
		return http.StatusNotImplemented
	case CodeTimeout:
		return http.StatusGatewayTimeout
	default:
		return http.StatusInternalServerError
	}
}
