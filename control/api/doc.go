// Package api is how ovlctl and the agent of the same host talk: HTTP/1.1
// over a unix socket that only root can open, JSON bodies, paths that begin
// with their version (/v1/…).
//
// A request flows: a command builds one of the request objects (types_*.go)
// and validates it; Client sends it; Server bounds its size, refuses fields
// that it does not know, validates it again and calls the Backend, which is
// the agent; the answer, or an *Error in its envelope, flows back.
//
// The objects that answers hold are also what `ovlctl -o json` prints. Their
// field names are a stable contract: fields are added, never renamed.
package api
