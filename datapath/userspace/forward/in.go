package forward

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/userspace/answer"
	"github.com/ovlnet/ovl/datapath/userspace/flow"
	"github.com/ovlnet/ovl/datapath/userspace/offload"
	"github.com/ovlnet/ovl/datapath/userspace/packet"
	"github.com/ovlnet/ovl/encap"
)

// In takes packets out of the tunnel. It is one goroutine's.
type In struct {
	ways     Ways
	counting *Counting
	flows    *flow.Memory
	parser   packet.Parser
	builder  answer.Builder

	// run are the frames that are to be delivered together, to one port.
	run  offload.Run
	port *Port
	// runPackets and runBytes are what they count for, from is who sent them.
	runPackets, runBytes uint64
	runFrom              *Peer

	// Of the packet at hand:
	table          *Table
	head           *packet.Packet
	packets, bytes uint64
	// datagram is how long the datagrams are that it holds uncut, without their
	// headers; 0 if it is not known to hold such.
	datagram int
	// now is when it came, if timed.
	now   time.Duration
	timed bool
}

// NewIn returns an In that counts and remembers flows together with others.
func NewIn(w Ways, c *Counting, flows *flow.Memory) *In {
	return &In{ways: w, counting: c, flows: flows, run: offload.Run{UDP: true}}
}

// Packets takes the payload of one or more UDP packets from a host: each but the
// last is size bytes long, or there is only one where size is 0. When it
// returns, what it was given is still in use: Flush ends that.
func (in *In) Packets(t *Table, from netip.Addr, outer encap.ECN, data []byte, size int) {
	in.table, in.datagram = t, 0
	if size > 0 && in.uncut(data, size) {
		in.datagram, size = size, 0
	}
	if size <= 0 || size > len(data) {
		size = len(data)
	}
	for {
		n := min(size, len(data))
		in.packet(from, outer, data[:n:n])
		if data = data[n:]; len(data) == 0 {
			return
		}
	}
}

// Flush delivers what is still held back.
func (in *In) Flush() {
	in.flush()
	in.ways.Flush()
	in.timed = false
}

// time is when the packets came that are flushed together.
func (in *In) time() time.Duration {
	if !in.timed {
		in.now, in.timed = in.flows.Now(), true
	}
	return in.now
}

// uncut says whether what the kernel takes for several packets of a size is one:
// a packet that has never left this machine may come with the datagrams inside
// the tunnel still together, and it is their size that the kernel tells then.
func (in *In) uncut(data []byte, size int) bool {
	if len(data) < encap.HeaderLen {
		return false
	}
	frame := data[encap.HeaderLen:]
	p := in.parser.Parse(frame)
	if p.Framing != 0 || p.Header == datapath.DropTruncated {
		return false
	}
	length := 0
	switch ip := frame[p.L3:]; p.Inner {
	case packet.TypeIPv4:
		length = int(binary.BigEndian.Uint16(ip[2:]))
	case packet.TypeIPv6:
		length = int(binary.BigEndian.Uint16(ip[4:])) + ipv6Len
	}
	return encap.HeaderLen+p.L3+length > size
}

func (in *In) packet(from netip.Addr, outer encap.ECN, payload []byte) {
	in.packets, in.bytes = 1, uint64(max(0, len(payload)-encap.HeaderLen))
	if reason := in.decide(from, outer, payload); reason != 0 {
		in.counting.Drop(reason, in.packets, in.bytes)
	}
}

// decide returns the reason to drop a packet, or 0.
func (in *In) decide(from netip.Addr, outer encap.ECN, payload []byte) datapath.DropReason {
	if len(payload) < encap.HeaderLen+ethLen {
		return datapath.DropTruncated
	}
	header, err := encap.ParseHeader(payload)
	if err != nil {
		return datapath.DropVXLANFlags
	}
	n := in.table.networks[header.VNI]
	if n == nil {
		return datapath.DropUnknownVNI
	}
	f := offload.Frame{Data: payload[encap.HeaderLen:]}
	ok := packet.Untag(&f)
	in.head = in.parser.Parse(f.Data)
	sender := n.ends[in.head.Src]
	if sender == nil || sender.peer == nil || sender.peer.VTEP != from {
		if n.members[from] == nil {
			return datapath.DropUnknownVTEP
		}
		return datapath.DropInnerSource
	}
	in.bytes = uint64(len(f.Data)) // a priority tag does not count for who is known
	switch {
	case !ok:
		return datapath.DropInnerMalformed
	case in.head.Framing != 0:
		return in.head.Framing
	case in.head.Header != 0:
		return in.head.Header
	}
	to, reason := in.target(n, sender, f.Data)
	if reason != 0 {
		return reason
	}
	if reason := in.decapECN(f.Data, outer); reason != 0 {
		return reason
	}
	if sender.backend.Load() && to != nil && to.port != nil && in.head.IP() {
		a := arrival{network: n, frame: f.Data, now: in.time(), tunnelled: true, packets: in.packets, bytes: in.bytes}
		a.fromVIP(in.flows)
	}
	many := in.datagram > 0 || len(f.Data)-tagLen(in.head.Tagged) > n.mtu+ethLen
	switch {
	case to == nil:
		return in.flood(n, sender.peer, f.Data)
	case to.port == nil:
		return in.duplicate(n, sender.peer, to, f.Data)
	case many:
		in.flush()
		in.start(n, sender.peer, to.port, f.Data)
		in.flush()
	default:
		in.deliver(n, sender.peer, to.port, f.Data)
	}
	return 0
}

// target finds the endpoint that a frame is for; nil if it is for everybody, or
// the reason if there is none. One that is not on this host is returned where its
// address is to be told to a sender who wants to take it.
//
// ARP requests and neighbour solicitations come to a group from hosts that are
// plain vxlan devices, and go to the one endpoint that can answer. Behind a tag,
// a VLAN of the endpoints' own has its own addresses: there the MACs say it all.
func (in *In) target(n *network, s *endpoint, frame []byte) (*endpoint, datapath.DropReason) {
	neighbour := false
	dst := n.ends[in.head.Dst]
	group := in.head.Group()
	switch in.head.EtherType {
	case packet.TypeARP:
		if reason := answer.CheckARP(frame[ethLen:], s); reason != 0 {
			return nil, innerReason(reason)
		}
		if group {
			if !in.head.Request {
				return nil, datapath.DropMulticast
			}
			dst = n.owners[addr4(in.head.DstAddr)]
			if dst == nil {
				return nil, datapath.DropUnknownNeighbour
			}
			group = false
		}
	case packet.TypeIPv4:
		if !s.Owns(addr4(in.head.SrcAddr)) {
			return nil, datapath.DropInnerSource
		}
	case packet.TypeIPv6:
		u, reason := answer.Inspect6(frame, s)
		if reason != 0 {
			return nil, innerReason(reason)
		}
		neighbour = u.Proto == protoICMPv6 && (u.Type == answer.TypeNeighborSolicitation || u.Type == answer.TypeNeighborAdvertisement)
		if neighbour && u.Type == answer.TypeNeighborSolicitation && group {
			dst = n.owner6(ndTarget(frame))
			if dst == nil && n.names6(ndTarget(frame)) {
				return nil, datapath.DropNotLocal
			}
			if dst == nil {
				return nil, datapath.DropUnknownNeighbour
			}
			group = false
			if addr6(in.head.SrcAddr).IsUnspecified() && dst.port != nil && !dst.gateway {
				return &endpoint{mac: dst.mac}, 0 // for duplicate
			}
		}
	}
	// What is left of neighbour discovery is for nobody: it never floods.
	if group {
		if neighbour || !n.multicast {
			return nil, datapath.DropMulticast
		}
		return nil, 0
	}
	if dst == nil || dst.port == nil || dst.gateway { // each host has its own gateway
		return nil, datapath.DropNotLocal
	}
	return dst, 0
}

// innerReason turns the reasons of an endpoint's source check into those of the
// underlay's side.
func innerReason(r datapath.DropReason) datapath.DropReason {
	if r == datapath.DropSourceIP || r == datapath.DropSourceARP {
		return datapath.DropInnerSource
	}
	return r
}

// decapECN takes the outer ECN over into the packet, RFC 6040 section 4.2.
func (in *In) decapECN(frame []byte, outer encap.ECN) datapath.DropReason {
	if outer&encap.ECT1 == 0 /* nor CE, which has this bit too */ || !in.head.IP() {
		return 0
	}
	was := in.head.ECN()
	is, drop := encap.DecapECN(was, outer)
	if drop {
		return datapath.DropECN
	}
	if is != was {
		setECN(frame, was, is)
	}
	return 0
}

// Unsent counts a tunnel packet as dropped that was queued for a peer and could
// not be sent. The Ways call it while Packets or Flush runs.
func (in *In) Unsent(to *Peer, r datapath.DropReason, packets, bytes uint64) {
	to.Counters.Sent.Sub(packets, bytes)
	in.counting.Drop(r, packets, bytes)
	in.counting.Lost.Dropped.Add(packets, bytes)
}

// deliver holds a frame back, to be written together with those that continue
// it.
func (in *In) deliver(n *network, from *Peer, to *Port, frame []byte) {
	if in.port != to || in.runFrom != from || !in.run.Add(frame) {
		in.flush()
		in.start(n, from, to, frame)
		return
	}
	in.runPackets += in.packets
	in.runBytes += in.bytes
}

// start begins to hold back.
func (in *In) start(n *network, from *Peer, to *Port, frame []byte) {
	in.run.MTU, in.run.Datagram = n.mtu, in.datagram
	in.run.Add(frame)
	in.port, in.runFrom = to, from
	in.runPackets, in.runBytes = in.packets, in.bytes
}

// flush delivers the frames that were held back.
func (in *In) flush() {
	if in.port == nil {
		return
	}
	h, pieces := in.run.Frame()
	if len(pieces) == 1 && h.GSOType != offload.GSONone {
		// It came uncut, and counts as what it stands for.
		in.runPackets, in.runBytes = offload.Measure(offload.Frame{Header: h, Data: pieces[0]})
	}
	// First, for who gets them may look at once.
	in.port.Counters.Received.Add(in.runPackets, in.runBytes)
	in.runFrom.Counters.Received.Add(in.runPackets, in.runBytes)
	if in.ways.Deliver(in.port, h, pieces) != nil {
		in.port.Counters.Received.Sub(in.runPackets, in.runBytes)
		in.runFrom.Counters.Received.Sub(in.runPackets, in.runBytes)
		in.counting.Drop(datapath.DropQueue, in.runPackets, in.runBytes)
	}
	in.run.Reset()
	in.port, in.runPackets, in.runBytes = nil, 0, 0
}

// duplicate tells a plain vxlan device that an address is taken. The endpoint
// that has it would tell all nodes, and that does not cross.
func (in *In) duplicate(n *network, from *Peer, owner *endpoint, frame []byte) datapath.DropReason {
	message, err := in.builder.Advertise(frame, owner.mac)
	if err != nil {
		return datapath.DropEncap
	}
	in.flush()
	// One frame ends here, another begins.
	from.Counters.Received.Add(in.packets, in.bytes)
	in.counting.Lost.Answered.Add(in.packets, in.bytes)
	in.counting.Lost.Copied.Add(1, uint64(len(message)))
	from.Counters.Sent.Add(1, uint64(len(message)))
	in.ways.Send(from, encap.FlowHash(message), encap.NotECT, n.vxlan[:], message)
	in.ways.Flush()
	return 0
}
