package forward

import (
	"net/netip"
	"time"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/userspace/answer"
	"github.com/ovlnet/ovl/datapath/userspace/flow"
	"github.com/ovlnet/ovl/datapath/userspace/offload"
	"github.com/ovlnet/ovl/datapath/userspace/packet"
	"github.com/ovlnet/ovl/encap"
)

// Out takes frames from endpoints on this host. It is one goroutine's.
type Out struct {
	ways     Ways
	counting *Counting
	flows    *flow.Memory
	parser   packet.Parser
	builder  answer.Builder
	cutter   offload.Cutter
	cutting  bool // what cutter holds is still to be flushed
	pieces   [1][]byte

	// Of the frame at hand:
	from           *Port
	local          local
	head           *packet.Packet
	packets, bytes uint64
	// now is when it came, if timed.
	now   time.Duration
	timed bool
}

// NewOut returns an Out that counts and remembers flows together with others.
func NewOut(w Ways, c *Counting, flows *flow.Memory) *Out {
	return &Out{ways: w, counting: c, flows: flows}
}

// Frames takes frames that an endpoint has sent. When it returns, nothing of
// them is in use any more.
func (o *Out) Frames(t *Table, from *Port, frames []offload.Frame) {
	var present bool
	o.from, o.timed = from, false
	o.local, present = t.ports[from]
	for i := range frames {
		f := frames[i]
		ok := packet.Untag(&f)
		o.packets, o.bytes = offload.Measure(f)
		from.Counters.Sent.Add(o.packets, o.bytes)
		reason := datapath.DropUnknownVNI
		switch {
		case len(f.Data) < ethLen:
			reason = datapath.DropTruncated
		case !present:
		case !ok:
			reason = datapath.DropInnerMalformed
		default:
			reason = o.frame(f)
		}
		if reason != 0 {
			o.drop(reason, 1)
		}
	}
	o.flush()
}

func (o *Out) flush() {
	o.ways.Flush()
	o.cutting = false
}

// drop counts so many copies of the frame as dropped.
func (o *Out) drop(r datapath.DropReason, copies uint64) {
	o.counting.Drop(r, copies*o.packets, copies*o.bytes)
	o.from.Counters.Dropped.Add(copies*o.packets, copies*o.bytes)
}

// frame decides about a frame. It returns the reason to drop it, or 0.
func (o *Out) frame(f offload.Frame) datapath.DropReason {
	o.head = o.parser.Parse(f.Data)
	switch {
	case o.head.Framing != 0:
		return o.head.Framing
	case o.head.Src != o.local.end.mac:
		return datapath.DropSourceMAC
	case o.head.Header != 0:
		return o.head.Header
	}
	switch o.head.EtherType {
	case packet.TypeIPv4:
		return o.ipv4(f)
	case packet.TypeARP:
		return o.arp(f)
	case packet.TypeIPv6:
		return o.ipv6(f)
	}
	if o.head.Group() {
		return o.flood(f)
	}
	return o.other(f)
}

func (o *Out) ipv4(f offload.Frame) datapath.DropReason {
	if !o.local.end.Owns(addr4(o.head.SrcAddr)) {
		return datapath.DropSourceIP
	}
	if o.head.Group() {
		return o.flood(f)
	}
	if o.head.Dst == datapath.ServiceMAC {
		return o.service(f, least4)
	}
	to := o.destination(f.Data, addr4(o.head.DstAddr))
	if to == nil && o.followsVIP(f.Data, addr4(o.head.DstAddr)) {
		return o.service(f, least4)
	}
	return o.forward(f, to, least4)
}

func (o *Out) ipv6(f offload.Frame) datapath.DropReason {
	if o.head.Plain() {
		if !answer.Owns6(o.local.end, o.head.SrcAddr) {
			return datapath.DropSourceIP
		}
	} else {
		u, reason := answer.Inspect6(f.Data, o.local.end)
		if reason != 0 {
			return reason
		}
		if u.Proto == protoICMPv6 && u.Type == answer.TypeNeighborSolicitation {
			return o.solicitation(f.Data)
		}
		// Nobody needs an advertisement that nobody asked for.
		if o.head.Group() && u.Proto == protoICMPv6 && u.Type == answer.TypeNeighborAdvertisement {
			return datapath.DropMulticast
		}
	}
	if o.head.Group() {
		return o.flood(f)
	}
	if o.head.Dst == datapath.ServiceMAC {
		return o.service(f, least6)
	}
	to := o.destination(f.Data, addr6(o.head.DstAddr))
	if to == nil && o.followsVIP(f.Data, addr6(o.head.DstAddr)) {
		return o.service(f, least6)
	}
	return o.forward(f, to, least6)
}

// destination finds the endpoint that a frame is for. A sender may still have an
// address down with the MAC of an endpoint that is gone: then the frame follows
// the address to the MAC that has it now. Without that it would be lost until
// the sender asks again, which may take its stack half a minute.
func (o *Out) destination(frame []byte, addr netip.Addr) *endpoint {
	if e := o.local.network.ends[o.head.Dst]; e != nil && o.local.end.reaches(e) {
		return e
	}
	e := o.local.network.owners[addr]
	if e == nil || !o.local.end.reaches(e) {
		return nil
	}
	copy(frame, e.mac[:])
	return e
}

// followsVIP is destination for a frame to the address of a VIP: it sets the MAC,
// and says whether it is one.
func (o *Out) followsVIP(frame []byte, addr netip.Addr) bool {
	vip := o.local.network.isVIP(addr)
	if vip {
		copy(frame, datapath.ServiceMAC[:])
	}
	return vip
}

// forward sends an IP packet to where it belongs. least is what every network of
// its family carries.
func (o *Out) forward(f offload.Frame, to *endpoint, least int) datapath.DropReason {
	if to == nil || to == o.local.end {
		return datapath.DropUnknownDestination
	}
	if to.backend.Load() {
		o.toBackendItself(f.Data)
	}
	if to.port != nil {
		if o.local.end.backend.Load() {
			a := arrival{
				network: o.local.network, frame: f.Data, now: o.time(), header: f.Header, packets: o.packets, bytes: o.bytes,
			}
			a.fromVIP(o.flows)
		}
		return o.deliver(to.port, f)
	}
	if reason := o.fits(f, to.peer, least); reason != 0 {
		return reason
	}
	return o.send(to.peer, f, o.head.ECN())
}

// fits wants a packet to fit the way to a peer, and tells its sender if it does
// not.
func (o *Out) fits(f offload.Frame, to *Peer, least int) datapath.DropReason {
	n := o.local.network
	mtu, err := innerMTU(to, n.mtu, 0)
	if err != nil {
		return datapath.DropNoRoute
	}
	// What the sender may count on is not too big for a path, whatever we are
	// told of that: it cannot be asked for less, and what routers say may be
	// forged. If it is true, the underlay drops it.
	if length := offload.SegmentLen(f); length > mtu && (length > n.mtu || length > least) {
		return o.tooBig(f, n, mtu)
	}
	return 0
}

// other sends a frame that is not IP, or is behind a tag, to where it belongs. A
// packet behind a tag is of the endpoints' own network, whose gateway is not
// ours to name.
func (o *Out) other(f offload.Frame) datapath.DropReason {
	n := o.local.network
	to := n.ends[o.head.Dst]
	if to == nil || to == o.local.end || !o.local.end.reaches(to) {
		return datapath.DropUnknownDestination
	}
	if to.port != nil {
		return o.deliver(to.port, f)
	}
	tag := tagLen(o.head.Tagged)
	mtu, err := innerMTU(to.peer, n.mtu, tag)
	if err != nil {
		return datapath.DropNoRoute
	}
	if offload.SegmentLen(f)-tag > mtu {
		return o.tooBig(f, nil, mtu)
	}
	return o.send(to.peer, f, o.head.ECN())
}

func (o *Out) deliver(to *Port, f offload.Frame) datapath.DropReason {
	o.pieces[0] = f.Data
	// First, for who gets the frame may look at once.
	to.Counters.Received.Add(o.packets, o.bytes)
	if o.ways.Deliver(to, f.Header, o.pieces[:]) != nil {
		to.Counters.Received.Sub(o.packets, o.bytes)
		return datapath.DropQueue
	}
	return 0
}

// send puts a frame that fits into the tunnel, cut into packets.
func (o *Out) send(to *Peer, f offload.Frame, ecn encap.ECN) datapath.DropReason {
	hash := encap.FlowHash(f.Data)
	header := o.local.network.vxlan[:]
	ecn = encap.EncapECN(ecn)
	if f.GSOType == offload.GSONone {
		if offload.Complete(f) != nil {
			return datapath.DropEncap
		}
		to.Counters.Sent.Add(o.packets, o.bytes)
		o.ways.Send(to, hash, ecn, header, f.Data)
		return 0
	}
	if o.cutting {
		o.flush()
	}
	if o.cutter.Cut(header, f) != nil {
		return datapath.DropEncap
	}
	o.cutting = true
	to.Counters.Sent.Add(o.packets, o.bytes)
	for i := range o.cutter.Len() {
		head, payload := o.cutter.Segment(i)
		o.ways.Send(to, hash, ecn, head, payload)
	}
	return 0
}

// Unsent counts a tunnel packet as dropped that was queued for a peer and could
// not be sent. The Ways call it while Frames runs.
func (o *Out) Unsent(to *Peer, r datapath.DropReason, packets, bytes uint64) {
	to.Counters.Sent.Sub(packets, bytes)
	o.counting.Drop(r, packets, bytes)
	o.from.Counters.Dropped.Add(packets, bytes)
}

// answered sends a frame of our own making back to the endpoint that asked.
func (o *Out) answered(frame []byte, err error) datapath.DropReason {
	if err != nil {
		return datapath.DropEncap
	}
	o.pieces[0] = frame
	o.from.Counters.Answered.Add(o.packets, o.bytes)
	if o.ways.Deliver(o.from, offload.Header{}, o.pieces[:]) != nil {
		o.from.Counters.Answered.Sub(o.packets, o.bytes)
		return datapath.DropQueue
	}
	return 0
}

// tooBig drops a packet that does not fit, and tells its sender which size does:
// from the gateway of n, or without one from the packet's destination. The drop
// is what counts: the answer is of our making.
func (o *Out) tooBig(f offload.Frame, n *network, mtu int) datapath.DropReason {
	var gateway4, gateway6 netip.Addr
	if n != nil {
		gateway4, gateway6 = n.gateway4, n.gateway6
	}
	// It looks behind one tag, and says nothing of what is not of its family.
	message, due := o.builder.TooBig4(f.Data, gateway4, mtu)
	if !due {
		message, due = o.builder.TooBig6(f.Data, gateway6, mtu)
	}
	if due {
		o.pieces[0] = message
		_ = o.ways.Deliver(o.from, offload.Header{}, o.pieces[:]) // it was dropped, told or not
	}
	return datapath.DropTooBig
}

// arp answers requests: none ever leaves the host. Replies, which an endpoint on
// a plain vxlan device may have asked for, go their way.
func (o *Out) arp(f offload.Frame) datapath.DropReason {
	if reason := answer.CheckARP(f.Data[ethLen:], o.local.end); reason != 0 {
		return reason
	}
	if !o.head.Request {
		if o.head.Group() {
			return datapath.DropMulticast
		}
		return o.other(f)
	}
	owner := o.local.network.owners[addr4(o.head.DstAddr)]
	if owner == nil && o.local.network.isVIP(addr4(o.head.DstAddr)) {
		return o.answered(o.builder.ARPReply(f.Data, datapath.ServiceMAC))
	}
	if owner == nil {
		return datapath.DropUnknownNeighbour
	}
	// A probe for or an announcement of what is its own: nobody needs it.
	if owner == o.local.end {
		return datapath.DropMulticast
	}
	return o.answered(o.builder.ARPReply(f.Data, owner.mac))
}

// solicitation answers a neighbour solicitation. One for its own address, by
// which an endpoint looks for duplicates, nobody answers.
func (o *Out) solicitation(frame []byte) datapath.DropReason {
	owner := o.local.network.owner6(ndTarget(frame))
	if owner == nil && o.local.network.isVIP(ndTarget(frame)) {
		return o.answered(o.builder.Advertise(frame, datapath.ServiceMAC))
	}
	if owner == nil {
		return datapath.DropUnknownNeighbour
	}
	if owner == o.local.end {
		return datapath.DropMulticast
	}
	return o.answered(o.builder.Advertise(frame, owner.mac))
}
