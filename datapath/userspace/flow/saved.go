package flow

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// saved is a Memory in its file. Fragments are not worth it. The time in which
// there was no process does not count: nothing was there to hear packets.
type saved struct {
	Flows   []datapath.Flow `json:"flows"`
	Clients []savedClient   `json:"clients"`
}

type savedClient struct {
	VNI     encap.VNI     `json:"vni"`
	Addr    netip.Addr    `json:"addr"`
	VIP     netip.Addr    `json:"vip"`
	Backend string        `json:"backend"`
	Idle    time.Duration `json:"idle"`
}

// Flows returns the flows there are, in no order.
func (m *Memory) Flows() []datapath.Flow {
	now := m.Now()
	all := m.All()
	out := make([]datapath.Flow, len(all))
	for i := range all {
		f := &all[i]
		out[i] = datapath.Flow{
			VNI: f.Forward.VNI, Protocol: f.Protocol(),
			Client:    netip.AddrPortFrom(addr(f.Forward.Client), f.Forward.ClientPort),
			VIP:       netip.AddrPortFrom(addr(f.Forward.Server), f.Forward.ServerPort),
			Backend:   netip.AddrPortFrom(addr(f.Reverse.Server), f.Reverse.ServerPort),
			BackendID: f.Backend, SourcePort: f.Reverse.ClientPort,
			State: f.State, Idle: max(0, (now - f.Seen).Truncate(time.Second)), Sent: f.Sent, Received: f.Received,
		}
	}
	return out
}

func addr(a [16]byte) netip.Addr { return netip.AddrFrom16(a).Unmap() }

// Save writes what is remembered.
func (m *Memory) Save(w io.Writer) error {
	now := m.Now()
	s := saved{Flows: m.Flows(), Clients: []savedClient{}}
	m.affinity.each(func(c client, backend string, seen time.Duration) {
		s.Clients = append(s.Clients, savedClient{c.vni, addr(c.addr), addr(c.vip), backend, max(0, now-seen)})
	})
	return json.NewEncoder(w).Encode(s)
}

// Load adds what was saved. What is not in order is not taken, and nothing of it.
func (m *Memory) Load(r io.Reader) error {
	var s saved
	if err := json.NewDecoder(r).Decode(&s); err != nil {
		return err
	}
	for i := range s.Flows {
		if err := check(&s.Flows[i]); err != nil {
			return fmt.Errorf("flow %d: %w", i, err)
		}
	}
	for i, c := range s.Clients {
		if !alike(c.Addr, c.VIP) || c.Idle < 0 {
			return fmt.Errorf("client %d: %w", i, errOrder)
		}
	}
	now := m.Now()
	// Those that were quiet the longest are pushed out first.
	slices.SortStableFunc(s.Flows, func(a, b datapath.Flow) int { return int(b.Idle/time.Second) - int(a.Idle/time.Second) })
	for i := range s.Flows {
		m.restore(&s.Flows[i], now)
	}
	slices.SortStableFunc(s.Clients, func(a, b savedClient) int { return int(b.Idle/time.Second) - int(a.Idle/time.Second) })
	for _, c := range s.Clients {
		m.affinity.put(client{c.VNI, c.Addr.As16(), c.VIP.As16()}, c.Backend, now-c.Idle)
	}
	return nil
}

// errOrder is of a file that no Memory has written.
var errOrder = errors.New("is not in order")

func check(f *datapath.Flow) error {
	const tcp, udp = 6, 17
	if (f.Protocol != tcp && f.Protocol != udp) || !alike(f.Client.Addr(), f.VIP.Addr()) || !alike(f.VIP.Addr(), f.Backend.Addr()) ||
		f.State > datapath.FlowClosing || f.Idle < 0 {
		return errOrder
	}
	return nil
}

// alike says whether two addresses are such as packets have, and of one family.
func alike(a, b netip.Addr) bool {
	return a.IsValid() && b.IsValid() && a.BitLen() == b.BitLen() && a.Zone() == "" && b.Zone() == "" && !a.Is4In6() && !b.Is4In6()
}

// restore adds a flow, unless there is another that has a key of it.
func (m *Memory) restore(f *datapath.Flow, now time.Duration) {
	forward := Key{
		Client: f.Client.Addr().As16(), ClientPort: f.Client.Port(),
		Server: f.VIP.Addr().As16(), ServerPort: f.VIP.Port(),
		VNI: f.VNI, Protocol: uint32(f.Protocol),
	}
	reverse := forward
	reverse.Server, reverse.ServerPort, reverse.ClientPort = f.Backend.Addr().As16(), f.Backend.Port(), f.SourcePort
	self := reverse.Server == forward.Client
	if self {
		reverse.Client = forward.Server
	}
	s := m.at(forward.VNI, &forward.Client, forward.ClientPort)
	if s != m.behind(&reverse, self) {
		return // its port was chosen by other rules than ours
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.forward[forward] != nil || s.reverse[reverse] != nil {
		return
	}
	g := &s.young
	if f.State == datapath.FlowEstablished {
		g = &s.old
	}
	s.insert(Flow{
		Forward: forward, Reverse: reverse, Backend: f.BackendID, Self: self,
		State: f.State, Sent: f.Sent, Received: f.Received, Seen: now - f.Idle,
	}, now-f.Idle, g, now)
}
