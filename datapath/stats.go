package datapath

import (
	"net/netip"

	"github.com/ovlnet/ovl/encap"
)

// Counter counts packets and their bytes, inner Ethernet header included,
// tunnel headers not.
//
// A frame counts as it goes over the wire: one that stands for many segments
// (GSO, GRO), as these segments, each with its headers. So the sender, which
// cuts late, the receiver, which merges early, and a host without any of it
// count the same. A frame is measured once, as it comes, and counts the same
// wherever it is counted on this host. What is dropped on its way in counts as
// the frame inside, and for no bytes if it ends before that.
type Counter struct {
	Packets uint64
	Bytes   uint64
}

// Stats is what a datapath has counted and what it has put in place.
//
// What came is what went. Once no packet is under way, exactly:
//
//   - on a host, the sum over Networks and Past.Ports of Sent and Copied, and
//     over Peers and Past.Peers of Received, is that of Received, Answered and
//     Dropped over the former and of Sent over the latter (see Balance);
//   - the sum over Drops is that of Dropped, and what was dropped on its way
//     in from the underlay (see DroppedIn);
//   - what one host has sent to another is what that one has received from it
//     or dropped on its way in, but for what the underlay and the kernels have
//     lost between the two.
type Stats struct {
	// Drops has an entry for every reason, zero or not.
	Drops map[DropReason]Counter
	// Peers counts by the VTEP at the other end of the tunnel.
	Peers map[netip.Addr]PeerCounter
	// Ports counts by Port.Device, of the ports there are. A port that comes
	// back begins at zero.
	Ports map[string]PortCounter
	// Networks sums up the ports of each, those included that are gone.
	Networks map[encap.VNI]PortCounter
	// Past is what was counted for networks and peers that are gone, and
	// frames from a device that was no port (any more).
	Past Past
	// Attachments are the programs or sockets in place, for people to read.
	Attachments []Attachment
	// Drift is how many entries Apply found to differ from what it had last
	// put there.
	Drift uint64
}

// PeerCounter counts the traffic with one peer, from this host's view.
type PeerCounter struct {
	// Sent is what was handed to the underlay for the peer, copies included.
	Sent Counter
	// Received is what came from the peer and was delivered.
	Received Counter
	// PathMTU is the largest packet of the underlay, in bytes, that was last
	// found to reach the peer; 0 before anything was sent there.
	PathMTU int
}

// PortCounter counts the traffic of an endpoint on this host, from the
// endpoint's view.
type PortCounter struct {
	// Sent is all that the endpoint has sent, whatever became of it.
	Sent Counter
	// Received is what others have sent it: this host's answers are not in it.
	Received Counter
	// Answered is what of Sent the datapath has answered itself: ARP and
	// neighbour discovery.
	Answered Counter
	// Dropped is what of Sent was dropped, for whichever reason. Packets that
	// got an ICMP error are among it.
	Dropped Counter
	// Copied is what had to be made beyond the frame that was sent, or that
	// came from a peer: broadcast to three receivers is two copies. Those of
	// a frame from a peer are counted at a port that received it.
	Copied Counter
}

// Past counts for what is gone.
type Past struct {
	Ports PortCounter
	Peers PeerCounter
}

// Attachment is one place where the datapath meets the host's network.
type Attachment struct {
	// Program is the name of the program, for example "from_endpoint".
	Program string
	// Device is the interface that it is attached to.
	Device string
	// Hook is the way it is attached, for example "tcx/ingress".
	Hook string
}

// Add returns the sum.
func (c Counter) Add(o Counter) Counter {
	return Counter{Packets: c.Packets + o.Packets, Bytes: c.Bytes + o.Bytes}
}

// Add returns the sum.
func (c PeerCounter) Add(o PeerCounter) PeerCounter {
	return PeerCounter{Sent: c.Sent.Add(o.Sent), Received: c.Received.Add(o.Received)}
}

// Add returns the sum.
func (c PortCounter) Add(o PortCounter) PortCounter {
	return PortCounter{
		Sent: c.Sent.Add(o.Sent), Received: c.Received.Add(o.Received), Answered: c.Answered.Add(o.Answered),
		Dropped: c.Dropped.Add(o.Dropped), Copied: c.Copied.Add(o.Copied),
	}
}

// AllPorts sums up what was ever counted for ports.
func (s Stats) AllPorts() PortCounter {
	sum := s.Past.Ports
	for _, n := range s.Networks {
		sum = sum.Add(n)
	}
	return sum
}

// AllPeers sums up what was ever counted for peers.
func (s Stats) AllPeers() PeerCounter {
	sum := s.Past.Peers
	for _, p := range s.Peers {
		sum = sum.Add(p)
	}
	return sum
}

// Balance returns how many packets and bytes came in that did not go out, by
// these counters: zero, once no packet is under way.
func (s Stats) Balance() (packets, bytes int64) {
	ports, peers := s.AllPorts(), s.AllPeers()
	in := ports.Sent.Add(ports.Copied).Add(peers.Received)
	out := ports.Received.Add(ports.Answered).Add(ports.Dropped).Add(peers.Sent)
	return int64(in.Packets - out.Packets), int64(in.Bytes - out.Bytes)
}

// DroppedIn returns what was dropped on its way in from the underlay.
func (s Stats) DroppedIn() Counter {
	var sum Counter
	for _, c := range s.Drops {
		sum = sum.Add(c)
	}
	out := s.AllPorts().Dropped
	return Counter{Packets: sum.Packets - out.Packets, Bytes: sum.Bytes - out.Bytes}
}
