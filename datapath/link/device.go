package link

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Exists reports whether there is an interface of that name.
func Exists(name string) (bool, error) {
	_, err := byName(name)
	if errors.Is(err, ErrNoDevice) {
		return false, nil
	}
	return err == nil, err
}

// List returns the names of the interfaces that begin with prefix, sorted.
func List(prefix string) ([]string, error) {
	devices, err := dump(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	var names []string
	for _, d := range devices {
		if name := d.Attrs().Name; strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Remove removes an interface, and a veth's other end with it. One that is
// missing is success.
func Remove(name string) error {
	d, err := byName(name)
	if errors.Is(err, ErrNoDevice) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := netlink.LinkDel(d); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove interface %s: %w", name, err)
	}
	return nil
}

// CheckTAP returns an error unless name is a TAP interface, and brings it up;
// one about another kind of interface wraps ErrNotTAP.
// It may have no carrier yet: a virtual machine that opens it later gives it
// one.
func CheckTAP(name string) error {
	d, err := byName(name)
	if err != nil {
		return err
	}
	if err := isTAP(d); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(d); err != nil {
		return fmt.Errorf("interface %s: set up: %w", name, err)
	}
	return nil
}

// Where a link-local IPv6 address comes from: IN6_ADDR_GEN_MODE_EUI64 and
// IN6_ADDR_GEN_MODE_NONE.
const (
	addrGenEUI64 = 0
	addrGenNone  = 1
)

// quiet keeps the kernel from giving d a link-local IPv6 address, with which
// it would speak on its own.
func quiet(d netlink.Link) error { return generateLinkLocal(d, addrGenNone) }

// generateFromMAC has the kernel give d the link-local address that follows
// from its MAC (RFC 4291 appendix A), the only one that the datapath knows it
// by, whatever is the default for new interfaces.
func generateFromMAC(d netlink.Link) error { return generateLinkLocal(d, addrGenEUI64) }

// generateLinkLocal sets the mode. A kernel without IPv6 has nothing to set.
func generateLinkLocal(d netlink.Link, mode int) error {
	err := netlink.LinkSetIP6AddrGenMode(d, mode)
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return err
}
