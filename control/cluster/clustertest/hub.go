// Package clustertest has a network of hosts without a network: gossip and
// requests inside one process, with loss, delay and partitions as a test wants
// them, in real or in virtual time (testing/synctest).
//
//	Hub ── Wire(addr) ─▶ a host's Membership ─▶ queue ─▶ its Events
//	                 └─▶ a host's Transport ─▶ the other host's Handler, in the caller's goroutine
package clustertest

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/ovlnet/ovl/control/cluster/member"
	"github.com/ovlnet/ovl/control/cluster/rpc"
)

// Options are for NewHub.
type Options struct {
	// Seed makes the losses of two runs the same, as far as goroutines do.
	Seed uint64
	// Delay is how long a message is under way. Default: none.
	Delay time.Duration
	// FailAfter is how long a host is silent before the others call it
	// failed. Default 4 s.
	FailAfter time.Duration
}

// Hub connects hosts. All methods may be called concurrently.
type Hub struct {
	opt Options

	mu          sync.Mutex
	rand        *rand.Rand
	hosts       map[string]*host         // by node ID, the last one with it
	listening   map[netip.AddrPort]*host // by sync address
	side        map[string]int           // by node ID; hosts of different sides do not reach each other
	eventLoss   float64
	requestLoss float64
	requests    int
}

// host is one member, from its start to its end.
type host struct {
	hub     *Hub
	nodeID  string
	sync    netip.AddrPort
	handler rpc.Handler
	running sync.WaitGroup // handlers
	stopped chan struct{}  // closed when the transport is

	// As a member; nil queue until it is one.
	local   member.Local
	queue   *member.Queue
	gossips bool
	members map[string]member.Member // what it believes
}

// NewHub returns a network without hosts, on which nothing is lost.
func NewHub(o Options) *Hub {
	if o.FailAfter == 0 {
		o.FailAfter = 4 * time.Second
	}
	return &Hub{
		opt:       o,
		rand:      rand.New(rand.NewPCG(o.Seed, 0)),
		hosts:     make(map[string]*host),
		listening: make(map[netip.AddrPort]*host),
		side:      make(map[string]int),
	}
}

// LoseEvents makes each copy of a published message get lost with chance p.
func (h *Hub) LoseEvents(p float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.eventLoss = p
}

// LoseRequests makes each request, and each answer, get lost with chance p.
func (h *Hub) LoseRequests(p float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requestLoss = p
}

// Requests is how many requests were made so far.
func (h *Hub) Requests() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.requests
}

// Partition cuts the hosts into sides that do not hear each other; hosts that
// are not named share a side of their own. Partition() heals everything.
func (h *Hub) Partition(sides ...[]string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.side)
	for i, ids := range sides {
		for _, id := range ids {
			h.side[id] = i + 1
		}
	}
	for _, p := range h.hosts {
		for id, m := range p.members {
			q := h.hosts[id]
			switch {
			case id == p.nodeID || q == nil:
			case m.Status == member.Alive && !h.reachLocked(p, q):
				h.laterLocked(h.opt.FailAfter, func() { h.failLocked(p, id) })
			case m.Status == member.Failed && h.reachLocked(p, q):
				h.laterLocked(h.opt.Delay, func() { h.returnLocked(p, id) })
			}
		}
	}
}

// reachLocked reports whether a packet gets from p to q.
func (h *Hub) reachLocked(p, q *host) bool {
	return p.gossips && q.gossips && h.side[p.nodeID] == h.side[q.nodeID]
}

// laterLocked runs f with the lock held, after d.
func (h *Hub) laterLocked(d time.Duration, f func()) {
	time.AfterFunc(d, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		f()
	})
}

// meetLocked makes p believe that q is alive.
func (h *Hub) meetLocked(p, q *host) {
	old, known := p.members[q.nodeID]
	now := member.Member{Local: q.local, Status: member.Alive}
	if known && old == now {
		return
	}
	p.members[q.nodeID] = now
	kind := member.Joined
	if known && old.Status == member.Alive {
		kind = member.Updated
	}
	p.queue.Put(member.Event{Kind: kind, Member: now})
}

// failLocked makes p believe that a host has failed, if it is still silent.
func (h *Hub) failLocked(p *host, id string) {
	m := p.members[id]
	if q := h.hosts[id]; m.Status != member.Alive || h.reachLocked(p, q) {
		return
	}
	m.Status = member.Failed
	p.members[id] = m
	p.queue.Put(member.Event{Kind: member.Gone, Member: m})
}

// returnLocked makes p notice that a host it called failed is there again.
func (h *Hub) returnLocked(p *host, id string) {
	if q := h.hosts[id]; p.members[id].Status == member.Failed && h.reachLocked(p, q) {
		h.mergeLocked(p, q)
	}
}

// mergeLocked makes everyone on p's side meet everyone on q's.
func (h *Hub) mergeLocked(p, q *host) {
	theirs := h.circleLocked(q)
	for _, a := range h.circleLocked(p) {
		for _, b := range theirs {
			if h.reachLocked(a, b) {
				h.meetLocked(a, b)
				h.meetLocked(b, a)
			}
		}
	}
}

// circleLocked is who p believes to be alive, itself included.
func (h *Hub) circleLocked(p *host) []*host {
	var out []*host
	for id, m := range p.members {
		if q := h.hosts[id]; m.Status == member.Alive && q != nil {
			out = append(out, q)
		}
	}
	return out
}

// lostLocked rolls the dice.
func (h *Hub) lostLocked(p float64) bool { return p > 0 && h.rand.Float64() < p }
