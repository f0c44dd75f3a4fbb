package rpc

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
)

// envelope is the body of every answer that is not 200.
type envelope struct {
	Error *Error `json:"error"`
}

// handler unpacks an HTTP request. The caller has proven to hold the cluster's
// key before the first byte gets here; its input is bounded all the same.
func (h *HTTP) handler(handle Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.begin() {
			fail(w, http.StatusServiceUnavailable, Errorf(CodeInternal, "this host is about to stop"))
			return
		}
		defer h.running.Done()
		name, ok := strings.CutPrefix(r.URL.Path, pathPrefix)
		from := r.Header.Get(headerNode)
		switch {
		case !ok:
			fail(w, http.StatusNotFound, Errorf(CodeUnknownMethod, "no such path; methods are under %s", pathPrefix))
			return
		case r.Method != http.MethodPost:
			w.Header().Set("Allow", http.MethodPost)
			fail(w, http.StatusMethodNotAllowed, Errorf(CodeBadRequest, "only POST is answered"))
			return
		case from == "" || len(from) > maxNodeID:
			fail(w, http.StatusBadRequest, Errorf(CodeBadRequest, "header %s must hold the caller's node ID", headerNode))
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
		if err != nil {
			var over *http.MaxBytesError
			if errors.As(err, &over) {
				fail(w, http.StatusRequestEntityTooLarge, Errorf(CodeTooLarge, "request has over %d bytes", MaxBody))
				return
			}
			fail(w, http.StatusBadRequest, Errorf(CodeBadRequest, "request was cut off"))
			return
		}
		answer, err := handle(r.Context(), from, name, body)
		if err != nil {
			e := asError(err)
			fail(w, statusOf(e.Code), e)
			return
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		_, _ = w.Write(answer) // a caller that went away needs no answer
	})
}

// begin counts a handler in, unless Close has begun.
func (h *HTTP) begin() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.running.Add(1)
	return true
}

// statusOf is for people who look with curl: our own client reads the code.
func statusOf(code string) int {
	switch code {
	case CodeInternal:
		return http.StatusInternalServerError
	case CodeTimeout:
		return http.StatusGatewayTimeout
	case CodeUnknownMethod:
		return http.StatusNotFound
	case CodeTooLarge:
		return http.StatusRequestEntityTooLarge
	case CodeBadRequest:
		return http.StatusBadRequest
	default:
		return http.StatusConflict
	}
}

func fail(w http.ResponseWriter, status int, e *Error) {
	body, err := json.Marshal(envelope{e})
	if err != nil {
		// Two strings always have a JSON form.
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
