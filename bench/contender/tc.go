package contender

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	ebpflink "github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
)

// tcPrograms are programs at the ingress of devices. They go with the devices,
// or with close.
type tcPrograms struct {
	links []ebpflink.Link
}

// attach loads a program and puts it at the ingress of dev, a device of the
// calling thread's namespace.
func (p *tcPrograms) attach(dev netlink.Link, name string, instructions asm.Instructions) error {
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: name, Type: ebpf.SchedCLS, License: "Dual BSD/GPL", Instructions: instructions,
	})
	if err != nil {
		return fmt.Errorf("load tc program %s: %w", name, err)
	}
	defer prog.Close() // the link keeps it
	l, err := ebpflink.AttachTCX(ebpflink.TCXOptions{
		Interface: dev.Attrs().Index, Program: prog, Attach: ebpf.AttachTCXIngress,
	})
	if errors.Is(err, ebpf.ErrNotSupported) {
		return fmt.Errorf("attach tc program %s: it takes tcx, of Linux 6.6: %w", name, err)
	}
	if err != nil {
		return fmt.Errorf("attach tc program %s to %s: %w", name, dev.Attrs().Name, err)
	}
	p.links = append(p.links, l)
	return nil
}

func (p *tcPrograms) close() error {
	var errs []error
	for _, l := range p.links {
		errs = append(errs, l.Close())
	}
	p.links = nil
	return errors.Join(errs...)
}

// Parts of programs follow. They have the struct __sk_buff in R6, from saveSkb
// on.
const (
	skbData    = 76 // offset of __sk_buff.data
	skbDataEnd = 80 // offset of __sk_buff.data_end

	ethHeader  = 14 // bytes; the destination's address comes first
	packetHost = 0  // PACKET_HOST
	tcxNext    = -1 // TCX_NEXT: as if the program were not there
)

func saveSkb() asm.Instructions { return asm.Instructions{asm.Mov.Reg(asm.R6, asm.R1)} }

// ifFrameFor goes on with the next instruction if the frame's destination is
// mac, and at the label otherwise.
func ifFrameFor(mac net.HardwareAddr, otherwise string) asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R2, asm.R6, skbData, asm.Word),
		asm.LoadMem(asm.R3, asm.R6, skbDataEnd, asm.Word),
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, ethHeader),
		asm.JGT.Reg(asm.R4, asm.R3, otherwise),
		asm.LoadMem(asm.R4, asm.R2, 0, asm.Word),
		asm.JNE.Imm32(asm.R4, int32(binary.NativeEndian.Uint32(mac)), otherwise),
		asm.LoadMem(asm.R4, asm.R2, 4, asm.Half),
		asm.JNE.Imm32(asm.R4, int32(binary.NativeEndian.Uint16(mac[4:])), otherwise),
	}
}

// redirectTo ends a program: the frame leaves through dev.
func redirectTo(dev netlink.Link) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Imm(asm.R1, int32(dev.Attrs().Index)),
		asm.Mov.Imm(asm.R2, 0),
		asm.FnRedirect.Call(),
		asm.Return(),
	}
}

// redirectInto ends a program: the frame appears at the endpoint behind port,
// with no second pass through this host's receive queue. To the device that it
// came in at it was somebody else's, and IP drops such frames; newer kernels,
// 6.18 for one, set that right by themselves when they redirect.
func redirectInto(port netlink.Link) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Imm(asm.R2, packetHost),
		asm.FnSkbChangeType.Call(),
		asm.Mov.Imm(asm.R1, int32(port.Attrs().Index)),
		asm.Mov.Imm(asm.R2, 0),
		asm.FnRedirectPeer.Call(),
		asm.Return(),
	}
}

// pass ends a program at that label: the frame goes on as if there were none.
func pass(label string) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Imm(asm.R0, tcxNext).WithSymbol(label),
		asm.Return(),
	}
}
