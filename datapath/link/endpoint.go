package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/encap"
)

// EndpointSpec is the interface that an endpoint is to have.
type EndpointSpec struct {
	// Host is the name of the host's end.
	Host string
	// Namespace is where the inner end goes, IfName its name there.
	Namespace *Namespace
	IfName    string
	// MAC and Addrs, each with its subnet's prefix length, are the inner
	// end's. The host's end has no address at all.
	MAC   encap.MAC
	Addrs []netip.Prefix
	// MTU is both ends', in bytes without the Ethernet header.
	MTU int
	// NoLinkLocal: the inner end gets no link-local IPv6 address.
	NoLinkLocal bool
	// InnerLater leaves the inner end as the kernel makes it, down and without
	// addresses, to somebody who may enter the namespace and calls
	// ConfigureInner there. Nothing of the rest needs to enter it.
	InnerLater bool

	// after is called between the steps, for tests that let things happen
	// there.
	after func(step string)
}

// CreateEndpoint makes the veth pair that s describes, both ends up and the
// inner one ready to take packets, unless that is for later. It does so wholly or not at all: on any
// error, also when ctx ends or the namespace loses its name half-way, nothing of
// it is left, but lo may be up (ConfigureInner). The error wraps ErrExists if IfName is taken in the namespace,
// ErrNoNamespace if that is gone.
func CreateEndpoint(ctx context.Context, s EndpointSpec) (err error) {
	if err := s.validate(); err != nil {
		return fmt.Errorf("endpoint interface %s: %w", s.Host, err)
	}
	inner := s.inner()
	steps := []struct {
		name string
		skip bool
		run  func() error
	}{
		{"create", false, s.createPair},
		{"inner", s.InnerLater, inner.configure},
		{"host", false, s.configureHost},
		{"ready", s.InnerLater, inner.awaitReady},
		// The namespace is held open, so that nothing failed because its name
		// went away. It would be gone with the last descriptor.
		{"present", false, s.Namespace.Present},
	}
	created := false
	for _, step := range steps {
		if step.skip {
			continue
		}
		if err = ctx.Err(); err == nil {
			err = step.run()
		}
		if err != nil {
			break
		}
		created = true
		if s.after != nil {
			s.after(step.name)
		}
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("endpoint interface %s: %w", s.Host, err)
	if created {
		err = errors.Join(err, Remove(s.Host))
	}
	return err
}

// validate refuses what the kernel would, before anything is touched.
func (s *EndpointSpec) validate() error {
	if err := CheckName(s.Host); err != nil {
		return err
	}
	if s.MTU < minVethMTU || s.MTU > maxVethMTU {
		return fmt.Errorf("MTU %d is not in %d..%d", s.MTU, minVethMTU, maxVethMTU)
	}
	inner := s.inner()
	return inner.validate()
}

func (s *EndpointSpec) inner() InnerSpec {
	return InnerSpec{Namespace: s.Namespace, IfName: s.IfName, MAC: s.MAC, Addrs: s.Addrs, NoLinkLocal: s.NoLinkLocal}
}

// What a veth takes: ETH_MIN_MTU and ETH_MAX_MTU.
const (
	minVethMTU = 68
	maxVethMTU = 65535
)

// createPair makes both ends, each with its final name in its final
// namespace, so that there is no moment at which the inner end is elsewhere.
func (s *EndpointSpec) createPair() error {
	veth := netlink.NewVeth(netlink.LinkAttrs{Name: s.Host, MTU: s.MTU, TxQLen: -1})
	veth.PeerName, veth.PeerMTU = s.IfName, uint32(s.MTU)
	veth.PeerHardwareAddr = net.HardwareAddr(s.MAC[:])
	veth.PeerNamespace = s.Namespace.asPeer()
	err := netlink.LinkAdd(veth)
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.EEXIST) {
		// The kernel says the same for either end; see which one it was.
		if taken, look := Exists(s.Host); look == nil && !taken {
			return fmt.Errorf("%w: %s in network namespace %s", ErrExists, s.IfName, s.Namespace.path)
		}
	}
	return fmt.Errorf("create veth pair: %w", err)
}

// configureHost runs in the caller's namespace. The host's end comes up last:
// it is what gives the inner end its carrier.
func (s *EndpointSpec) configureHost() error {
	d, err := byName(s.Host)
	if err != nil {
		return err
	}
	if err := quiet(d); err != nil {
		return fmt.Errorf("switch link-local addresses off: %w", err)
	}
	if err := netlink.LinkSetUp(d); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	return nil
}
