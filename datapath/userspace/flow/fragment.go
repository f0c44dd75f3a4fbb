package flow

import (
	"time"

	"github.com/ovlnet/ovl/encap"
)

const (
	// maxFragments bounds how many fragmented packets are remembered.
	maxFragments = 1 << 12
	// fragmentTime is for how long: as Linux waits for fragments.
	fragmentTime = 30 * time.Second
)

// ports are a packet's, source before destination.
type ports struct{ src, dst uint16 }

// Fragment is what the fragments of one packet have in common.
type Fragment struct {
	VNI      encap.VNI
	Src, Dst [16]byte
	Protocol uint8
	ID       uint32
}

// Ports returns the ports of a packet of which the first fragment was seen.
func (m *Memory) Ports(f Fragment, now time.Duration) (src, dst uint16, ok bool) {
	p, ok := m.fragments.get(f, now, fragmentTime)
	return p.src, p.dst, ok
}

// SetPorts remembers the ports of a first fragment.
func (m *Memory) SetPorts(f Fragment, src, dst uint16, now time.Duration) {
	m.fragments.put(f, ports{src, dst}, now)
}
