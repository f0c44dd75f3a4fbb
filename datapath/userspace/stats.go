package userspace

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// Stats implements datapath.Datapath. Counters are read while packets go on, so
// two of them need not be of the same instant.
func (d *Datapath) Stats(ctx context.Context) (datapath.Stats, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return datapath.Stats{}, errClosed
	}
	if err := ctx.Err(); err != nil {
		return datapath.Stats{}, err
	}
	s := d.counted()
	s.Attachments = append(s.Attachments, datapath.Attachment{
		Program: "tunnel", Device: d.opts.Underlay, Hook: fmt.Sprintf("udp/%d", d.opts.Port),
	})
	for _, p := range d.ports {
		s.Attachments = append(s.Attachments, datapath.Attachment{Program: "port", Device: p.Device, Hook: "tc/" + p.name})
	}
	slices.SortFunc(s.Attachments, func(a, b datapath.Attachment) int {
		return cmp.Or(cmp.Compare(a.Program, b.Program), cmp.Compare(a.Device, b.Device))
	})
	return s, nil
}

// counted returns all that was ever counted.
func (d *Datapath) counted() datapath.Stats {
	d.countQueues()
	s := datapath.Stats{
		Drops:    map[datapath.DropReason]datapath.Counter{},
		Peers:    map[netip.Addr]datapath.PeerCounter{},
		Ports:    map[string]datapath.PortCounter{},
		Networks: map[encap.VNI]datapath.PortCounter{},
		Past:     d.saved.Past,
		Drift:    d.drift,
	}
	for vni, c := range d.saved.Networks {
		s.Networks[vni] = c
	}
	for _, p := range d.leaving {
		s.Networks[p.VNI] = s.Networks[p.VNI].Add(p.Counters.Load())
	}
	for device, p := range d.ports {
		c := p.Counters.Load()
		s.Ports[device] = c
		s.Networks[p.VNI] = s.Networks[p.VNI].Add(c)
	}
	for vtep, p := range d.peers {
		c := p.Counters.Load()
		c.PathMTU = p.PathMTU()
		s.Peers[vtep] = c
	}
	s.Past.Ports = s.Past.Ports.Add(d.counting.Lost.Load())
	for _, r := range datapath.DropReasons() {
		s.Drops[r] = d.counting.Dropped(r)
	}
	return s
}

// countQueues counts what queues of the kernel have dropped that are ours: the
// TAPs' and the tunnel sockets'. The kernel tells how many, not how long.
func (d *Datapath) countQueues() {
	dropped, err := d.devices.TXDropped()
	if err == nil {
		for _, p := range d.ports {
			d.countQueue(p, dropped[p.name])
		}
	}
	if d.tunnel == nil {
		return
	}
	overflow := d.tunnel.Overflowed()
	d.counting.Drop(datapath.DropQueue, overflow-d.overflow, 0)
	d.overflow = overflow
}

func (d *Datapath) countQueue(p *port, dropped uint64) {
	if dropped <= p.dropped {
		return // or gone with its device
	}
	n := dropped - p.dropped
	p.dropped = dropped
	p.Counters.Sent.Add(n, 0)
	p.Counters.Dropped.Add(n, 0)
	d.counting.Drop(datapath.DropQueue, n, 0)
}
