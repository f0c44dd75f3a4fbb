package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

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

	// after is called between the steps, for tests that let things happen
	// there.
	after func(step string)
}

// CreateEndpoint makes the veth pair that s describes, both ends up and the
// inner one ready to take packets. It does so wholly or not at all: on any
// error, also when ctx ends or the namespace loses its name half-way, nothing of
// it is left. The error wraps ErrExists if IfName is taken in the namespace,
// ErrNoNamespace if that is gone.
func CreateEndpoint(ctx context.Context, s EndpointSpec) (err error) {
	if err := s.validate(); err != nil {
		return fmt.Errorf("endpoint interface %s: %w", s.Host, err)
	}
	steps := []struct {
		name string
		run  func() error
	}{
		{"create", s.createPair},
		{"inner", func() error { return s.Namespace.Do(s.configureInner) }},
		{"host", s.configureHost},
		{"ready", s.awaitReady},
		// The namespace is held open, so that nothing failed because its name
		// went away. It would be gone with the last descriptor.
		{"present", s.Namespace.Present},
	}
	created := false
	for _, step := range steps {
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
	if err := CheckName(s.IfName); err != nil {
		return err
	}
	if s.Namespace == nil {
		return fmt.Errorf("%w: none given", ErrNoNamespace)
	}
	if !s.MAC.IsUnicast() {
		return fmt.Errorf("%s is not the address of one interface", s.MAC)
	}
	if s.MTU < minVethMTU || s.MTU > maxVethMTU {
		return fmt.Errorf("MTU %d is not in %d..%d", s.MTU, minVethMTU, maxVethMTU)
	}
	for _, p := range s.Addrs {
		if !p.IsValid() || p.Addr().Is4In6() {
			return fmt.Errorf("bad address %s", p)
		}
	}
	return nil
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
	veth.PeerNamespace = netlink.NsFd(s.Namespace.file.Fd())
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

// configureInner runs inside the endpoint's namespace.
func (s *EndpointSpec) configureInner() error {
	d, err := byName(s.IfName)
	if err != nil {
		return err
	}
	s.tuneIPv6()
	if err := generateFromMAC(d); err != nil {
		return fmt.Errorf("link-local address: %w", err)
	}
	for _, p := range s.Addrs {
		addr := &netlink.Addr{
			IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())},
		}
		if p.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := netlink.AddrAdd(d, addr); err != nil {
			return fmt.Errorf("address %s: %w", p, s.explain(p, err))
		}
	}
	if err := netlink.LinkSetUp(d); err != nil {
		return fmt.Errorf("set up %s in network namespace %s: %w", s.IfName, s.Namespace.path, err)
	}
	return nil
}

// tuneIPv6 makes the interface one of a segment on which every address is
// assigned and no router speaks. Duplicate address detection is off: it would
// keep addresses from use for a second, to ask what the tables have answered.
// Router advertisements and redirects count for nothing, and addresses outlive
// a link that is set down, as those of IPv4 do. IPv6 is switched on if there is
// such an address, because container engines switch it off. Where /proc/sys
// cannot be written, the datapath lets no such message through, the addresses'
// own flag keeps detection away, and that IPv6 is off shows as an error when the
// address is added.
func (s *EndpointSpec) tuneIPv6() {
	values := map[string]string{
		"accept_dad": "0", "dad_transmits": "0",
		"accept_ra": "0", "accept_redirects": "0", "keep_addr_on_down": "1",
	}
	for _, p := range s.Addrs {
		if p.Addr().Is6() {
			values["disable_ipv6"] = "0"
		}
	}
	for key, value := range values {
		os.WriteFile(s.sysctl6(key), []byte(value), 0) //nolint:errcheck // see above
	}
}

// sysctl6 is the file of one of the interface's IPv6 settings, as seen from
// inside its namespace.
func (s *EndpointSpec) sysctl6(key string) string {
	return filepath.Join("/proc/sys/net/ipv6/conf", s.IfName, key)
}

// explain says of a refused IPv6 address that IPv6 is off, if it is that.
func (s *EndpointSpec) explain(p netip.Prefix, err error) error {
	if !p.Addr().Is6() {
		return err
	}
	if off, readErr := os.ReadFile(s.sysctl6("disable_ipv6")); readErr == nil && strings.TrimSpace(string(off)) == "0" {
		return err
	}
	return fmt.Errorf("%w in network namespace %s, and could not be switched on: %w", ErrNoIPv6, s.Namespace.path, err)
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
