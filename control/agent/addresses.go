package agent

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"time"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/cluster"
	"github.com/ovlnet/ovl/control/cluster/rpc"
	"github.com/ovlnet/ovl/control/store"
)

// Addresses of a network are handed out by its authority alone, the node that
// created it or took it over from one that left. What a node asks of itself
// and what it asks of another goes the same way:
//
//	takeAddresses ─▶ Call ─▶ the authority's serveTake ─▶ ipam ─▶ its disk ─▶ answer
//
// The methods that nodes call each other by.
const (
	callTake     = "address_take"
	callFree     = "address_free"
	callTakeOver = "authority_take_over"
)

// addressTime bounds a question to an authority: attach answers within a
// second, come what may.
const addressTime = 700 * time.Millisecond

// takeRequest asks for the addresses of an endpoint to be, or of a service.
type takeRequest struct {
	Network string `json:"network"`
	// Endpoint and Node are IDs, those of a service its own and of the node that
	// creates it; Name is for messages.
	Endpoint string       `json:"endpoint"`
	Name     string       `json:"name"`
	Node     string       `json:"node"`
	Wanted   []netip.Addr `json:"wanted,omitempty"`
}

type takeAnswer struct {
	Addrs []netip.Prefix `json:"addrs"`
}

// freeRequest gives the addresses of an endpoint back.
type freeRequest struct {
	Network  string `json:"network"`
	Endpoint string `json:"endpoint"`
}

type freeAnswer struct{}

// handlers are those of an authority.
func (a *Agent) handlers() map[string]cluster.HandlerFunc {
	return map[string]cluster.HandlerFunc{
		callTake: handler(a.serveTake),
		callFree: handler(a.serveFree),
	}
}

// handler makes a HandlerFunc of one with types. The codes of api.Errors cross
// the wire as they are.
func handler[Req, Res any](f func(context.Context, Req) (Res, error)) cluster.HandlerFunc {
	return func(ctx context.Context, _ string, body json.RawMessage) (any, error) {
		var req Req
		if err := json.Unmarshal(body, &req); err != nil {
			return nil, rpc.Errorf(rpc.CodeBadRequest, "malformed request: %v", err)
		}
		res, err := f(ctx, req)
		if err != nil {
			return nil, rpc.Errorf(string(api.CodeOf(err)), "%v", err)
		}
		return res, nil
	}
}

// takeAddresses gets addresses for an endpoint or service of this node's: the
// wanted ones, and one of each family that the network has and none is wanted
// of. They are on the authority's disk when it returns.
func (a *Agent) takeAddresses(ctx context.Context, n store.Network, id, name string, wanted []netip.Addr) ([]netip.Prefix, error) {
	var answer takeAnswer
	err := a.askAuthority(ctx, n, callTake, takeRequest{Network: n.ID, Endpoint: id, Name: name, Node: a.self.ID, Wanted: wanted}, &answer)
	return answer.Addrs, err
}

// releaseAddresses gives an endpoint's or service's addresses back.
func (a *Agent) releaseAddresses(ctx context.Context, n store.Network, endpoint string) error {
	return a.askAuthority(ctx, n, callFree, freeRequest{Network: n.ID, Endpoint: endpoint}, &freeAnswer{})
}

// askAuthority calls the authority of n, and says which node that is if it
// cannot be reached.
func (a *Agent) askAuthority(ctx context.Context, n store.Network, method string, req, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, addressTime)
	defer cancel()
	err := a.cluster.Call(ctx, n.Authority, method, req, answer)
	var refused *rpc.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused):
		return api.Errorf(api.Code(refused.Code), "%s", refused.Message)
	}
	t := a.tables()
	if _, member := t.Nodes[n.Authority]; !member {
		return api.Errorf(api.CodeUnreachable, "addresses of network %s were handed out by a node that left without handing that on: remove the network and create it again", n.Name)
	}
	return api.Errorf(api.CodeUnreachable, "addresses of network %s are handed out by node %s, which cannot be reached: %w", n.Name, nodeName(t, n.Authority), err)
}
