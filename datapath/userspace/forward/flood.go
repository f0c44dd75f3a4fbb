package forward

import (
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/userspace/offload"
)

// flood sends a frame to a group to everybody but its sender: a copy for each
// other port here, one for each host that has the network, which hands it to its
// own ports and to nobody else. So no frame ever comes round, and what an
// endpoint can set off is bounded by the length of the lists. Copies that the
// lists have no room for count as dropped; so does a frame that nobody is there
// to hear.
func (o *Out) flood(f offload.Frame) datapath.DropReason {
	n := o.local.network
	if !n.multicast || o.local.end.gateway { // what that says to all, nobody needs
		return datapath.DropMulticast
	}
	left := n.leftPorts + n.leftHosts
	copies := len(n.ports) - 1 + len(n.hosts) + left
	if copies <= 0 {
		return datapath.DropMulticast
	}
	// One of them stands for the frame itself.
	o.from.Counters.Copied.Add(uint64(copies-1)*o.packets, uint64(copies-1)*o.bytes)
	if left > 0 {
		o.drop(datapath.DropMulticast, uint64(left))
	}
	for _, p := range n.ports {
		if p == o.from {
			continue
		}
		if reason := o.deliver(p, f); reason != 0 {
			o.drop(reason, 1)
		}
	}
	tag := tagLen(o.head.Tagged)
	length, ecn := offload.SegmentLen(f)-tag, o.head.ECN()
	for _, p := range n.hosts {
		mtu, err := innerMTU(p, n.mtu, tag)
		reason := datapath.DropNoRoute
		switch {
		case err != nil:
		case length > mtu:
			reason = datapath.DropTooBig
		default:
			reason = o.send(p, f, ecn)
			f.Flags &^= offload.NeedsCsum // it is made
		}
		if reason != 0 {
			o.drop(reason, 1)
		}
	}
	return 0
}

// flood hands a frame to a group that came out of the tunnel to all ports of its
// network.
func (in *In) flood(n *network, from *Peer, frame []byte) datapath.DropReason {
	if !n.multicast {
		return datapath.DropMulticast
	}
	in.flush()
	in.run.MTU, in.run.Datagram = n.mtu, in.datagram
	in.run.Add(frame)
	h, pieces := in.run.Frame()
	in.packets, in.bytes = offload.Measure(offload.Frame{Header: h, Data: frame})
	// The copies that are more than one count at a port that got one.
	counted := &in.counting.Lost
	if len(n.ports) > 0 {
		counted = &n.ports[0].Counters
	}
	copies := len(n.ports) + n.leftPorts
	if copies == 0 {
		in.run.Reset()
		return datapath.DropMulticast
	}
	counted.Copied.Add(uint64(copies-1)*in.packets, uint64(copies-1)*in.bytes)
	from.Counters.Received.Add(in.packets, in.bytes)
	for _, p := range n.ports {
		p.Counters.Received.Add(in.packets, in.bytes)
		if in.ways.Deliver(p, h, pieces) != nil {
			p.Counters.Received.Sub(in.packets, in.bytes)
			in.dropCopies(counted, datapath.DropQueue, 1)
		}
	}
	if n.leftPorts > 0 {
		in.dropCopies(counted, datapath.DropMulticast, uint64(n.leftPorts))
	}
	in.run.Reset()
	return 0
}

// dropCopies counts copies that were made here.
func (in *In) dropCopies(at *PortCounters, r datapath.DropReason, copies uint64) {
	in.counting.Drop(r, copies*in.packets, copies*in.bytes)
	at.Dropped.Add(copies*in.packets, copies*in.bytes)
}
