package forward

import (
	"sync/atomic"

	"github.com/ovlnet/ovl/datapath"
)

// Counter is a datapath.Counter that several goroutines count.
type Counter struct{ packets, bytes atomic.Uint64 }

// Add counts.
func (c *Counter) Add(packets, bytes uint64) {
	c.packets.Add(packets)
	c.bytes.Add(bytes)
}

// Sub takes back what was counted too early.
func (c *Counter) Sub(packets, bytes uint64) { c.Add(-packets, -bytes) }

// Load returns what was counted.
func (c *Counter) Load() datapath.Counter {
	return datapath.Counter{Packets: c.packets.Load(), Bytes: c.bytes.Load()}
}

// Restore continues from what an earlier process has counted.
func (c *Counter) Restore(o datapath.Counter) { c.Add(o.Packets, o.Bytes) }

// PortCounters are those of datapath.PortCounter.
type PortCounters struct{ Sent, Received, Answered, Dropped, Copied Counter }

// Load returns what was counted.
func (c *PortCounters) Load() datapath.PortCounter {
	return datapath.PortCounter{
		Sent: c.Sent.Load(), Received: c.Received.Load(), Answered: c.Answered.Load(),
		Dropped: c.Dropped.Load(), Copied: c.Copied.Load(),
	}
}

// Restore continues from what an earlier process has counted.
func (c *PortCounters) Restore(o datapath.PortCounter) {
	c.Sent.Restore(o.Sent)
	c.Received.Restore(o.Received)
	c.Answered.Restore(o.Answered)
	c.Dropped.Restore(o.Dropped)
	c.Copied.Restore(o.Copied)
}

// PeerCounters are those of datapath.PeerCounter.
type PeerCounters struct{ Sent, Received Counter }

// Load returns what was counted.
func (c *PeerCounters) Load() datapath.PeerCounter {
	return datapath.PeerCounter{Sent: c.Sent.Load(), Received: c.Received.Load()}
}

// Restore continues from what an earlier process has counted.
func (c *PeerCounters) Restore(o datapath.PeerCounter) {
	c.Sent.Restore(o.Sent)
	c.Received.Restore(o.Received)
}
