package link

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// EnsureHeadroom makes the stacks behind devices leave room for tunnel headers
// before the packets they build, so that encapsulation need not copy every one
// of them. The only way to ask a veth for that is to make it a port of a
// bridge whose other port is a tunnel device: name is that bridge. It is down
// and stays so, which makes it drop whatever reaches it; it carries nothing.
//
// A device that already has a master keeps it, and goes without; so do those
// that one bridge does not hold (more than 1023).
func EnsureHeadroom(name, tunnel string, devices []string) error {
	bridge, err := ensureDownBridge(name)
	if err != nil {
		return err
	}
	// The tunnel device comes first: a port takes the room that is asked for
	// when it joins.
	var errs []error
	for _, device := range append([]string{tunnel}, devices...) {
		if err := join(bridge, device); err != nil {
			errs = append(errs, fmt.Errorf("reserve headroom for %s: %w", device, err))
		}
	}
	return errors.Join(errs...)
}

func ensureDownBridge(name string) (netlink.Link, error) {
	d, err := byName(name)
	if errors.Is(err, ErrNoDevice) {
		d = &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name, TxQLen: -1}}
		if err := netlink.LinkAdd(d); err != nil {
			return nil, fmt.Errorf("create bridge %s: %w", name, err)
		}
		return d, nil
	}
	if err != nil {
		return nil, err
	}
	if d.Attrs().Flags&unix.IFF_UP != 0 {
		if err := netlink.LinkSetDown(d); err != nil {
			return nil, fmt.Errorf("bridge %s: set down: %w", name, err)
		}
	}
	return d, nil
}

func join(bridge netlink.Link, device string) error {
	d, err := byName(device)
	if errors.Is(err, ErrNoDevice) {
		return nil // it has just gone
	}
	if err != nil {
		return err
	}
	if d.Attrs().MasterIndex != 0 {
		return nil
	}
	err = netlink.LinkSetMaster(d, bridge)
	if errors.Is(err, unix.EXFULL) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return err
	}
	// Should somebody bring the bridge up, its ports still do not reach each
	// other.
	return netlink.LinkSetIsolated(d, true)
}
