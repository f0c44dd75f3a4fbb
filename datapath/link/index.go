package link

import (
	"fmt"

	"github.com/vishvananda/netlink"
)

// Index returns the number that the kernel gives the interface in the calling
// network namespace. The error wraps ErrNoDevice if there is none.
func Index(name string) (uint32, error) {
	d, err := byName(name)
	if err != nil {
		return 0, err
	}
	return uint32(d.Attrs().Index), nil
}

// NameOf returns the name of the interface with that number, and the number
// itself as text for one that is gone.
func NameOf(index uint32) string {
	d, err := dump(func() (netlink.Link, error) { return netlink.LinkByIndex(int(index)) })
	if err != nil {
		return fmt.Sprintf("#%d", index)
	}
	return d.Attrs().Name
}
