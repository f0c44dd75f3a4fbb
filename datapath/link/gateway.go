package link

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/encap"
)

// GatewaySpec is a network namespace that is nobody's but ours, and the one
// interface beside lo that it is to have.
type GatewaySpec struct {
	// Name is the namespace's in NamedDir.
	Name string
	// Host and IfName are the names of the veth pair's ends, on the host and in the
	// namespace.
	Host, IfName string
	// MAC, Addrs and MTU are those of EndpointSpec.
	MAC   encap.MAC
	Addrs []netip.Prefix
	MTU   int
}

// EnsureGateway makes what s describes, and returns the namespace, which is the
// caller's to close. What is there and right is left alone, also what has been
// opened in the namespace; an interface that is not right is made anew. After an
// error, some of it may be there: the next call goes on with it, and
// RemoveGateway takes it away.
func EnsureGateway(ctx context.Context, s GatewaySpec) (_ *Namespace, err error) {
	ns, err := ensureNamed(s.Name)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("network namespace %s: %w", s.Name, err), ns.Close())
		}
	}()
	right, err := s.isThere(ns)
	if err != nil || right {
		return ns, err
	}
	if err := Remove(s.Host); err != nil {
		return nil, err
	}
	err = ns.Do(func() error { return errors.Join(setUp("lo"), Remove(s.IfName)) })
	if err != nil {
		return nil, err
	}
	return ns, CreateEndpoint(ctx, EndpointSpec{
		Host: s.Host, Namespace: ns, IfName: s.IfName, MAC: s.MAC, Addrs: s.Addrs, MTU: s.MTU, NoLinkLocal: true,
	})
}

// RemoveGateway takes away what EnsureGateway has made under these names. What is
// missing is success. The namespace itself lives on as long as somebody has
// something open in it.
func RemoveGateway(name, host string) error { return errors.Join(Remove(host), RemoveNamed(name)) }

// Named returns the names of the network namespaces in NamedDir.
func Named() ([]string, error) {
	entries, err := os.ReadDir(NamedDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list network namespaces: %w", err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// ensureNamed opens the namespace of that name, or makes it. A file that is none,
// which a crash leaves in the middle of CreateNamed, gives way.
func ensureNamed(name string) (*Namespace, error) {
	ns, err := OpenNamed(name)
	if !errors.Is(err, ErrNoNamespace) {
		return ns, err
	}
	if err := RemoveNamed(name); err != nil {
		return nil, err
	}
	path, err := CreateNamed(name)
	if err != nil {
		return nil, err
	}
	return OpenNamed(path)
}

// isThere reports whether there is nothing to do.
func (s *GatewaySpec) isThere(ns *Namespace) (bool, error) {
	host, err := byName(s.Host)
	if errors.Is(err, ErrNoDevice) {
		return false, nil
	}
	if err != nil || !isUp(host) || host.Attrs().MTU != s.MTU {
		return false, err
	}
	right := false
	err = ns.Do(func() error {
		lo, err := byName("lo")
		if err != nil {
			return err
		}
		inner, err := byName(s.IfName)
		if errors.Is(err, ErrNoDevice) {
			return nil
		}
		if err != nil {
			return err
		}
		addrs, err := addresses(inner)
		if err != nil {
			return err
		}
		at := inner.Attrs()
		right = isUp(lo) && isUp(inner) && at.MTU == s.MTU && slices.Equal(at.HardwareAddr, s.MAC[:]) &&
			// The ends name each other.
			at.ParentIndex == host.Attrs().Index && host.Attrs().ParentIndex == at.Index &&
			slices.Equal(addrs, sorted(s.Addrs))
		return nil
	})
	return right, err
}

func isUp(d netlink.Link) bool { return d.Attrs().Flags&unix.IFF_UP != 0 }

func setUp(name string) error {
	d, err := byName(name)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(d); err != nil {
		return fmt.Errorf("interface %s: set up: %w", name, err)
	}
	return nil
}

// addresses returns those of an interface, sorted.
func addresses(d netlink.Link) ([]netip.Prefix, error) {
	list, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(d, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("addresses of %s: %w", d.Attrs().Name, err)
	}
	var out []netip.Prefix
	for _, a := range list {
		addr, _ := netip.AddrFromSlice(a.IP)
		bits, _ := a.Mask.Size()
		out = append(out, netip.PrefixFrom(addr.Unmap(), bits))
	}
	return sorted(out), nil
}

func sorted(prefixes []netip.Prefix) []netip.Prefix {
	return slices.SortedFunc(slices.Values(prefixes), func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
}
