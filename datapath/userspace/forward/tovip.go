package forward

import (
	"net/netip"
	"time"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/balance"
	"github.com/ovlnet/ovl/datapath/userspace/answer"
	"github.com/ovlnet/ovl/datapath/userspace/flow"
	"github.com/ovlnet/ovl/datapath/userspace/nat"
	"github.com/ovlnet/ovl/datapath/userspace/offload"
	"github.com/ovlnet/ovl/datapath/userspace/packet"
	"github.com/ovlnet/ovl/encap"
)

// What endpoints send to ServiceMAC, in the order of docs/adr/0017. The frame has
// passed all checks of its source.

// service takes a frame of IP to ServiceMAC.
func (o *Out) service(f offload.Frame, least int) datapath.DropReason {
	v := o.local.network.vips[o.head.DstAddr]
	if v == nil || v.v6 != (o.head.EtherType == packet.TypeIPv6) {
		return o.noVIP(f)
	}
	var s nat.Segment
	ends, reason := o.ends(f.Data, &s)
	switch {
	case reason != 0:
		return reason
	case s.IsICMP():
		return o.icmpToVIP(f, v, &s, least)
	case !s.HasPorts():
		return o.refuse(f, &s, datapath.DropServicePort, answer.ProtocolUnreachable)
	}
	p := o.flowPacket(f.Data, &s)
	target, offered := v.target(s.Proto, ends.DstPort)
	key := keyOf(o.local.network.vni, s.Proto, &ends, true)
	var h flow.Hit
	known := false
	if offered {
		h, known = o.flows.Out(&key, &p)
	}
	if !known {
		back := keyOf(o.local.network.vni, s.Proto, &ends, false)
		if own, ok := o.flows.Back(&back, true, &p); ok && own.Self {
			return o.toItself(f, v, &s, &ends, &own, &p)
		}
	}
	if !offered {
		return o.refuse(f, &s, datapath.DropServicePort, answer.PortUnreachable)
	}
	var b *backend
	if known {
		b, reason = o.goesOn(v, &key, &h, &p)
	}
	if b == nil && reason == 0 {
		h, b, reason = o.begin(v, &key, target, &p)
	}
	if reason != 0 {
		return o.refuse(f, &s, reason, answer.PortUnreachable)
	}
	if s.First {
		o.flows.SetPorts(fragmentOf(o.local.network, &s, &ends), ends.SrcPort, ends.DstPort, p.Now)
	}
	to, reason := o.fitting(f, b, least)
	if reason != 0 {
		return reason
	}
	is := endsOf(&h.Key, true)
	s.SetEnds(f.Data, &is, s.Unfinished(f))
	return o.toBackend(f, to, h.Self)
}

// ends reads those of a packet: a later fragment has the ports of its first.
func (o *Out) ends(frame []byte, s *nat.Segment) (nat.Ends, datapath.DropReason) {
	if reason := nat.Parse(frame, s); reason != 0 {
		return nat.Ends{}, reason
	}
	ends := s.Ends(frame)
	if s.Later {
		var ok bool
		if ends.SrcPort, ends.DstPort, ok = o.flows.Ports(fragmentOf(o.local.network, s, &ends), o.time()); !ok {
			return ends, datapath.DropServiceFragment
		}
	}
	return ends, 0
}

// noVIP drops what is for an address that is no VIP. If it was one, of which a flow
// is remembered, that ends here, and a TCP client is told.
func (o *Out) noVIP(f offload.Frame) datapath.DropReason {
	var s nat.Segment
	ends, reason := o.ends(f.Data, &s)
	if reason != 0 || !s.HasPorts() {
		return datapath.DropUnknownDestination
	}
	p := o.flowPacket(f.Data, &s)
	key := keyOf(o.local.network.vni, s.Proto, &ends, true)
	if _, ok := o.flows.Out(&key, &p); !ok {
		back := keyOf(o.local.network.vni, s.Proto, &ends, false)
		h, ok := o.flows.QuotedBack(&back, true, p.Now)
		if !ok || !h.Self {
			return datapath.DropUnknownDestination
		}
		key = h.Key
	}
	o.flows.Forget(&key)
	if s.Proto == nat.TCP {
		return o.refuse(f, &s, datapath.DropBackendGone, answer.PortUnreachable)
	}
	return datapath.DropUnknownDestination
}

// goesOn is the backend of a flow. With none, and no reason to drop the packet, that
// begins a new one: the backend is gone, and the flow forgotten.
func (o *Out) goesOn(v *vip, k *flow.Key, h *flow.Hit, p *flow.Packet) (*backend, datapath.DropReason) {
	b := v.known(h.Backend, h.Key.Server)
	switch {
	case b == nil:
		o.flows.Forget(k)
		if k.Protocol == nat.TCP && !p.SYN {
			return nil, datapath.DropBackendGone
		}
	case h.Refreshed && v.affinity > 0:
		o.flows.KeepClient(k, b.id, p.Now)
	}
	return b, 0
}

// begin finds a backend for a new flow.
func (o *Out) begin(v *vip, k *flow.Key, target uint16, p *flow.Packet) (flow.Hit, *backend, datapath.DropReason) {
	b := o.affine(v, k, p.Now)
	if b == nil {
		b = v.choose(balance.Flow{
			Protocol: uint8(k.Protocol),
			Client:   netip.AddrPortFrom(netip.AddrFrom16(k.Client), k.ClientPort),
			VIP:      netip.AddrPortFrom(netip.AddrFrom16(k.Server), k.ServerPort),
		})
	}
	if b == nil {
		return flow.Hit{}, nil, datapath.DropNoBackend
	}
	if v.affinity > 0 {
		o.flows.SetClient(k, b.id, p.Now)
	}
	return o.flows.Add(k, b.id, b.addr, target, p), b, 0
}

// affine is the backend that a client has been to, if it is to be that one again.
func (o *Out) affine(v *vip, k *flow.Key, now time.Duration) *backend {
	if v.affinity == 0 {
		return nil
	}
	id, ok := o.flows.Client(k, now, v.affinity)
	if !ok {
		return nil
	}
	if b := v.backends[id]; b != nil && b.takes {
		return b
	}
	return nil
}

// fitting is the endpoint that is a backend, if the packet fits the way there: what
// its sender is told quotes it as it was sent.
func (o *Out) fitting(f offload.Frame, b *backend, least int) (*endpoint, datapath.DropReason) {
	to := o.local.network.ends[b.mac]
	if to == nil || !o.local.end.reaches(to) {
		return nil, datapath.DropUnknownDestination
	}
	if to.port != nil {
		return to, 0
	}
	return to, o.fits(f, to.peer, least)
}

// toBackend sends a frame that is translated but for its MACs.
func (o *Out) toBackend(f offload.Frame, to *endpoint, self bool) datapath.DropReason {
	copy(f.Data, to.mac[:])
	if self {
		copy(f.Data[srcMACAt:], datapath.ServiceMAC[:])
	}
	if to.port != nil {
		return o.deliver(to.port, f)
	}
	return o.send(to.peer, f, o.head.ECN())
}

// toItself turns what a client that is its own backend answers to the VIP. An
// answer begins no flow where its own has ended.
func (o *Out) toItself(f offload.Frame, v *vip, s *nat.Segment, ends *nat.Ends, h *flow.Hit, p *flow.Packet) datapath.DropReason {
	if v.known(h.Backend, ends.Src) == nil {
		o.flows.Forget(&h.Key)
		if s.Proto == nat.TCP && !p.SYN {
			return o.refuse(f, s, datapath.DropBackendGone, answer.PortUnreachable)
		}
		return o.refuse(f, s, datapath.DropServicePort, answer.PortUnreachable)
	}
	if s.First {
		o.flows.SetPorts(fragmentOf(o.local.network, s, ends), ends.SrcPort, ends.DstPort, p.Now)
	}
	is := endsOf(&h.Key, false)
	s.SetEnds(f.Data, &is, s.Unfinished(f))
	o.setItself(f.Data)
	return o.deliver(o.from, f)
}

// setItself sets the MACs of a frame from a VIP to its sender.
func (o *Out) setItself(frame []byte) {
	copy(frame, o.local.end.mac[:])
	copy(frame[srcMACAt:], datapath.ServiceMAC[:])
}

// toBackendItself is for what a client sends to a backend, and not to a VIP. The
// answers to the first segment of a connection are not those of a flow that is
// over.
func (o *Out) toBackendItself(frame []byte) {
	var s nat.Segment
	if nat.Parse(frame, &s) != 0 || !s.Begins(frame) {
		return
	}
	ends := s.Ends(frame)
	key := keyOf(o.local.network.vni, s.Proto, &ends, true)
	o.flows.Yield(&key)
}

// icmpToVIP answers echo requests and passes on errors about what a VIP has sent.
func (o *Out) icmpToVIP(f offload.Frame, v *vip, s *nat.Segment, least int) datapath.DropReason {
	if s.IsEcho(f.Data) {
		if offload.Complete(f) != nil {
			return datapath.DropEncap
		}
		s.TurnEcho(f.Data)
		return o.answered(f.Data, nil)
	}
	var q nat.Quote
	if !s.IsError(f.Data) || !s.Quote(f.Data, &q) || !s.Returns(f.Data, &q) {
		return datapath.DropServicePort
	}
	vni := o.local.network.vni
	key := keyOf(vni, q.Proto, &q.Ends, false)
	if h, ok := o.flows.QuotedOut(&key, o.time()); ok {
		b := v.known(h.Backend, h.Key.Server)
		if b == nil {
			return datapath.DropServicePort
		}
		to, reason := o.fitting(f, b, least)
		if reason != 0 {
			return reason
		}
		outer, quoted := endsOf(&h.Key, true), endsOf(&h.Key, false)
		s.SetQuoted(f.Data, &q, &outer, &quoted)
		return o.toBackend(f, to, h.Self)
	}
	key = keyOf(vni, q.Proto, &q.Ends, true)
	if h, ok := o.flows.QuotedBack(&key, true, o.time()); ok && v.known(h.Backend, key.Server) != nil {
		outer, quoted := endsOf(&h.Key, false), endsOf(&h.Key, true)
		s.SetQuoted(f.Data, &q, &outer, &quoted)
		o.setItself(f.Data)
		return o.deliver(o.from, f)
	}
	return datapath.DropServicePort
}

// refuse drops a packet to a VIP, and tells its sender: with a reset, or with an
// ICMP error.
func (o *Out) refuse(f offload.Frame, s *nat.Segment, reason datapath.DropReason, what answer.Unreachable) datapath.DropReason {
	var message []byte
	due := false
	switch {
	case s.Later:
	case s.Proto == nat.TCP:
		message, due = o.builder.Reset(f.Data, s.L4)
	case s.V6:
		message, due = o.builder.Unreachable6(f.Data, what)
	default:
		message, due = o.builder.Unreachable4(f.Data, what)
	}
	if due {
		o.pieces[0] = message
		_ = o.ways.Deliver(o.from, offload.Header{}, o.pieces[:]) // it was dropped, told or not
	}
	return reason
}

// flowPacket is what the frame at hand tells about its flow.
func (o *Out) flowPacket(frame []byte, s *nat.Segment) flow.Packet {
	return flow.Packet{
		Now: o.time(), SYN: s.Begins(frame), End: s.Finishes(frame), Reset: s.Resets(frame),
		Packets: o.packets, Bytes: o.bytes,
	}
}

// time is when the frames came that were handed over together.
func (o *Out) time() time.Duration {
	if !o.timed {
		o.now, o.timed = o.flows.Now(), true
	}
	return o.now
}

// keyOf is the key of a packet of a flow: forward from its client, or back from its
// backend.
func keyOf(vni encap.VNI, proto uint8, e *nat.Ends, forward bool) flow.Key {
	if forward {
		return flow.Key{
			Client: e.Src, ClientPort: e.SrcPort, Server: e.Dst, ServerPort: e.DstPort, VNI: vni, Protocol: uint32(proto),
		}
	}
	return flow.Key{
		Client: e.Dst, ClientPort: e.DstPort, Server: e.Src, ServerPort: e.SrcPort, VNI: vni, Protocol: uint32(proto),
	}
}

// endsOf is keyOf the other way round.
func endsOf(k *flow.Key, forward bool) nat.Ends {
	if forward {
		return nat.Ends{Src: k.Client, SrcPort: k.ClientPort, Dst: k.Server, DstPort: k.ServerPort}
	}
	return nat.Ends{Src: k.Server, SrcPort: k.ServerPort, Dst: k.Client, DstPort: k.ClientPort}
}

func fragmentOf(n *network, s *nat.Segment, e *nat.Ends) flow.Fragment {
	return flow.Fragment{VNI: n.vni, Src: e.Src, Dst: e.Dst, Protocol: s.FragmentProto, ID: s.ID}
}
