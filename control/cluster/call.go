package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/ovlnet/ovl/control/cluster/member"
	"github.com/ovlnet/ovl/control/cluster/rpc"
)

// Limits of the methods by which hosts talk; those of a pull and a push bound
// what a stalled disk or datapath can hold up.
const (
	helloLimit = 3 * time.Second
	pullLimit  = 10 * time.Second
	applyLimit = 5 * time.Second
	callLimit  = 10 * time.Second
)

// HandlerFunc answers a Call of another host. fromNodeID is what the caller
// says to be: all hosts hold one cluster key, so it is as true as they are
// honest. An *rpc.Error that it returns or wraps reaches the caller with its
// code and text.
type HandlerFunc func(ctx context.Context, fromNodeID string, body json.RawMessage) (any, error)

// register makes every method of this host known, before it serves.
func (c *Cluster) register() {
	c.mux.Register("hello", helloLimit, rpc.JSON(c.serveHello))
	c.mux.Register("pull", pullLimit, c.servePull)
	c.mux.Register("push", applyLimit, c.servePush)
	for name, f := range c.opt.Handlers {
		c.Handle(name, f)
	}
}

// Handle answers calls of name, lower-case words joined by '_', with f from now
// on. A name that is taken or malformed panics.
func (c *Cluster) Handle(name string, f HandlerFunc) {
	c.mux.Register("call/"+name, callLimit, func(ctx context.Context, from string, body []byte) ([]byte, error) {
		resp, err := f(ctx, from, body)
		if err != nil {
			return nil, err
		}
		return json.Marshal(resp)
	})
}

// Call asks the handler of name at a node, which may be this one, and decodes
// its answer into resp. What the handler refuses is an *rpc.Error; a node that
// has failed or does not answer is rpc.ErrUnreachable, at once if it is known.
func (c *Cluster) Call(ctx context.Context, nodeID, name string, req, resp any) error {
	body, err := json.Marshal(req)
	if err != nil {
		return fmt.Errorf("call %s: %w", name, err)
	}
	answer, err := c.callRaw(ctx, nodeID, "call/"+name, body)
	if err != nil {
		return fmt.Errorf("call %s: %w", name, err)
	}
	if err := json.Unmarshal(answer, resp); err != nil {
		return fmt.Errorf("call %s: answer of %s: %w", name, nodeID, err)
	}
	return nil
}

func (c *Cluster) callRaw(ctx context.Context, nodeID, method string, body []byte) ([]byte, error) {
	if nodeID == c.local.ID {
		return c.mux.Handle(ctx, nodeID, method, body)
	}
	m, ok := c.peers.get(nodeID)
	switch {
	case !ok:
		return nil, fmt.Errorf("node %s %w: it is not a member", nodeID, rpc.ErrUnreachable)
	case m.Status != member.Alive:
		return nil, fmt.Errorf("node %s %w: it has %s", m.Name, rpc.ErrUnreachable, m.Status)
	}
	return c.transport.Request(ctx, m.Sync(), method, body)
}
