package api

import (
	"context"
	"net/http"
	"strconv"
)

// serviceRoutes are those of services and their flows.
func (s *Server) serviceRoutes(mux *http.ServeMux) {
	b := s.backend

	mux.Handle("POST /v1/services", handle(s, func(ctx context.Context, _ *http.Request, q ServiceRequest) (Service, error) {
		return b.ServiceCreate(ctx, q)
	}))
	mux.Handle("GET /v1/services", handle(s, func(ctx context.Context, r *http.Request, _ none) ([]ServiceSummary, error) {
		network := r.URL.Query().Get("network")
		if network != "" {
			if err := ValidateRef("network", network); err != nil {
				return nil, err
			}
		}
		return b.ServiceList(ctx, network)
	}))
	mux.Handle("GET /v1/services/{ref}", handle(s, func(ctx context.Context, r *http.Request, _ none) (Service, error) {
		q, err := serviceRef(r)
		if err != nil {
			return Service{}, err
		}
		return b.ServiceInspect(ctx, q)
	}))
	mux.Handle("DELETE /v1/services/{ref}", handle(s, func(ctx context.Context, r *http.Request, _ none) (Service, error) {
		q, err := serviceRef(r)
		if err != nil {
			return Service{}, err
		}
		return b.ServiceRemove(ctx, q)
	}))
	mux.Handle("PATCH /v1/services", handle(s, func(ctx context.Context, _ *http.Request, q ServiceUpdate) (Service, error) {
		return b.ServiceUpdate(ctx, q)
	}))
	mux.Handle("POST /v1/drain", handle(s, func(ctx context.Context, _ *http.Request, q ServiceDrain) (Service, error) {
		return b.ServiceDrain(ctx, q)
	}))
	mux.Handle("GET /v1/flows", handle(s, func(ctx context.Context, r *http.Request, _ none) (FlowList, error) {
		query := r.URL.Query()
		q := FlowsRequest{Network: query.Get("network"), Service: query.Get("service")}
		if limit := query.Get("limit"); limit != "" {
			var err error
			if q.Limit, err = strconv.Atoi(limit); err != nil {
				return FlowList{}, Errorf(CodeInvalid, "limit %q is not a number", limit)
			}
		}
		if err := q.Validate(); err != nil {
			return FlowList{}, err
		}
		return b.Flows(ctx, q)
	}))
}

// serviceRef is the service that a path is about.
func serviceRef(r *http.Request) (ServiceRef, error) {
	q := ServiceRef{Service: r.PathValue("ref"), Network: r.URL.Query().Get("network")}
	return q, q.Validate()
}
