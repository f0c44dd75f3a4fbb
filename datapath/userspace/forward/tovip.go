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
		return datapath.DropUnknownDestination
	}
	var s nat.Segment
	if reason := nat.Parse(f.Data, &s); reason != 0 {
		return reason
	}
	ends := s.Ends(f.Data)
	var ok bool
	if s.Later {
		if ends.SrcPort, ends.DstPort, ok = o.flows.Ports(fragmentOf(o.local.network, &s, &ends), o.time()); !ok {
			return datapath.DropServiceFragment
		}
	}
	switch {
	case s.IsICMP():
		return o.icmpToVIP(f, v, &s, least)
	case !s.HasPorts():
		return o.refuse(f, &s, datapath.DropServicePort, answer.ProtocolUnreachable)
	}
	p := o.flowPacket(f.Data, &s)
	if o.local.end.backend.Load() && o.answersItself(f, &s, &ends, &p) {
		return o.deliver(o.from, f)
	}
	target, offered := v.target(s.Proto, ends.DstPort)
	if !offered {
		return o.refuse(f, &s, datapath.DropServicePort, answer.PortUnreachable)
	}
	h, b, reason := o.flow(v, &s, &ends, target, &p)
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

// flow finds the flow of a packet and its backend, or begins one.
func (o *Out) flow(v *vip, s *nat.Segment, ends *nat.Ends, target uint16, p *flow.Packet) (flow.Hit, *backend, datapath.DropReason) {
	vni := o.local.network.vni
	key := keyOf(vni, s.Proto, ends, true)
	h, ok := o.flows.Out(&key, p)
	if ok {
		if b := v.known(h.Backend, h.Key.Server); b != nil {
			if h.Refreshed && v.affinity > 0 {
				o.flows.SetClient(&key, b.id, p.Now)
			}
			return h, b, 0
		}
		o.flows.Forget(&key)
		if s.Proto == nat.TCP && !p.SYN {
			return h, nil, datapath.DropBackendGone
		}
	}
	b := o.affine(v, &key, p.Now)
	if b == nil {
		b = v.choose(balance.Flow{
			Protocol: s.Proto,
			Client:   netip.AddrPortFrom(netip.AddrFrom16(ends.Src), ends.SrcPort),
			VIP:      netip.AddrPortFrom(netip.AddrFrom16(ends.Dst), ends.DstPort),
		})
	}
	if b == nil {
		return h, nil, datapath.DropNoBackend
	}
	if v.affinity > 0 {
		o.flows.SetClient(&key, b.id, p.Now)
	}
	return o.flows.Add(&key, b.id, b.addr, target, p), b, 0
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

// answersItself turns what a client that is its own backend answers to the VIP.
// False: it is a packet of a client like others.
func (o *Out) answersItself(f offload.Frame, s *nat.Segment, ends *nat.Ends, p *flow.Packet) bool {
	key := keyOf(o.local.network.vni, s.Proto, ends, false)
	h, ok := o.flows.Back(&key, true, p)
	if !ok {
		return false
	}
	if s.First {
		o.flows.SetPorts(fragmentOf(o.local.network, s, ends), ends.SrcPort, ends.DstPort, p.Now)
	}
	is := endsOf(&h.Key, false)
	s.SetEnds(f.Data, &is, s.Unfinished(f))
	o.toItself(f.Data)
	return true
}

// toItself sets the MACs of a frame from a VIP to its sender.
func (o *Out) toItself(frame []byte) {
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
	if h, ok := o.flows.QuotedBack(&key, true, o.time()); ok && o.local.end.backend.Load() {
		outer, quoted := endsOf(&h.Key, false), endsOf(&h.Key, true)
		s.SetQuoted(f.Data, &q, &outer, &quoted)
		o.toItself(f.Data)
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
