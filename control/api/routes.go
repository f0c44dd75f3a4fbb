package api

import (
	"context"
	"net/http"
)

// routes ties each path to its backend call. A {ref} is checked before the
// backend sees it.
func (s *Server) routes() http.Handler {
	b, mux := s.backend, http.NewServeMux()

	mux.Handle("GET /v1/status", handle(s, func(ctx context.Context, _ *http.Request, _ none) (Status, error) {
		return b.Status(ctx)
	}))
	mux.Handle("GET /v1/peers", handle(s, func(ctx context.Context, _ *http.Request, _ none) ([]Peer, error) {
		return b.Peers(ctx)
	}))
	mux.Handle("POST /v1/tokens", handle(s, func(ctx context.Context, _ *http.Request, q TokenRequest) (Token, error) {
		return b.TokenCreate(ctx, q)
	}))
	mux.Handle("POST /v1/leave", handle(s, func(ctx context.Context, _ *http.Request, q LeaveRequest) (LeaveReport, error) {
		return b.Leave(ctx, q)
	}))

	mux.Handle("POST /v1/networks", handle(s, func(ctx context.Context, _ *http.Request, q NetworkRequest) (Network, error) {
		return b.NetworkCreate(ctx, q)
	}))
	mux.Handle("GET /v1/networks", handle(s, func(ctx context.Context, _ *http.Request, _ none) ([]NetworkSummary, error) {
		return b.NetworkList(ctx)
	}))
	mux.Handle("GET /v1/networks/{ref}", handle(s, func(ctx context.Context, r *http.Request, _ none) (Network, error) {
		ref := r.PathValue("ref")
		if err := ValidateRef("network", ref); err != nil {
			return Network{}, err
		}
		return b.NetworkInspect(ctx, ref)
	}))
	mux.Handle("DELETE /v1/networks/{ref}", handle(s, func(ctx context.Context, r *http.Request, _ none) (none, error) {
		ref := r.PathValue("ref")
		if err := ValidateRef("network", ref); err != nil {
			return none{}, err
		}
		return none{}, b.NetworkRemove(ctx, ref)
	}))

	mux.Handle("POST /v1/endpoints", handle(s, func(ctx context.Context, _ *http.Request, q AttachRequest) (Endpoint, error) {
		return b.Attach(ctx, q)
	}))
	mux.Handle("POST /v1/endpoints/{ref}/finish", handle(s, func(ctx context.Context, r *http.Request, _ none) (Endpoint, error) {
		ref := r.PathValue("ref")
		if err := ValidateRef("endpoint", ref); err != nil {
			return Endpoint{}, err
		}
		return b.AttachFinish(ctx, ref)
	}))
	mux.Handle("GET /v1/endpoints", handle(s, func(ctx context.Context, r *http.Request, _ none) ([]Endpoint, error) {
		network := r.URL.Query().Get("network")
		if network != "" {
			if err := ValidateRef("network", network); err != nil {
				return nil, err
			}
		}
		return b.EndpointList(ctx, network)
	}))
	mux.Handle("GET /v1/endpoints/{ref}", handle(s, func(ctx context.Context, r *http.Request, _ none) (Endpoint, error) {
		ref := r.PathValue("ref")
		if err := ValidateRef("endpoint", ref); err != nil {
			return Endpoint{}, err
		}
		return b.EndpointInspect(ctx, ref)
	}))
	mux.Handle("DELETE /v1/endpoints/{ref}", handle(s, func(ctx context.Context, r *http.Request, _ none) (Endpoint, error) {
		q := DetachRequest{Endpoint: r.PathValue("ref"), Network: r.URL.Query().Get("network")}
		if err := q.Validate(); err != nil {
			return Endpoint{}, err
		}
		return b.Detach(ctx, q)
	}))

	mux.Handle("GET /v1/dns", handle(s, func(ctx context.Context, r *http.Request, _ none) (DNSReport, error) {
		query := r.URL.Query()
		q := DNSRequest{Name: query.Get("name"), Network: query.Get("network"), Type: query.Get("type"), From: query.Get("from")}
		if err := q.Validate(); err != nil {
			return DNSReport{}, err
		}
		return b.DNS(ctx, q)
	}))

	s.serviceRoutes(mux)

	mux.Handle("/", handle(s, func(_ context.Context, r *http.Request, _ none) (none, error) {
		return none{}, Errorf(CodeUnsupported,
			"the agent (%s) does not know %s %s: is it of the same version as ovlctl?", s.opts.Version, r.Method, r.URL.Path)
	}))
	return mux
}
