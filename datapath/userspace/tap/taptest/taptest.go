// Package taptest has a stand-in for a tap.Device, made of channels: what a
// test sends into In is read, what is written comes out of Out.
package taptest

import (
	"bytes"
	"fmt"
	"os"
	"sync"

	"github.com/ovlnet/ovl/datapath/userspace/offload"
	"github.com/ovlnet/ovl/datapath/userspace/tap"
)

// Port has the methods of a tap.Device that move frames, and behaves like one
// whose queues are the channels.
type Port struct {
	// In has what the next Reads bring. Data's headroom is not looked at.
	In chan offload.Frame
	// Out gets what is written; when it is full, writes fail with tap.ErrFull.
	Out chan offload.Frame

	close  sync.Once
	closed chan struct{}
}

// New makes a port with that much room in each channel.
func New(queue int) *Port {
	return &Port{In: make(chan offload.Frame, queue), Out: make(chan offload.Frame, queue), closed: make(chan struct{})}
}

// Read is as tap.Device's.
func (p *Port) Read(b *tap.Batch) error {
	b.Reset()
	select {
	case <-p.closed:
		return fmt.Errorf("read: %w", os.ErrClosed)
	default:
	}
	select {
	case <-p.closed:
		return fmt.Errorf("read: %w", os.ErrClosed)
	case f := <-p.In:
		b.Append(f.Header, f.Data)
	}
	for b.Room() {
		select {
		case f := <-p.In:
			b.Append(f.Header, f.Data)
		default:
			return nil
		}
	}
	return nil
}

// Write is as tap.Device's; the frame in Out has its Headroom.
func (p *Port) Write(_ *tap.Writer, h offload.Header, pieces ...[]byte) error {
	select {
	case <-p.closed:
		return fmt.Errorf("write: %w", os.ErrClosed)
	default:
	}
	data := append(make([]byte, offload.Headroom), bytes.Join(pieces, nil)...)[offload.Headroom:]
	select {
	case p.Out <- offload.Frame{Header: h, Data: data}:
		return nil
	default:
		return fmt.Errorf("write: %w", tap.ErrFull)
	}
}

// Close ends a Read that waits. It may be called twice.
func (p *Port) Close() error {
	p.close.Do(func() { close(p.closed) })
	return nil
}
