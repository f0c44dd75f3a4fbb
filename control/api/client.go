package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/control/config"
)

// maxAnswer bounds what is read of an answer, in bytes: some 100 000
// endpoints.
const maxAnswer = 128 << 20

// Client asks the agent of one instance on this host. It is a Backend whose
// errors are *Error as the agent made them, or wrap ErrUnreachable.
type Client struct {
	instance string
	socket   string
	http     *http.Client
}

var _ Backend = (*Client)(nil)

// NewClient returns a client of the agent that runs c's instance. It connects
// for each call and holds nothing in between.
func NewClient(c config.Config) *Client {
	client := &Client{instance: c.Instance, socket: c.Socket()}
	dialer := net.Dialer{Timeout: 5 * time.Second}
	client.http = &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, "unix", client.socket)
			},
		},
		// The agent ends a request after maxTime and says so.
		Timeout: maxTime + grace,
	}
	return client
}

// Status implements Backend.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.call(ctx, http.MethodGet, "/v1/status", nil, &s)
}

// Peers implements Backend.
func (c *Client) Peers(ctx context.Context) (p []Peer, err error) {
	return p, c.call(ctx, http.MethodGet, "/v1/peers", nil, &p)
}

// TokenCreate implements Backend.
func (c *Client) TokenCreate(ctx context.Context, r TokenRequest) (t Token, err error) {
	return t, c.call(ctx, http.MethodPost, "/v1/tokens", r, &t)
}

// NetworkCreate implements Backend.
func (c *Client) NetworkCreate(ctx context.Context, r NetworkRequest) (n Network, err error) {
	if err := r.Validate(); err != nil {
		return n, err
	}
	return n, c.call(ctx, http.MethodPost, "/v1/networks", r, &n)
}

// NetworkList implements Backend.
func (c *Client) NetworkList(ctx context.Context) (n []NetworkSummary, err error) {
	return n, c.call(ctx, http.MethodGet, "/v1/networks", nil, &n)
}

// NetworkInspect implements Backend.
func (c *Client) NetworkInspect(ctx context.Context, ref string) (n Network, err error) {
	if err := ValidateRef("network", ref); err != nil {
		return n, err
	}
	return n, c.call(ctx, http.MethodGet, "/v1/networks/"+url.PathEscape(ref), nil, &n)
}

// NetworkRemove implements Backend.
func (c *Client) NetworkRemove(ctx context.Context, ref string) error {
	if err := ValidateRef("network", ref); err != nil {
		return err
	}
	return c.call(ctx, http.MethodDelete, "/v1/networks/"+url.PathEscape(ref), nil, &none{})
}

// Attach implements Backend.
func (c *Client) Attach(ctx context.Context, r AttachRequest) (e Endpoint, err error) {
	if err := r.Validate(); err != nil {
		return e, err
	}
	return e, c.call(ctx, http.MethodPost, "/v1/endpoints", r, &e)
}

// AttachFinish implements Backend.
func (c *Client) AttachFinish(ctx context.Context, id string) (e Endpoint, err error) {
	if err := ValidateRef("endpoint", id); err != nil {
		return e, err
	}
	return e, c.call(ctx, http.MethodPost, "/v1/endpoints/"+url.PathEscape(id)+"/finish", nil, &e)
}

// Detach implements Backend.
func (c *Client) Detach(ctx context.Context, r DetachRequest) (e Endpoint, err error) {
	if err := r.Validate(); err != nil {
		return e, err
	}
	path := "/v1/endpoints/" + url.PathEscape(r.Endpoint)
	if r.Network != "" {
		path += "?network=" + url.QueryEscape(r.Network)
	}
	return e, c.call(ctx, http.MethodDelete, path, nil, &e)
}

// EndpointList implements Backend.
func (c *Client) EndpointList(ctx context.Context, network string) (e []Endpoint, err error) {
	path := "/v1/endpoints"
	if network != "" {
		if err := ValidateRef("network", network); err != nil {
			return nil, err
		}
		path += "?network=" + url.QueryEscape(network)
	}
	return e, c.call(ctx, http.MethodGet, path, nil, &e)
}

// EndpointInspect implements Backend.
func (c *Client) EndpointInspect(ctx context.Context, ref string) (e Endpoint, err error) {
	if err := ValidateRef("endpoint", ref); err != nil {
		return e, err
	}
	return e, c.call(ctx, http.MethodGet, "/v1/endpoints/"+url.PathEscape(ref), nil, &e)
}

// ServiceCreate implements Backend.
func (c *Client) ServiceCreate(ctx context.Context, r ServiceRequest) (s Service, err error) {
	if err := r.Validate(); err != nil {
		return s, err
	}
	return s, c.call(ctx, http.MethodPost, "/v1/services", r, &s)
}

// ServiceList implements Backend.
func (c *Client) ServiceList(ctx context.Context, network string) (s []ServiceSummary, err error) {
	path := "/v1/services"
	if network != "" {
		if err := ValidateRef("network", network); err != nil {
			return nil, err
		}
		path += "?network=" + url.QueryEscape(network)
	}
	return s, c.call(ctx, http.MethodGet, path, nil, &s)
}

// ServiceInspect implements Backend.
func (c *Client) ServiceInspect(ctx context.Context, r ServiceRef) (s Service, err error) {
	if err := r.Validate(); err != nil {
		return s, err
	}
	return s, c.call(ctx, http.MethodGet, r.path(), nil, &s)
}

// ServiceUpdate implements Backend.
func (c *Client) ServiceUpdate(ctx context.Context, r ServiceUpdate) (s Service, err error) {
	if err := r.Validate(); err != nil {
		return s, err
	}
	return s, c.call(ctx, http.MethodPatch, "/v1/services", r, &s)
}

// ServiceDrain implements Backend.
func (c *Client) ServiceDrain(ctx context.Context, r ServiceDrain) (s Service, err error) {
	if err := r.Validate(); err != nil {
		return s, err
	}
	return s, c.call(ctx, http.MethodPost, "/v1/drain", r, &s)
}

// ServiceRemove implements Backend.
func (c *Client) ServiceRemove(ctx context.Context, r ServiceRef) (s Service, err error) {
	if err := r.Validate(); err != nil {
		return s, err
	}
	return s, c.call(ctx, http.MethodDelete, r.path(), nil, &s)
}

// path is where a service is found.
func (r ServiceRef) path() string {
	path := "/v1/services/" + url.PathEscape(r.Service)
	if r.Network != "" {
		path += "?network=" + url.QueryEscape(r.Network)
	}
	return path
}

// Flows implements Backend.
func (c *Client) Flows(ctx context.Context, r FlowsRequest) (f FlowList, err error) {
	if err := r.Validate(); err != nil {
		return f, err
	}
	query := url.Values{}
	for key, value := range map[string]string{"network": r.Network, "service": r.Service} {
		if value != "" {
			query.Set(key, value)
		}
	}
	if r.Limit > 0 {
		query.Set("limit", strconv.Itoa(r.Limit))
	}
	return f, c.call(ctx, http.MethodGet, "/v1/flows?"+query.Encode(), nil, &f)
}

// DNS implements Backend.
func (c *Client) DNS(ctx context.Context, r DNSRequest) (d DNSReport, err error) {
	if err := r.Validate(); err != nil {
		return d, err
	}
	query := url.Values{"name": {r.Name}, "network": {r.Network}}
	for key, value := range map[string]string{"type": r.Type, "from": r.From} {
		if value != "" {
			query.Set(key, value)
		}
	}
	return d, c.call(ctx, http.MethodGet, "/v1/dns?"+query.Encode(), nil, &d)
}

// Leave implements Backend.
func (c *Client) Leave(ctx context.Context, r LeaveRequest) (l LeaveReport, err error) {
	return l, c.call(ctx, http.MethodPost, "/v1/leave", r, &l)
}

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	// The host part is never looked up: the transport knows the socket.
	req, err := http.NewRequestWithContext(ctx, method, "http://ovl"+path, body)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return c.unreachable(ctx, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return c.unreachable(ctx, err)
	}
	if len(b) > maxAnswer {
		return Errorf(CodeInternal, "answer of the agent is larger than %d bytes", maxAnswer)
	}
	if res.StatusCode != http.StatusOK {
		return failure(res.StatusCode, b)
	}
	if err := json.Unmarshal(b, out); err != nil {
		return Errorf(CodeInternal, "answer of the agent is not understood: %w", err)
	}
	return nil
}

// failure reads the envelope of an answer that is not 200.
func failure(status int, body []byte) error {
	var e envelope
	if err := json.Unmarshal(body, &e); err != nil || e.Error == nil || e.Error.Code == "" {
		return Errorf(CodeInternal, "the agent answered with HTTP status %d and no reason", status)
	}
	return e.Error
}

// unreachable tells apart why there is no answer.
func (c *Client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("request given up: %w", ctx.Err())
	}
	instance := ""
	if c.instance != "" {
		instance = fmt.Sprintf(" of instance %q", c.instance)
	}
	var opErr *net.OpError
	dialing := errors.As(err, &opErr) && opErr.Op == "dial"
	var why string
	switch {
	case errors.Is(err, fs.ErrPermission):
		why = "permission denied: run ovlctl as root"
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		why = "is `ovlctl up` running?"
	case dialing:
		why = opErr.Err.Error()
	default:
		why = "it went away before it answered; look at the object before you try again"
	}
	return &Error{
		Code:    CodeAgentUnreachable,
		Message: fmt.Sprintf("cannot reach the agent%s at %s: %s", instance, c.socket, why),
		cause:   fmt.Errorf("%w: %w", ErrUnreachable, err),
	}
}
