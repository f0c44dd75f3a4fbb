package clustertest

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"

	"github.com/ovlnet/ovl/control/cluster/member"
	"github.com/ovlnet/ovl/control/cluster/rpc"
)

type membership struct{ *host }

var (
	_ member.Membership = (*membership)(nil)
	_ rpc.Transport     = (*transport)(nil)
)

func (m *membership) Join(ctx context.Context, addrs []netip.AddrPort) (int, error) {
	if err := wait(ctx, m.hub.opt.Delay); err != nil {
		return 0, err
	}
	h := m.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if !m.gossips {
		return 0, member.ErrClosed
	}
	met := 0
	for _, addr := range addrs {
		for _, q := range h.hosts {
			at := netip.AddrPortFrom(q.local.Addr, q.local.GossipPort)
			if at != addr || !h.reachLocked(m.host, q) {
				continue
			}
			met++
			h.mergeLocked(m.host, q)
		}
	}
	if met == 0 {
		return 0, fmt.Errorf("no gossip at %v", addrs)
	}
	return met, nil
}

func (m *membership) Publish(payload []byte) error {
	if len(payload) > member.MaxPayload {
		return member.ErrTooLarge
	}
	h := m.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if !m.gossips {
		return member.ErrClosed
	}
	e := member.Event{Kind: member.Message, Payload: bytes.Clone(payload)}
	for _, q := range h.circleLocked(m.host) {
		if !h.reachLocked(m.host, q) || h.lostLocked(h.eventLoss) {
			continue
		}
		if h.opt.Delay == 0 {
			q.queue.Put(e)
			continue
		}
		h.laterLocked(h.opt.Delay, func() { q.queue.Put(e) })
	}
	return nil
}

func (m *membership) Events() <-chan member.Event { return m.queue.Out() }

func (m *membership) Members() []member.Member {
	m.hub.mu.Lock()
	defer m.hub.mu.Unlock()
	out := make([]member.Member, 0, len(m.members))
	for _, known := range m.members {
		out = append(out, known)
	}
	return out
}

func (m *membership) Leave(ctx context.Context) error {
	h := m.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if !m.gossips {
		return member.ErrClosed
	}
	for _, p := range h.hosts {
		known, ok := p.members[m.nodeID]
		if p == m.host || !ok || !h.reachLocked(p, m.host) {
			continue
		}
		known.Status = member.Left
		p.members[m.nodeID] = known
		p.queue.Put(member.Event{Kind: member.Gone, Member: known})
	}
	h.silenceLocked(m.host)
	return ctx.Err()
}

func (m *membership) Close() error {
	m.hub.mu.Lock()
	m.hub.silenceLocked(m.host)
	m.hub.mu.Unlock()
	m.queue.Close()
	return nil
}

// silenceLocked ends p's gossip; the others notice after a while.
func (h *Hub) silenceLocked(p *host) {
	if !p.gossips {
		return
	}
	p.gossips = false
	for _, q := range h.hosts {
		if q != p && q.members[p.nodeID].Status == member.Alive {
			h.laterLocked(h.opt.FailAfter, func() { h.failLocked(q, p.nodeID) })
		}
	}
}
