package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"github.com/hashicorp/serf/serf"
)

// eventName is the name of our user events in Serf.
const eventName = "ovl"

// SerfOptions are for StartSerf.
type SerfOptions struct {
	Local Local
	// Key encrypts the gossip, 32 bytes for AES-256-GCM.
	Key []byte
	// Logger takes Serf's own log at debug and warn. Default: discard.
	Logger *slog.Logger
}

// Serf is Membership by gossip.
type Serf struct {
	serf    *serf.Serf
	local   Local
	log     *slog.Logger
	queue   *Queue
	drained sync.WaitGroup // the goroutine that empties Serf's channel

	mu      sync.Mutex
	closed  bool
	leaving sync.WaitGroup
}

var _ Membership = (*Serf)(nil)

// StartSerf begins to gossip at o.Local's address, alone until Join.
func StartSerf(o SerfOptions) (*Serf, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := o.Local.Validate(); err != nil {
		return nil, err
	}
	if err := bindable(o.Local); err != nil {
		return nil, err
	}
	// Serf blocks when this channel is full, and one of its goroutines would
	// outlive it if the channel were full at its end. It holds twice what
	// Serf itself buffers in front of it, and drain keeps it empty.
	events := make(chan serf.Event, 2048)
	m := &Serf{local: o.Local, log: o.Logger, queue: NewQueue()}
	watch := &admission{local: o.Local, clash: m.clash, log: o.Logger}
	config, err := serfConfig(o, watch, events)
	if err != nil {
		m.queue.Close()
		return nil, err
	}
	// The call sends us our own join; the admission learns our address there.
	s, err := serf.Create(config)
	if err != nil {
		m.queue.Close()
		return nil, fmt.Errorf("gossip at %s: %w", netip.AddrPortFrom(o.Local.Addr, o.Local.GossipPort), err)
	}
	m.serf = s
	m.local.GossipPort = s.LocalMember().Port
	m.drained.Add(1)
	go m.drain(events, watch)
	return m, nil
}

// Join meets members, see Membership.
func (m *Serf) Join(ctx context.Context, addrs []netip.AddrPort) (int, error) {
	if err := m.alive(); err != nil {
		return 0, err
	}
	list := make([]string, len(addrs))
	for i, a := range addrs {
		list[i] = a.String()
	}
	type answer struct {
		n   int
		err error
	}
	// Serf knows no context; its own TCP timeout ends the call.
	done := make(chan answer, 1)
	if !m.busy() {
		return 0, ErrClosed
	}
	go func() {
		defer m.leaving.Done()
		// Old events are ignored: the tables are synced as a whole.
		n, err := m.serf.Join(list, true)
		done <- answer{n, err}
	}()
	select {
	case a := <-done:
		if a.err != nil {
			return a.n, fmt.Errorf("join the gossip: %w", a.err)
		}
		return a.n, nil
	case <-ctx.Done():
		return 0, fmt.Errorf("join the gossip: %w", ctx.Err())
	}
}

// Publish sends a user event, see Membership.
func (m *Serf) Publish(payload []byte) error {
	if len(payload) > MaxPayload {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(payload), MaxPayload)
	}
	if err := m.alive(); err != nil {
		return err
	}
	if err := m.serf.UserEvent(eventName, payload, false); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

// Events returns what happens, see Membership.
func (m *Serf) Events() <-chan Event { return m.queue.Out() }

// Members returns everyone known, see Membership.
func (m *Serf) Members() []Member {
	all := m.serf.Members()
	out := make([]Member, 0, len(all))
	for _, sm := range all {
		member, err := fromSerf(sm)
		if err != nil {
			continue // logged when it joined
		}
		out = append(out, member)
	}
	return out
}

// Leave says good-bye, see Membership.
func (m *Serf) Leave(ctx context.Context) error {
	if !m.busy() {
		return ErrClosed
	}
	done := make(chan error, 1)
	go func() {
		defer m.leaving.Done()
		done <- m.serf.Leave()
	}()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("leave the gossip: %w", err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("leave the gossip: %w", ctx.Err())
	}
}

// Close stops the gossip, see Membership. It waits for a Leave under way, which
// has short limits of its own: memberlist panics if it is shut down meanwhile.
// A probe of memberlist's that was under way ends on its own a second later.
func (m *Serf) Close() error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.leaving.Wait()
	err := m.serf.Shutdown()
	m.drained.Wait()
	m.queue.Close()
	if err != nil {
		return fmt.Errorf("stop the gossip: %w", err)
	}
	return nil
}

// busy holds Close up until leaving.Done; it is false after Close.
func (m *Serf) busy() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	m.leaving.Add(1)
	return true
}

func (m *Serf) alive() error {
	if s := m.serf.State(); s != serf.SerfAlive {
		return fmt.Errorf("%w: %s", ErrClosed, s)
	}
	return nil
}

// clash reports two claims of one ID. Serf calls it under its locks.
func (m *Serf) clash(claimant Member, other netip.AddrPort) {
	m.queue.Put(Event{Kind: Clash, Member: claimant, Other: other})
}

// bindable reports whether the gossip port is free. Serf would find out too, but
// leaves a goroutine behind when it fails there.
func bindable(l Local) error {
	at := netip.AddrPortFrom(l.Addr, l.GossipPort)
	tcp, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
	if err != nil {
		return fmt.Errorf("gossip at %s: %w", at, err)
	}
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		tcp.Close()
		return fmt.Errorf("gossip at %s: %w", at, err)
	}
	return errors.Join(tcp.Close(), udp.Close())
}

// drain empties Serf's channel for as long as Serf runs: if it did not, Serf
// itself would stand still.
func (m *Serf) drain(events <-chan serf.Event, watch *admission) {
	defer m.drained.Done()
	for {
		select {
		case e := <-events:
			m.translate(e, watch)
		case <-m.serf.ShutdownCh():
			return
		}
	}
}

func (m *Serf) translate(e serf.Event, watch *admission) {
	switch e := e.(type) {
	case serf.UserEvent:
		if e.Name == eventName {
			m.queue.Put(Event{Kind: Message, Payload: e.Payload})
		}
	case serf.MemberEvent:
		kind, ok := eventKinds[e.Type]
		if !ok {
			return
		}
		for _, sm := range e.Members {
			member, err := fromSerf(sm)
			if err != nil {
				m.log.Warn("member cannot be used", "peer", sm.Name, "addr", net.IP(sm.Addr), "err", err)
				continue
			}
			watch.seen(member)
			m.queue.Put(Event{Kind: kind, Member: member})
		}
	}
}

// eventKinds maps Serf's events; a reaped member is nothing new: it had left.
var eventKinds = map[serf.EventType]Kind{
	serf.EventMemberJoin:   Joined,
	serf.EventMemberUpdate: Updated,
	serf.EventMemberFailed: Gone,
	serf.EventMemberLeave:  Gone,
}
