package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link"
)

// Linux is the Host that the process runs on, in its network namespace.
type Linux struct{}

var _ Host = Linux{}

// holdName is an abstract unix socket's: those belong to a network namespace
// and end with their process (unix(7)).
const holdName = "@ovl-agent"

// Hold binds a socket that nothing is ever sent to.
func (Linux) Hold() (func() error, error) {
	s, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: holdName, Net: "unixgram"})
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, ErrHeld
	}
	if err != nil {
		return nil, fmt.Errorf("hold the network namespace: %w", err)
	}
	return s.Close, nil
}

// Underlay is link.Underlay.
func (Linux) Underlay(advertise string) (link.Device, error) { return link.Underlay(advertise) }

// OverlappingRoute is link.OverlappingRoute.
func (Linux) OverlappingRoute(p netip.Prefix) (string, bool, error) { return link.OverlappingRoute(p) }

// RoutedWithin is link.RoutedWithin.
func (Linux) RoutedWithin(p netip.Prefix) ([]netip.Prefix, error) { return link.RoutedWithin(p) }

// SegmentsTunnels is link.SegmentsTunnels.
func (Linux) SegmentsTunnels(device string) (bool, error) { return link.SegmentsTunnels(device) }

// OpenNamespace is link.OpenNamed or link.OpenPID.
func (Linux) OpenNamespace(netns string, pid int) (Namespace, error) {
	open := func() (*link.Namespace, error) { return link.OpenNamed(netns) }
	if netns == "" {
		open = func() (*link.Namespace, error) { return link.OpenPID(pid) }
	}
	ns, err := open()
	if netns == "" && errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w: %w", ErrLook, err)
	}
	if err != nil {
		return nil, err
	}
	return linuxNamespace{ns}, nil
}

// UnseenNamespace is link.UnseenPID.
func (Linux) UnseenNamespace(pid int, inode uint64) Namespace {
	return linuxNamespace{link.UnseenPID(pid, inode)}
}

// linuxNamespace is a link.Namespace that can be looked into.
type linuxNamespace struct{ *link.Namespace }

// HasInterface is link.Exists inside the namespace, and what finds out that it
// cannot be entered.
func (n linuxNamespace) HasInterface(name string) (there bool, err error) {
	err = n.Do(func() error {
		there, err = link.Exists(name)
		return err
	})
	if errors.Is(err, unix.EPERM) {
		err = fmt.Errorf("%w: %w", ErrEnter, err)
	}
	return there, err
}

// ConfigureInner is link.ConfigureInner.
func (n linuxNamespace) ConfigureInner(ctx context.Context, d EndpointDevice) error {
	return link.ConfigureInner(ctx, link.InnerSpec{Namespace: n.Namespace, IfName: d.IfName, MAC: d.MAC, Addrs: d.Addrs})
}

// CreateEndpoint is link.CreateEndpoint.
func (Linux) CreateEndpoint(ctx context.Context, d EndpointDevice) error {
	ns, ok := d.Namespace.(linuxNamespace)
	if !ok {
		return errors.New("network namespace was not opened by this host")
	}
	return link.CreateEndpoint(ctx, link.EndpointSpec{
		Host: d.Host, Namespace: ns.Namespace, IfName: d.IfName, MAC: d.MAC, Addrs: d.Addrs, MTU: d.MTU, InnerLater: d.InnerLater,
	})
}

// EnsureGateway is link.EnsureGateway.
func (Linux) EnsureGateway(ctx context.Context, d GatewayDevice) (Namespace, error) {
	ns, err := link.EnsureGateway(ctx, link.GatewaySpec{
		Name: d.Netns, Host: d.Host, IfName: d.IfName, MAC: d.MAC, Addrs: d.Addrs, MTU: d.MTU,
	})
	if errors.Is(err, unix.EPERM) {
		err = fmt.Errorf("%w: %w", ErrEnter, err)
	}
	if err != nil {
		return nil, err
	}
	return linuxNamespace{ns}, nil
}

// RemoveGateway is link.RemoveGateway.
func (Linux) RemoveGateway(netns, device string) error {
	err := link.RemoveGateway(netns, device)
	if errors.Is(err, unix.EPERM) {
		err = fmt.Errorf("%w: %w", ErrEnter, err)
	}
	return err
}

// Namespaces is link.Named.
func (Linux) Namespaces() ([]string, error) { return link.Named() }

// CheckTAP is link.CheckTAP.
func (Linux) CheckTAP(name string) error { return link.CheckTAP(name) }

// RemoveDevice is link.Remove.
func (Linux) RemoveDevice(name string) error { return link.Remove(name) }

// DeviceExists is link.Exists.
func (Linux) DeviceExists(name string) (bool, error) { return link.Exists(name) }

// Devices is link.List.
func (Linux) Devices(prefix string) ([]string, error) { return link.List(prefix) }

// WatchRemovals is link.WatchRemovals.
func (Linux) WatchRemovals(ctx context.Context) (<-chan string, error) {
	return link.WatchRemovals(ctx)
}
