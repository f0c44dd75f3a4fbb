package kernel

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/bpf"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// Flags of a flow, OVL_FLOW_… of bpf/types.h.
const (
	flowReverse     = 1
	flowClosing     = 8
	flowEstablished = 16
)

type flowEntries map[bpf.OvlFlowKey]bpf.OvlFlowEntry

// Flows implements datapath.Datapath. A flow to a backend that is gone is none:
// its next packet ends it.
func (d *Datapath) Flows(ctx context.Context) ([]datapath.Flow, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, errClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	entries, err := readAll[bpf.OvlFlowKey, bpf.OvlFlowEntry](d.objs.OvlFlows)
	if err != nil {
		return nil, fmt.Errorf("read map ovl_flows: %w", err)
	}
	young, err := readAll[bpf.OvlFlowKey, bpf.OvlFlowEntry](d.objs.OvlFlowsYoung)
	if err != nil {
		return nil, fmt.Errorf("read map ovl_flows_young: %w", err)
	}
	for k, e := range young { // where the programs look first
		entries[k] = e
	}
	backends, err := readAll[bpf.OvlBackendKey, bpf.OvlBackendEntry](d.objs.OvlBackends)
	if err != nil {
		return nil, fmt.Errorf("read map ovl_backends: %w", err)
	}
	vips, err := readAll[bpf.OvlVipKey, bpf.OvlVipEntry](d.objs.OvlServices)
	if err != nil {
		return nil, fmt.Errorf("read map ovl_services: %w", err)
	}
	now, err := coarseNow()
	if err != nil {
		return nil, err
	}
	var flows []datapath.Flow
	for k, e := range entries {
		service := vips[bpf.OvlVipKey{Vni: k.Vni, Addr: k.Dst}].Service
		b, ok := backends[bpf.OvlBackendKey{Service: service, Endpoint: e.Endpoint}]
		if e.Flags&flowReverse != 0 || !ok {
			continue
		}
		if f, ok := newFlow(k, e, flowEntries(entries).reverse(k, e), now); ok {
			f.BackendID = text(b.Id[:])
			flows = append(flows, f)
		}
	}
	return flows, nil
}

// reverse is the entry of the other direction, zero if there is none.
func (f flowEntries) reverse(k bpf.OvlFlowKey, e bpf.OvlFlowEntry) bpf.OvlFlowEntry {
	r := f[bpf.OvlFlowKey{Vni: k.Vni, Src: e.Dst, Dst: e.Src, Sport: e.Dport, Dport: e.Sport, Protocol: k.Protocol}]
	if r.Flags&flowReverse == 0 || r.Dst != k.Src || r.Dport != k.Sport || r.Src != k.Dst || r.Sport != k.Dport {
		return bpf.OvlFlowEntry{}
	}
	return r
}

// newFlow is a flow of two entries. False: it has been quiet for too long.
func newFlow(k bpf.OvlFlowKey, e, r bpf.OvlFlowEntry, now uint64) (datapath.Flow, bool) {
	f := datapath.Flow{
		VNI: encap.VNI(k.Vni), Protocol: k.Protocol,
		Client: addrPort(k.Src, k.Sport), VIP: addrPort(k.Dst, k.Dport), Backend: addrPort(e.Dst, e.Dport),
		SourcePort: e.Sport, Sent: counter(e.Counted), Received: counter(r.Counted),
	}
	switch tcp := k.Protocol == unix.IPPROTO_TCP; {
	case tcp && (e.Flags|r.Flags)&flowClosing != 0:
		f.State = datapath.FlowClosing
	case (e.Flags|r.Flags)&flowEstablished != 0 || r.Counted.Packets > 0:
		f.State = datapath.FlowEstablished
	}
	if seen := max(e.Seen, r.Seen); now > seen {
		f.Idle = time.Duration(now - seen).Truncate(time.Second)
	}
	return f, f.Idle <= flowTime(f)
}

// flowTime is for how long the programs remember it: flow_time of bpf/flows.h.
func flowTime(f datapath.Flow) time.Duration {
	udp := f.Protocol == unix.IPPROTO_UDP
	switch {
	case f.State == datapath.FlowClosing:
		return datapath.FlowTimeClosing
	case f.State == datapath.FlowEstablished && udp:
		return datapath.FlowTimeEstablishedUDP
	case f.State == datapath.FlowEstablished:
		return datapath.FlowTimeEstablishedTCP
	case udp:
		return datapath.FlowTimeNewUDP
	}
	return datapath.FlowTimeNewTCP
}

func addrPort(addr [16]byte, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(addr).Unmap(), port)
}

// coarseNow is what bpf_ktime_get_coarse_ns says.
func coarseNow() (uint64, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &t); err != nil {
		return 0, fmt.Errorf("read the clock: %w", err)
	}
	return uint64(t.Nano()), nil
}
