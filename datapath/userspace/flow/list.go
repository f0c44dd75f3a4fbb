package flow

import (
	"net/netip"
	"time"

	"github.com/ovlnet/ovl/datapath"
)

// All returns the flows there are now, in no order.
func (m *Memory) All() []Flow {
	now := m.Now()
	var all []Flow
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		for _, e := range s.forward {
			if now-e.Seen <= e.lifetime() {
				all = append(all, e.Flow)
			}
		}
		s.mu.Unlock()
	}
	return all
}

// Flows is All for the contract.
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

// ForgetOthers forgets the flows of all clients but these.
func (m *Memory) ForgetOthers(clients map[datapath.Client]bool) {
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		for _, e := range s.forward {
			if !clients[datapath.Client{VNI: e.Forward.VNI, Addr: addr(e.Forward.Client)}] {
				s.forget(e)
			}
		}
		s.mu.Unlock()
	}
}
