package datapath

import "net/netip"

// Counter counts packets and their bytes, inner Ethernet header included,
// tunnel headers not. A packet that is dropped on its way in counts with the
// tunnel headers that it still has.
type Counter struct {
	Packets uint64
	Bytes   uint64
}

// Stats is what a datapath has counted and what it has put in place.
type Stats struct {
	// Drops has an entry for every reason, zero or not.
	Drops map[DropReason]Counter
	// Peers counts by the VTEP at the other end of the tunnel.
	Peers map[netip.Addr]PeerCounter
	// Attachments are the programs or sockets in place, for people to read.
	Attachments []Attachment
	// Drift is how many entries Apply found to differ from what it had last
	// put there.
	Drift uint64
}

// PeerCounter counts the traffic with one peer, from this host's view.
type PeerCounter struct {
	Sent     Counter
	Received Counter
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
