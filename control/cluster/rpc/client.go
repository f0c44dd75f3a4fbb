package rpc

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"

	"github.com/ovlnet/ovl/control/cluster/trust"
)

// Request posts body and reads the answer, see Transport.
func (h *HTTP) Request(ctx context.Context, addr netip.AddrPort, method string, body []byte) ([]byte, error) {
	if len(body) > MaxBody {
		return nil, fmt.Errorf("%s to %s: %w: %d bytes, at most %d", method, addr, ErrTooLarge, len(body), MaxBody)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+addr.String()+pathPrefix+method, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s to %s: %w", method, addr, err)
	}
	req.Header.Set(headerNode, h.nodeID)
	req.Header.Set("Content-Type", "application/x-ndjson")
	resp, err := h.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", addr, reason(err))
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, MaxBody+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w: %w", addr, ErrUnreachable, err)
	case len(answer) > MaxBody:
		return nil, fmt.Errorf("answer of %s to %s: %w: over %d bytes", addr, method, ErrTooLarge, MaxBody)
	case resp.StatusCode == http.StatusOK:
		return answer, nil
	}
	var e envelope
	if err := json.Unmarshal(answer, &e); err != nil || e.Error == nil || e.Error.Code == "" {
		return nil, fmt.Errorf("answer of %s to %s: HTTP status %d without a reason", addr, method, resp.StatusCode)
	}
	return nil, asError(e.Error)
}

// reason finds what a person can act on in a failed request.
func reason(err error) error {
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err // it repeats the URL
	}
	var alert tls.AlertError
	var plain tls.RecordHeaderError
	switch {
	case errors.Is(err, trust.ErrStranger):
		return trust.ErrStranger
	case errors.As(err, &alert):
		// The other end refused us: it has another key, or it wants no
		// HTTP/2 and is not ovl.
		return fmt.Errorf("%w (%w)", trust.ErrStranger, err)
	case errors.As(err, &plain):
		return fmt.Errorf("%w: %w", ErrNotSync, err)
	default:
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
}
