package contender

import (
	"context"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"

	"github.com/ovlnet/ovl/bench/measure"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// external is Cilium's way: a tc program at the endpoint's port says where the
// frame goes and in which network, and redirects it to a vxlan device that is
// told both with every packet (`external`, collect_md); a program at the
// ingress of that device redirects what arrives to the endpoint.
//
// It is this design at its best: the far end and the network are constants of
// the programs, where Cilium looks them up, and nothing is checked. As with
// Cilium, the vxlan device asks for headroom, but nothing asks the endpoint's
// veth for it.
type external struct {
	programs tcPrograms
}

func (*external) Name() string { return "external" }

func (e *external) Setup(_ context.Context, lab *linktest.Lab) (measure.Pair, error) {
	return joinVeths(lab, e.Name(), e.connect)
}

func (e *external) Teardown(context.Context) error { return e.programs.close() }

func (e *external) connect(self, peer *vethEnd) error {
	// No learning: the device has no table. No checksum over IPv4: the key
	// says that, with each packet.
	vxlan := &netlink.Vxlan{
		LinkAttrs: netlink.LinkAttrs{Name: "vx0", MTU: self.mtu, TxQLen: -1},
		FlowBased: true,
		Port:      vxlanPort,
	}
	if err := add(vxlan, nil); err != nil {
		return err
	}
	port, err := self.endpoint.build(self.mtu, nil)
	if err != nil {
		return err
	}
	out := slices.Concat(
		saveSkb(),
		setTunnelKey(vxlanVNI, self.host.Addr, peer.host.Addr),
		redirectTo(vxlan),
	)
	if err := e.programs.attach(port, "external_out", out); err != nil {
		return err
	}
	return e.programs.attach(vxlan, "external_in", slices.Concat(saveSkb(), redirectInto(port)))
}

// struct bpf_tunnel_key. Its addresses are in the host's byte order.
const (
	tunnelKeySize = 44
	keyID         = 0
	keyRemoteIPv4 = 4
	keyTTL        = 21
	keyLocalIPv4  = 28

	zeroChecksum = 1 << 1 // BPF_F_ZERO_CSUM_TX
	defaultTTL   = 64
)

// setTunnelKey says how the vxlan device shall wrap the frame.
func setTunnelKey(vni uint32, local, remote netip.Addr) asm.Instructions {
	const start = -(tunnelKeySize + 4) // on the stack, aligned to 8 bytes
	out := asm.Instructions{asm.Mov.Imm(asm.R1, 0)}
	for at := int16(start); at < 0; at += 8 {
		out = append(out, asm.StoreMem(asm.RFP, at, asm.R1, asm.DWord))
	}
	address := func(at int16, a netip.Addr) asm.Instructions {
		return asm.Instructions{
			asm.Mov.Imm32(asm.R1, int32(binary.BigEndian.Uint32(a.AsSlice()))),
			asm.StoreMem(asm.RFP, start+at, asm.R1, asm.Word),
		}
	}
	out = append(out, asm.StoreImm(asm.RFP, start+keyID, int64(vni), asm.Word))
	out = append(out, address(keyRemoteIPv4, remote)...)
	out = append(out, address(keyLocalIPv4, local)...)
	return append(out,
		asm.StoreImm(asm.RFP, start+keyTTL, defaultTTL, asm.Byte),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, start),
		asm.Mov.Imm(asm.R3, tunnelKeySize),
		asm.Mov.Imm(asm.R4, zeroChecksum),
		asm.FnSkbSetTunnelKey.Call(),
	)
}
