package kernel

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// TestOtherPrograms: what is not ours stays with the host's other programs on
// the underlay's device, a firewall for example, whichever way we are attached.
func TestOtherPrograms(t *testing.T) {
	for name, hook := range hooksToTest {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, linktest.Options{Hosts: 2}, hook)
			b.connect()
			ping := []string{"ping", "-n", "-c", "1", "-W", "0.3", b.hosts[0].Addr.String()}
			run(t, b.hosts[1].Namespace, ping...)
			dropEverything(t, b.hosts[0].Namespace, linktest.UnderlayDevice)
			if out, err := tryRun(b.hosts[1].Namespace, ping...); err == nil {
				t.Errorf("ping passes the other program, which drops everything:\n%s", out)
			}
			if err := b.hosts[0].Do(func() error { return Remove(b.hosts[0].opts.Dir) }); err != nil {
				t.Fatal(err)
			}
			if out, err := tryRun(b.hosts[1].Namespace, ping...); err == nil {
				t.Errorf("the other program went with ours:\n%s", out)
			}
		})
	}
}

// dropEverything adds a filter behind all others on the ingress of a device.
func dropEverything(t *testing.T, ns *linktest.Namespace, device string) {
	t.Helper()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, verdictShot), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = prog.Close() }()
	// EEXIST if we are attached by clsact ourselves.
	_, _ = tryRun(ns, "tc", "qdisc", "add", "dev", device, "clsact")
	err = ns.Do(func() error {
		index, err := ifindex(device)
		if err != nil {
			return err
		}
		return netlink.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{
				LinkIndex: int(index), Parent: netlink.HANDLE_MIN_INGRESS,
				Priority: 60000, Handle: 1, Protocol: unix.ETH_P_ALL,
			},
			Fd: prog.FD(), Name: "firewall", DirectAction: true,
		})
	})
	if err != nil {
		t.Fatalf("add filter to %s: %v", device, err)
	}
}
