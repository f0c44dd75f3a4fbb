// Package forward is what the userspace datapath decides: whose a frame is,
// what it asks, and where it goes. It does no I/O, takes no lock, and makes
// nothing for the garbage collector.
//
// What flows through it: Build makes a Table of a State; whoever reads frames
// hands them to an Out (from an endpoint on this host, out.go) or an In (out of
// the tunnel, in.go), one of each for every goroutine that reads; and they leave
// by the Ways that these were given. Package packet reads the headers, package
// answer judges and answers what endpoints ask (ARP, ND), and what is too big.
//
//	endpoint ─▶ Out: tag, source, ARP/ND, destination ─┬─▶ Deliver ─▶ endpoint
//	                                     │ MTU         └─▶ Send ────▶ tunnel
//	                                     └─▶ answer ─▶ Deliver ─▶ the sender
//	tunnel ───▶ In: header, VTEP, source, destination, ECN ─▶ Deliver
//
// The rules, their order and the reasons to drop are those of the BPF programs
// (package bpf): the two are held together by datapath/datapathtest.
package forward

import (
	"net/netip"
	"sync/atomic"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/userspace/offload"
	"github.com/ovlnet/ovl/encap"
)

// Ways is how frames leave. Each Out and each In has one to itself.
type Ways interface {
	// Deliver writes a frame, in pieces, to the endpoint behind a port, at
	// once. An error means that it was not taken.
	Deliver(p *Port, h offload.Header, pieces [][]byte) error
	// Send queues a tunnel packet with the payload head + payload. Both have
	// to stay as they are until Flush. What cannot be sent is the Ways' own to
	// count (Out.Unsent, In.Unsent).
	Send(p *Peer, hash uint32, ecn encap.ECN, head, payload []byte)
	// Flush sends what is queued.
	Flush()
}

// Path is what the host knows of the way to a peer.
type Path interface {
	// MTU is the largest outer IP packet in bytes that is known to fit. The
	// error says that there is no way.
	MTU() (int, error)
}

// Port is an endpoint on this host, for as long as it has a device.
type Port struct {
	// Device is that of datapath.Port.
	Device string
	VNI    encap.VNI
	MAC    encap.MAC
	// Interface is what Ways needs to find it.
	Interface any
	Counters  PortCounters
}

// Peer is another host.
type Peer struct {
	VTEP     netip.Addr
	Path     Path
	Counters PeerCounters
	// limit is what the host itself says of its underlay, in bytes; 0 nothing.
	limit atomic.Int64
	// mtu is the path's, as it was last found.
	mtu atomic.Int64
}

// Limit sets what the peer's host says of the MTU of its underlay, in bytes; 0
// is nothing.
func (p *Peer) Limit(mtu int) { p.limit.Store(int64(mtu)) }

// PathMTU is the largest packet of the underlay, in bytes, that was last found
// to reach the peer; 0 before anything was sent there.
func (p *Peer) PathMTU() int { return int(p.mtu.Load()) }

// pathMTU asks for the path's MTU anew.
func (p *Peer) pathMTU() (int, error) {
	mtu, err := p.Path.MTU()
	if err != nil {
		return 0, err
	}
	if limit := int(p.limit.Load()); limit > 0 && limit < mtu {
		mtu = limit
	}
	p.mtu.Store(int64(mtu))
	return mtu, nil
}

// Counting is what all goroutines of a datapath count together.
type Counting struct {
	drops [lastReason + 1]Counter // by reason
	// Lost is counted for frames of no port.
	Lost PortCounters
}

// lastReason is the highest number of a datapath.DropReason.
const lastReason = 127

// Dropped returns what was dropped for a reason.
func (c *Counting) Dropped(r datapath.DropReason) datapath.Counter { return c.drops[r].Load() }

// Drop counts a drop for a reason.
func (c *Counting) Drop(r datapath.DropReason, packets, bytes uint64) { c.drops[r].Add(packets, bytes) }
