package clustertest

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/ovlnet/ovl/control/cluster/member"
	"github.com/ovlnet/ovl/control/cluster/rpc"
)

// Ports of every host of a Hub.
const (
	gossipPort = 7946
	syncPort   = 7947
)

// Wire is one host's place in a Hub: a cluster.Wire.
type Wire struct {
	hub  *Hub
	addr netip.Addr
	host *host
}

// Wire returns the place of a host at addr, for one start of it.
func (h *Hub) Wire(addr netip.Addr) *Wire { return &Wire{hub: h, addr: addr} }

// Transport makes the host known, see cluster.Wire.
func (w *Wire) Transport(nodeID string) (rpc.Transport, error) {
	w.host = &host{
		hub: w.hub, nodeID: nodeID,
		sync:    netip.AddrPortFrom(w.addr, syncPort),
		stopped: make(chan struct{}),
		members: make(map[string]member.Member),
	}
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	w.hub.listening[w.host.sync] = w.host
	return &transport{w.host}, nil
}

// Membership lets the host gossip, see cluster.Wire.
func (w *Wire) Membership(local member.Local) (member.Membership, error) {
	h, p := w.hub, w.host
	local.GossipPort = gossipPort
	if err := local.Validate(); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	p.local, p.queue, p.gossips = local, member.NewQueue(), true
	h.hosts[p.nodeID] = p
	h.meetLocked(p, p)
	return &membership{p}, nil
}

type transport struct{ *host }

// dialLimit is how long a caller waits for a host that does not answer.
const dialLimit = 3 * time.Second

func (t *transport) Addr() netip.AddrPort { return t.sync }

func (t *transport) Serve(handler rpc.Handler) {
	t.hub.mu.Lock()
	defer t.hub.mu.Unlock()
	t.handler = handler
}

// Request calls the other host's handler directly.
func (t *transport) Request(ctx context.Context, addr netip.AddrPort, method string, body []byte) ([]byte, error) {
	if len(body) > rpc.MaxBody {
		return nil, fmt.Errorf("%s to %s: %w", method, addr, rpc.ErrTooLarge)
	}
	if err := wait(ctx, t.hub.opt.Delay); err != nil {
		return nil, unreachable(addr, err)
	}
	to, ok := t.hub.accept(t.host, addr)
	if !ok {
		err := wait(ctx, dialLimit)
		return nil, unreachable(addr, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-to.stopped:
			cancel()
		case <-ctx.Done():
		}
	}()
	answer, err := to.handler(ctx, t.nodeID, method, bytes.Clone(body))
	to.running.Done()
	if werr := wait(ctx, t.hub.opt.Delay); werr != nil {
		return nil, unreachable(addr, werr)
	}
	if !t.hub.answers(t.host, to) {
		return nil, unreachable(addr, nil)
	}
	return answer, err
}

func (t *transport) Close() error {
	t.hub.mu.Lock()
	select {
	case <-t.stopped:
	default:
		close(t.stopped)
	}
	t.hub.mu.Unlock()
	t.running.Wait()
	return nil
}

// accept returns the host that takes a request at addr.
func (h *Hub) accept(from *host, addr netip.AddrPort) (*host, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requests++
	to, ok := h.listening[addr]
	if !ok || to.handler == nil || !h.connectedLocked(from, to) || h.lostLocked(h.requestLoss) {
		return nil, false
	}
	to.running.Add(1)
	return to, true
}

// answers reports whether an answer gets back.
func (h *Hub) answers(from, to *host) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.connectedLocked(from, to) && !h.lostLocked(h.requestLoss)
}

func (h *Hub) connectedLocked(from, to *host) bool {
	select {
	case <-to.stopped:
		return false
	default:
		return h.side[from.nodeID] == h.side[to.nodeID]
	}
}

func unreachable(addr netip.AddrPort, err error) error {
	if err == nil {
		return fmt.Errorf("%s: %w", addr, rpc.ErrUnreachable)
	}
	return fmt.Errorf("%s: %w: %w", addr, rpc.ErrUnreachable, err)
}

func wait(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
