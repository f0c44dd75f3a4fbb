package datapath

import (
	"net/netip"
	"testing"

	"github.com/ovlnet/ovl/encap"
)

// TestBalance: every counter that stands for a frame that came is on one side,
// every one for a frame that went on the other.
func TestBalance(t *testing.T) {
	n := func(packets uint64) Counter { return Counter{Packets: packets, Bytes: 100 * packets} }
	balanced := func() Stats {
		return Stats{
			Drops: map[DropReason]Counter{DropSourceIP: n(4), DropNotLocal: n(50)},
			Peers: map[netip.Addr]PeerCounter{netip.MustParseAddr("192.0.2.2"): {Sent: n(10), Received: n(7)}},
			Networks: map[encap.VNI]PortCounter{
				4096: {Sent: n(20), Received: n(14), Answered: n(3), Dropped: n(4), Copied: n(2)},
				4097: {Sent: n(1), Received: n(1)},
			},
			Past: Past{
				Ports: PortCounter{Sent: n(5), Received: n(2), Copied: n(1)},
				Peers: PeerCounter{Sent: n(5), Received: n(3)},
			},
		}
	}
	s := balanced()
	if packets, bytes := s.Balance(); packets != 0 || bytes != 0 {
		t.Errorf("balance %d packets, %d bytes, want none", packets, bytes)
	}
	if in := s.DroppedIn(); in != n(50) {
		t.Errorf("dropped in %+v, want %+v", in, n(50))
	}
	for name, change := range map[string]func(*PortCounter, *PeerCounter){
		"sent":      func(p *PortCounter, _ *PeerCounter) { p.Sent = p.Sent.Add(n(1)) },
		"copied":    func(p *PortCounter, _ *PeerCounter) { p.Copied = p.Copied.Add(n(1)) },
		"from peer": func(_ *PortCounter, p *PeerCounter) { p.Received = p.Received.Add(n(1)) },
	} {
		s := balanced()
		change(&s.Past.Ports, &s.Past.Peers)
		if packets, bytes := s.Balance(); packets != 1 || bytes != 100 {
			t.Errorf("%s: balance %d packets, %d bytes, want one more that came", name, packets, bytes)
		}
	}
	for name, change := range map[string]func(*PortCounter, *PeerCounter){
		"received": func(p *PortCounter, _ *PeerCounter) { p.Received = p.Received.Add(n(1)) },
		"answered": func(p *PortCounter, _ *PeerCounter) { p.Answered = p.Answered.Add(n(1)) },
		"dropped":  func(p *PortCounter, _ *PeerCounter) { p.Dropped = p.Dropped.Add(n(1)) },
		"to peer":  func(_ *PortCounter, p *PeerCounter) { p.Sent = p.Sent.Add(n(1)) },
	} {
		s := balanced()
		change(&s.Past.Ports, &s.Past.Peers)
		if packets, bytes := s.Balance(); packets != -1 || bytes != -100 {
			t.Errorf("%s: balance %d packets, %d bytes, want one more that went", name, packets, bytes)
		}
	}
}
