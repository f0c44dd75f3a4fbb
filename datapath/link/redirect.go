package link

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// redirectPriority is the place of our redirects on the ingress chain, by which
// they are known. It comes after filterPriority, and after all of tcx (Linux
// 6.6): where the kernel datapath has a program on the same device, as it has
// while one datapath takes over from the other, the frames are the program's.
const redirectPriority = filterPriority + 1

// redirectNode is the handle of the one filter there, inside the hash table
// that the kernel makes for it and numbers itself.
const redirectNode = 1

// EnsureRedirect makes everything that comes in at one device go out of
// another, tags and offloads as they are, and nothing of it reach the host's
// stack: a u32 filter on a clsact qdisc, the one classifier of tc that every
// kernel has, with the action mirred. One that leads elsewhere is replaced
// without a gap, one that is right is left alone; it reports whether it did
// anything. A frame that the target does not take, since it is down say, is
// dropped.
//
// The redirect ends with either of the devices. The error wraps ErrNoDevice if
// one is not there.
func EnsureRedirect(from, to string) (changed bool, err error) {
	source, err := byName(from)
	if err != nil {
		return false, fmt.Errorf("redirect %s to %s: %w", from, to, err)
	}
	target, err := byName(to)
	if err != nil {
		return false, fmt.Errorf("redirect %s to %s: %w", from, to, err)
	}
	own, err := ownRedirects(source)
	if err != nil {
		return false, err
	}
	// One that matches everything is kept or replaced; of any other, the kernel
	// would replace the action and keep what it matches.
	var kept *netlink.U32
	for _, f := range own {
		if kept == nil && matchesAll(f) {
			kept = f
			continue
		}
		if err := removeFilter(source, f); err != nil {
			return changed, err
		}
		changed = true
	}
	if kept != nil && leadsTo(kept, target.Attrs().Index) {
		return changed, nil
	}
	err = netlink.QdiscAdd(clsact(source.Attrs().Index))
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return changed, fmt.Errorf("add clsact to %s: %w", from, err)
	}
	f := redirect(source, target)
	if kept != nil {
		f.Handle = kept.Handle
	}
	if err := netlink.FilterReplace(f); err != nil {
		return changed, fmt.Errorf("redirect %s to %s: %w", from, to, err)
	}
	return true, nil
}

// RemoveRedirect takes the redirect of a device away, wherever it leads, and
// the clsact qdisc with it if nothing else hangs there. A missing redirect or
// device is success.
func RemoveRedirect(from string) error {
	d, err := byName(from)
	if errors.Is(err, ErrNoDevice) {
		return nil
	}
	if err != nil {
		return err
	}
	own, err := ownRedirects(d)
	if err != nil || len(own) == 0 {
		return err
	}
	for _, f := range own {
		if err := removeFilter(d, f); err != nil {
			return err
		}
	}
	return removeEmptyClsact(d)
}

// Redirects returns where the redirects of this namespace lead, by device. One
// whose target has been removed leads to "".
func Redirects() (map[string]string, error) {
	devices, err := dump(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	names := make(map[int]string, len(devices))
	for _, d := range devices {
		names[d.Attrs().Index] = d.Attrs().Name
	}
	found := map[string]string{}
	var errs []error
	for _, d := range devices {
		own, err := ownRedirects(d)
		if err != nil {
			errs = append(errs, err)
		}
		if len(own) > 0 {
			found[d.Attrs().Name] = names[own[0].RedirIndex]
		}
	}
	return found, errors.Join(errs...)
}

func redirect(from, to netlink.Link) *netlink.U32 {
	return &netlink.U32{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: from.Attrs().Index, Parent: netlink.HANDLE_MIN_INGRESS,
			Priority: redirectPriority, Handle: redirectNode, Protocol: unix.ETH_P_ALL,
		},
		// No keys at all: one that matches any four bytes of the packet, as
		// "match u32 0 0" of tc, wants four bytes to be there.
		Sel:     &netlink.TcU32Sel{Flags: netlink.TC_U32_TERMINAL},
		Actions: []netlink.Action{netlink.NewMirredAction(to.Attrs().Index)},
	}
}

// leadsTo reports whether what f matches goes out of that device, all of it and
// nowhere else.
func leadsTo(f *netlink.U32, target int) bool {
	if len(f.Actions) != 1 {
		return false
	}
	m, ok := f.Actions[0].(*netlink.MirredAction)
	return ok && m.MirredAction == netlink.TCA_EGRESS_REDIR && m.Action == netlink.TC_ACT_STOLEN && m.Ifindex == target
}

func matchesAll(f *netlink.U32) bool {
	s := f.Sel
	return f.Protocol == unix.ETH_P_ALL && s != nil && s.Flags&netlink.TC_U32_TERMINAL != 0 && len(s.Keys) == 0
}

// ownRedirects lists the filters at our place. A device without a clsact qdisc
// has none, nor has one that has gone.
func ownRedirects(d netlink.Link) ([]*netlink.U32, error) {
	all, err := dump(func() ([]netlink.Filter, error) {
		return netlink.FilterList(d, netlink.HANDLE_MIN_INGRESS)
	})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENODEV) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list filters of %s: %w", d.Attrs().Name, err)
	}
	var own []*netlink.U32
	for _, f := range all {
		if u, ok := f.(*netlink.U32); ok && u.Priority == redirectPriority {
			own = append(own, u)
		}
	}
	return own, nil
}

func removeFilter(d netlink.Link, f netlink.Filter) error {
	err := netlink.FilterDel(f)
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove redirect of %s: %w", d.Attrs().Name, err)
	}
	return nil
}
