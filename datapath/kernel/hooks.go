package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	ebpflink "github.com/cilium/ebpf/link"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/link"
)

// Hook is a way to attach a program to the ingress of a device.
type Hook string

const (
	// HookAuto takes TCX where the kernel has it, else clsact.
	HookAuto Hook = ""
	// HookTCX attaches by a pinned link, Linux 6.6 and later.
	HookTCX Hook = "tcx/ingress"
	// HookClsact attaches by a filter of a clsact qdisc, Linux 4.5 and later.
	HookClsact Hook = "clsact/ingress"
)

// choose settles HookAuto. It asks the kernel for an attachment that cannot
// succeed: one that knows TCX finds no such device, another no such command.
func (h Hook) choose() (Hook, error) {
	switch h {
	case HookTCX, HookClsact:
		return h, nil
	case HookAuto:
		if supported, err := tcxSupported(); err != nil || supported {
			return HookTCX, err
		}
		return HookClsact, nil
	}
	return "", fmt.Errorf("unknown hook %q", h)
}

func tcxSupported() (bool, error) {
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "GPL", Instructions: nop(),
	})
	if err != nil {
		return false, fmt.Errorf("load a program to look for tcx: %w", err)
	}
	defer func() { _ = prog.Close() }()
	l, err := ebpflink.AttachTCX(ebpflink.TCXOptions{
		Interface: noSuchInterface, Program: prog, Attach: ebpf.AttachTCXIngress,
	})
	if err == nil {
		_ = l.Close()
	}
	return !errors.Is(err, ebpf.ErrNotSupported), nil
}

// linksDir holds a pinned link for every program and device, named
// <program>-<ifindex>: names of devices may have characters that a bpffs
// refuses, and change.
const linksDir = "links"

type hooks struct {
	dir  string
	hook Hook
}

// at is a program on a device.
type at struct {
	program string
	ifindex uint32
}

func (a at) pinName() string { return fmt.Sprintf("%s-%d", a.program, a.ifindex) }

// parsePin reads what pinName wrote.
func parsePin(name string) (at, bool) {
	program, index, ok := strings.Cut(name, "-")
	n, err := strconv.ParseUint(index, 10, 32)
	if !ok || err != nil {
		return at{}, false
	}
	return at{program, uint32(n)}, true
}

// ensure attaches prog, or replaces in one step what an earlier process has
// attached there; it does nothing where prog is already at work. It reports
// whether it did anything.
func (h hooks) ensure(a at, prog *ebpf.Program) (bool, error) {
	info, err := prog.Info()
	if err != nil {
		return false, fmt.Errorf("inspect program %s: %w", a.program, err)
	}
	id, _ := info.ID() // there since Linux 4.13
	if h.hook == HookClsact {
		return link.EnsureFilter(int(a.ifindex), a.program, prog.FD(), uint32(id))
	}
	path := filepath.Join(h.dir, a.pinName())
	pinned, err := ebpflink.LoadPinnedLink(path, nil)
	switch {
	case err == nil:
		defer func() { _ = pinned.Close() }()
		if done, changed, err := takeOver(pinned, a, prog, id); done {
			return changed, err
		}
		// The device that it was on is gone, and this one has its number.
		if err := pinned.Unpin(); err != nil {
			return false, fmt.Errorf("unpin stale link %s: %w", a.pinName(), err)
		}
	case !errors.Is(err, os.ErrNotExist):
		return false, fmt.Errorf("open pinned link %s: %w", a.pinName(), err)
	}

	l, err := ebpflink.AttachTCX(ebpflink.TCXOptions{
		Interface: int(a.ifindex), Program: prog, Attach: ebpf.AttachTCXIngress,
	})
	if err != nil {
		return false, fmt.Errorf("attach %s: %w", a.program, err)
	}
	defer func() { _ = l.Close() }()
	if err := l.Pin(path); err != nil {
		return false, fmt.Errorf("pin link %s: %w", a.pinName(), err)
	}
	return true, nil
}

// takeOver makes a pinned link run prog. It is not done if the link is no
// longer attached to its device.
func takeOver(l ebpflink.Link, a at, prog *ebpf.Program, id ebpf.ProgramID) (done, changed bool, err error) {
	info, err := l.Info()
	if err != nil {
		return true, false, fmt.Errorf("inspect link %s: %w", a.pinName(), err)
	}
	if tcx := info.TCX(); tcx == nil || tcx.Ifindex != a.ifindex {
		return false, false, nil
	}
	if info.Program == id {
		return true, false, nil
	}
	if err := l.Update(prog); err != nil {
		return true, false, fmt.Errorf("replace program of link %s: %w", a.pinName(), err)
	}
	return true, true, nil
}

// prune detaches what is not to be kept and returns how many those were.
func (h hooks) prune(keep func(at) bool) (int, error) {
	if h.hook == HookClsact {
		return link.PruneFilters(programNames, func(ifindex int, program string) bool {
			return keep(at{program, uint32(ifindex)})
		})
	}
	entries, err := os.ReadDir(h.dir)
	if err != nil {
		return 0, fmt.Errorf("list pinned links: %w", err)
	}
	var errs []error
	n := 0
	for _, e := range entries {
		if a, ok := parsePin(e.Name()); ok && keep(a) {
			continue
		}
		if err := detach(filepath.Join(h.dir, e.Name())); err != nil {
			errs = append(errs, &datapath.ObjectError{Object: "pinned link " + e.Name(), Err: err})
			continue
		}
		n++
	}
	return n, errors.Join(errs...)
}

// detach ends a pinned link. Taking the pin away would do so too, but a little
// later, and until then the program cannot be attached there again.
func detach(pin string) error {
	l, err := ebpflink.LoadPinnedLink(pin, nil)
	if err != nil {
		return err
	}
	err = l.Detach()
	return errors.Join(err, l.Unpin(), l.Close())
}
