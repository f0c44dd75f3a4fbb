package contender

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
)

// add makes a device in the calling thread's namespace, up, and as a port of
// bridge unless that is nil.
func add(l netlink.Link, bridge netlink.Link) error {
	name := l.Attrs().Name
	if err := netlink.LinkAdd(l); err != nil {
		return fmt.Errorf("device %s: %w", name, err)
	}
	if bridge != nil {
		if err := netlink.LinkSetMaster(l, bridge); err != nil {
			return fmt.Errorf("device %s: bridge port: %w", name, err)
		}
	}
	return setUp(l)
}

func setUp(l netlink.Link) error {
	if err := netlink.LinkSetUp(l); err != nil {
		return fmt.Errorf("device %s: set up: %w", l.Attrs().Name, err)
	}
	return nil
}

// byName returns a device of the calling thread's namespace.
func byName(name string) (netlink.Link, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", name, err)
	}
	return l, nil
}

// removeDevice removes a device of the calling thread's namespace; one that is
// gone is no error.
func removeDevice(name string) error {
	l, err := netlink.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(l)
	}
	if err != nil {
		return fmt.Errorf("device %s: remove: %w", name, err)
	}
	return nil
}
