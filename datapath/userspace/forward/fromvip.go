package forward

import (
	"time"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/userspace/flow"
	"github.com/ovlnet/ovl/datapath/userspace/nat"
	"github.com/ovlnet/ovl/datapath/userspace/offload"
)

// arrival is a frame of IP from a backend to an endpoint on this host, after all
// checks.
type arrival struct {
	network *network
	frame   []byte
	now     time.Duration
	// header is what came with a frame from a device. A frame out of the tunnel has
	// none: what is left to do with it is to be seen.
	header         offload.Header
	tunnelled      bool
	packets, bytes uint64
}

// fromVIP makes of what belongs to a flow a packet from the VIP, docs/adr/0017. All
// else, and what is not in order, passes untouched; so does what comes from a
// backend that is none any more.
func (a *arrival) fromVIP(flows *flow.Memory) {
	var s nat.Segment
	if nat.Parse(a.frame, &s) != 0 {
		return
	}
	ends := s.Ends(a.frame)
	if s.Later {
		var ok bool
		if ends.SrcPort, ends.DstPort, ok = flows.Ports(fragmentOf(a.network, &s, &ends), a.now); !ok {
			return
		}
	}
	switch {
	case s.IsICMP():
		a.errorFromVIP(flows, &s)
		return
	case !s.HasPorts():
		return
	}
	key := keyOf(a.network.vni, s.Proto, &ends, false)
	p := flow.Packet{Now: a.now, End: s.Finishes(a.frame), Reset: s.Resets(a.frame), Packets: a.packets, Bytes: a.bytes}
	h, ok := flows.Back(&key, false, &p)
	if !ok || !a.network.leads(h.Key.Server, h.Backend, key.Server) {
		return
	}
	if s.First {
		flows.SetPorts(fragmentOf(a.network, &s, &ends), ends.SrcPort, ends.DstPort, a.now)
	}
	unfinished := s.Unfinished(offload.Frame{Header: a.header})
	if a.tunnelled {
		unfinished = s.LooksUnfinished(a.frame)
	}
	is := endsOf(&h.Key, false)
	s.SetEnds(a.frame, &is, unfinished)
	copy(a.frame[srcMACAt:], datapath.ServiceMAC[:])
}

// errorFromVIP is fromVIP for an ICMP error about what a client has sent.
func (a *arrival) errorFromVIP(flows *flow.Memory, s *nat.Segment) {
	var q nat.Quote
	if !s.IsError(a.frame) || !s.Quote(a.frame, &q) || !s.Returns(a.frame, &q) {
		return
	}
	key := keyOf(a.network.vni, q.Proto, &q.Ends, true)
	h, ok := flows.QuotedBack(&key, false, a.now)
	if !ok || !a.network.leads(h.Key.Server, h.Backend, key.Server) {
		return
	}
	outer, quoted := endsOf(&h.Key, false), endsOf(&h.Key, true)
	s.SetQuoted(a.frame, &q, &outer, &quoted)
	copy(a.frame[srcMACAt:], datapath.ServiceMAC[:])
}
