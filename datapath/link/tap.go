package link

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// maxTAPMTU is what a TAP takes: ETH_MAX_MTU less the Ethernet header.
const maxTAPMTU = maxVethMTU - 14

// ExistsTAP reports whether there is a TAP of that name. The error wraps
// ErrNotTAP if the name is another interface's.
func ExistsTAP(name string) (bool, error) {
	if err := CheckName(name); err != nil {
		return false, err
	}
	d, err := byName(name)
	if errors.Is(err, ErrNoDevice) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, isTAP(d)
}

func isTAP(d netlink.Link) error {
	name := d.Attrs().Name
	tun, ok := d.(*netlink.Tuntap)
	switch {
	case !ok:
		return fmt.Errorf("interface %s is a %s device: %w", name, d.Type(), ErrNotTAP)
	case tun.Mode != netlink.TUNTAP_MODE_TAP:
		return fmt.Errorf("interface %s is a TUN device, which carries no Ethernet frames: %w", name, ErrNotTAP)
	}
	return nil
}

// SettleTAP makes a TAP the end of a redirect: up, without addresses, its MTU no
// limit, and with one queue, that of the TAP itself, of that many packets. What
// does not fit there is dropped and counted (TXDropped). A qdisc before it
// would only hold packets up that are dropped later. What is right already is
// not touched: no packet of the queue is lost.
func SettleTAP(name string, queue int) error {
	d, err := byName(name)
	if err != nil {
		return err
	}
	if err := isTAP(d); err != nil {
		return err
	}
	if err := quiet(d); err != nil {
		return fmt.Errorf("interface %s: switch link-local addresses off: %w", name, err)
	}
	if d.Attrs().MTU != maxTAPMTU {
		if err := netlink.LinkSetMTU(d, maxTAPMTU); err != nil {
			return fmt.Errorf("interface %s: MTU %d: %w", name, maxTAPMTU, err)
		}
	}
	if d.Attrs().TxQLen != queue {
		if err := netlink.LinkSetTxQLen(d, queue); err != nil {
			return fmt.Errorf("interface %s: queue of %d packets: %w", name, queue, err)
		}
	}
	if err := withoutQdisc(d); err != nil {
		return err
	}
	if d.Attrs().Flags&unix.IFF_UP != 0 {
		return nil
	}
	if err := netlink.LinkSetUp(d); err != nil {
		return fmt.Errorf("interface %s: set up: %w", name, err)
	}
	return nil
}

// withoutQdisc makes packets go straight to the device.
func withoutQdisc(d netlink.Link) error {
	qdiscs, err := dump(func() ([]netlink.Qdisc, error) { return netlink.QdiscList(d) })
	if err != nil {
		return fmt.Errorf("list qdiscs of %s: %w", d.Attrs().Name, err)
	}
	for _, q := range qdiscs {
		if q.Attrs().Parent == netlink.HANDLE_ROOT && q.Type() == noqueue {
			return nil
		}
	}
	err = netlink.QdiscReplace(&netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: d.Attrs().Index, Parent: netlink.HANDLE_ROOT},
		QdiscType:  noqueue,
	})
	if err != nil {
		return fmt.Errorf("interface %s: qdisc %s: %w", d.Attrs().Name, noqueue, err)
	}
	return nil
}

const noqueue = "noqueue"

// RemoveTAP removes a TAP, open or not. One that is missing is success; the
// error wraps ErrNotTAP if the name is another interface's, which stays.
func RemoveTAP(name string) error {
	d, err := byName(name)
	if errors.Is(err, ErrNoDevice) {
		return nil
	}
	if err == nil {
		err = isTAP(d)
	}
	if err != nil {
		return err
	}
	if err := netlink.LinkDel(d); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove interface %s: %w", name, err)
	}
	return nil
}
