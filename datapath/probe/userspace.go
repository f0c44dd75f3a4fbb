package probe

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// Userspace reports whether this host can run the userspace datapath. It
// leaves nothing behind.
//
//	privilege ─▶ /dev/net/tun ─▶ a TAP device
func Userspace(ctx context.Context) Result {
	r := judge(ctx, []check{
		{"privilege", netAdmin},
		{"TAP device", makeTAP},
	})
	if r.OK == Yes {
		r.Reason = "kernel " + release() + " can do all that the userspace datapath needs"
	}
	return r
}

// netAdmin looks for the one capability that the userspace datapath needs.
func netAdmin() error {
	has, err := capabilities()
	if err == nil && !has(unix.CAP_NET_ADMIN) {
		return missingf("no CAP_NET_ADMIN")
	}
	return err
}

// tunDevice is where TAP devices come from.
const tunDevice = "/dev/net/tun"

// makeTAP makes a TAP device as the datapath does, with headers that tell of
// offloads, and lets it go again: it ends with the descriptor.
func makeTAP() error {
	fd, err := unix.Open(tunDevice, unix.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return missingf("no %s: load the module tun, or give the container the device (%v)", tunDevice, err)
	case errors.Is(err, fs.ErrPermission):
		return missingf("%s cannot be opened: the container has to be given the device (%v)", tunDevice, err)
	case err != nil:
		return fmt.Errorf("%s: %w", tunDevice, err)
	}
	defer unix.Close(fd)                        //nolint:errcheck // the device goes with it
	request, err := unix.NewIfreq("ovlprobe%d") // the kernel finds a number
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return fmt.Errorf("make one: %w", err)
	}
	return nil
}
