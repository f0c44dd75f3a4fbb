package link

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Our filters on a clsact qdisc stand at one fixed place of the ingress chain,
// so that a new one replaces the old in one step.
const (
	filterPriority = 7946
	filterHandle   = 1
)

// EnsureFilter runs a BPF program, given by descriptor and by the kernel's ID
// for it, on the ingress of a device, through a filter of a clsact qdisc that
// bears the given name. It replaces what it has put there before without a
// gap, and reports whether it did anything. This is how programs are attached
// before Linux 6.6.
func EnsureFilter(ifindex int, name string, fd int, id uint32) (bool, error) {
	l, err := netlink.LinkByIndex(ifindex)
	if err != nil {
		return false, fmt.Errorf("device #%d: %w", ifindex, err)
	}
	err = netlink.QdiscAdd(clsact(ifindex))
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return false, fmt.Errorf("add clsact to %s: %w", l.Attrs().Name, err)
	}
	old, err := ownFilters(l, []string{name})
	if err != nil {
		return false, err
	}
	if len(old) == 1 && old[0].Id == int(id) {
		return false, nil
	}
	filter := &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: ifindex, Parent: netlink.HANDLE_MIN_INGRESS,
			Priority: filterPriority, Handle: filterHandle, Protocol: unix.ETH_P_ALL,
		},
		Fd: fd, Name: name, DirectAction: true,
	}
	if err := netlink.FilterReplace(filter); err != nil {
		return false, fmt.Errorf("attach %s to %s: %w", name, l.Attrs().Name, err)
	}
	return true, nil
}

// PruneFilters removes the filters with one of these names from every device,
// except those that keep wants to stay, and returns how many those were. A
// clsact qdisc that is left without any filter, anybody's, goes too.
func PruneFilters(names []string, keep func(ifindex int, name string) bool) (int, error) {
	links, err := dump(netlink.LinkList)
	if err != nil {
		return 0, fmt.Errorf("list devices: %w", err)
	}
	var errs []error
	n := 0
	for _, l := range links {
		filters, err := ownFilters(l, names)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		before := n
		for _, f := range filters {
			if keep(l.Attrs().Index, f.Name) {
				continue
			}
			if err := netlink.FilterDel(f); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
				errs = append(errs, fmt.Errorf("detach %s from %s: %w", f.Name, l.Attrs().Name, err))
				continue
			}
			n++
		}
		if n > before {
			errs = append(errs, removeEmptyClsact(l))
		}
	}
	return n, errors.Join(errs...)
}

// removeEmptyClsact removes the clsact qdisc of a device unless a filter hangs
// on it. One that is gone, with its device perhaps, is success.
func removeEmptyClsact(l netlink.Link) error {
	for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
		filters, err := dump(func() ([]netlink.Filter, error) { return netlink.FilterList(l, parent) })
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENODEV) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list filters of %s: %w", l.Attrs().Name, err)
		}
		if len(filters) > 0 {
			return nil
		}
	}
	err := netlink.QdiscDel(clsact(l.Attrs().Index))
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove clsact from %s: %w", l.Attrs().Name, err)
	}
	return nil
}

// clsact is the qdisc of a device that filters of both directions hang on.
func clsact(ifindex int) netlink.Qdisc {
	return &netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: ifindex, Parent: netlink.HANDLE_CLSACT, Handle: netlink.MakeHandle(0xffff, 0),
		},
		QdiscType: "clsact",
	}
}

// ownFilters lists the filters of a device that have one of these names. A
// device without a clsact qdisc has none.
func ownFilters(l netlink.Link, names []string) ([]*netlink.BpfFilter, error) {
	all, err := dump(func() ([]netlink.Filter, error) {
		return netlink.FilterList(l, netlink.HANDLE_MIN_INGRESS)
	})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENODEV) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list filters of %s: %w", l.Attrs().Name, err)
	}
	var own []*netlink.BpfFilter
	for _, f := range all {
		if b, ok := f.(*netlink.BpfFilter); ok && b.Priority == filterPriority && slices.Contains(names, b.Name) {
			own = append(own, b)
		}
	}
	return own, nil
}
