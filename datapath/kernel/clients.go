package kernel

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/ovlnet/ovl/bpf"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// forgetOthers forgets the flows of all clients but these. It has to look at all
// flows for that.
func (d *Datapath) forgetOthers(clients map[datapath.Client]bool) error {
	return errors.Join(
		forgetOthers(bpf.OvlMapOvlFlows, d.objs.OvlFlows, clients),
		forgetOthers(bpf.OvlMapOvlFlowsYoung, d.objs.OvlFlowsYoung, clients),
	)
}

func forgetOthers(name string, m *ebpf.Map, clients map[datapath.Client]bool) error {
	entries, err := readAll[bpf.OvlFlowKey, bpf.OvlFlowEntry](m)
	if err != nil {
		return fmt.Errorf("read map %s: %w", name, err)
	}
	for k, e := range entries {
		client := k.Src
		if e.Flags&flowReverse != 0 {
			client = e.Dst
		}
		if clients[datapath.Client{VNI: encap.VNI(k.Vni), Addr: netip.AddrFrom16(client).Unmap()}] {
			continue
		}
		if err := m.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("delete from map %s: %w", name, err)
		}
	}
	return nil
}
