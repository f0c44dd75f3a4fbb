package userspace

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/userspace/forward"
	"github.com/ovlnet/ovl/datapath/userspace/offload"
	"github.com/ovlnet/ovl/datapath/userspace/tap"
	"github.com/ovlnet/ovl/datapath/userspace/udp"
	"github.com/ovlnet/ovl/encap"
)

// readPort takes what an endpoint sends until its TAP is closed or gone. It is not
// started before there is a table.
func (d *Datapath) readPort(p *port) {
	defer p.reading.Done()
	w := d.newWays()
	out := forward.NewOut(w, &d.counting, d.flows)
	w.unsent = out.Unsent
	batch := tap.NewBatch()
	for {
		if err := p.tap.Read(batch); err != nil {
			if !errors.Is(err, os.ErrClosed) {
				p.failed.Store(true) // until the next Apply
				d.log.Warn("TAP is gone", "tap", p.name, "device", p.Device, "error", err)
			}
			return
		}
		out.Frames(d.table.Load(), &p.Port, batch.Frames())
	}
}

// readTunnel takes what peers send until the socket is closed.
func (d *Datapath) readTunnel(r *udp.Receiver) {
	defer d.running.Done()
	w := d.newWays()
	in := forward.NewIn(w, &d.counting, d.flows)
	w.unsent = in.Unsent
	arrivals := udp.NewArrivals(0)
	for {
		if err := r.Receive(arrivals); err != nil {
			if !errors.Is(err, os.ErrClosed) {
				d.log.Error("tunnel socket failed", "error", err)
			}
			return
		}
		t := d.table.Load()
		for _, a := range arrivals.All() {
			in.Packets(t, a.From, a.ECN, a.Data, a.Size)
		}
		in.Flush()
	}
}

// ways are a goroutine's own.
type ways struct {
	writer *tap.Writer
	sender *udp.Sender
	report func(*udp.Path, int, int, error)
	unsent func(*forward.Peer, datapath.DropReason, uint64, uint64)
}

func (d *Datapath) newWays() *ways {
	w := &ways{writer: tap.NewWriter(), sender: d.tunnel.NewSender()}
	w.report = w.failed // made once: it is handed over with every flush
	return w
}

// Deliver implements forward.Ways.
func (w *ways) Deliver(p *forward.Port, h offload.Header, pieces [][]byte) error {
	return w.writer.Write(p.Interface.(*tap.Device), h, pieces...)
}

// Send implements forward.Ways.
func (w *ways) Send(p *forward.Peer, hash uint32, ecn encap.ECN, head, payload []byte) {
	w.sender.Add(p.Path.(*udp.Path), hash, ecn, head, payload)
}

// Flush implements forward.Ways.
func (w *ways) Flush() { w.sender.Flush(w.report) }

// failed counts packets that could not be sent, of so many bytes in all.
func (w *ways) failed(p *udp.Path, packets, bytes int, err error) {
	reason := datapath.DropQueue
	switch {
	case errors.Is(err, unix.EMSGSIZE):
		reason = datapath.DropTooBig
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETDOWN):
		reason = datapath.DropNoRoute
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EIO):
		reason = datapath.DropEncap
	}
	if peer, ok := p.Owner.(*forward.Peer); ok {
		w.unsent(peer, reason, uint64(packets), uint64(bytes-packets*encap.HeaderLen))
	}
}
