package contender

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/bench/measure"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// Attach does by netlink what has to be done at both hosts, and takes no time
// for telling the other one.
func (k *kernelVXLAN) Attach(context.Context, *linktest.Lab) (measure.Endpoint, func(context.Context) error, error) {
	there, here := k.ends[0], k.ends[1]
	detach := func(context.Context) error { return k.detach() }
	err := here.host.Do(func() error {
		_, err := k.spare.build(here.mtu, here.bridge)
		return err
	})
	if err == nil {
		err = k.spare.knows(there.endpoint)
	}
	if err == nil {
		err = there.host.Do(func() error { return there.forward(k.spare, here.host.Addr) })
	}
	if err == nil {
		err = there.endpoint.knows(k.spare)
	}
	return k.spare.offer(), detach, err
}

// detach takes back what Attach has done, if only in part.
func (k *kernelVXLAN) detach() error {
	there, here := k.ends[0], k.ends[1]
	return errors.Join(
		here.host.Do(func() error { return removeDevice(k.spare.port) }),
		there.host.Do(func() error { return forget(there.entry(k.spare, here.host.Addr)) }),
		there.endpoint.Do(func() error {
			dev, err := byName("eth0")
			if err != nil {
				return err
			}
			return errors.Join(
				forget(&netlink.Neigh{LinkIndex: dev.Attrs().Index, IP: k.spare.addr.Addr().AsSlice()}),
				forget(&netlink.Neigh{LinkIndex: dev.Attrs().Index, IP: k.spare.addr6.Addr().AsSlice()}),
			)
		}),
	)
}

// forget removes an entry; one that is gone is no error.
func forget(n *netlink.Neigh) error {
	if err := netlink.NeighDel(n); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove entry of %s: %w", n.IP, err)
	}
	return nil
}
