package link

import (
	"bytes"
	"context"
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

// InnerSpec is the inner end of an endpoint's veth pair: what is configured
// inside of its namespace, where one has to enter that.
type InnerSpec struct {
	Namespace *Namespace
	IfName    string
	// MAC tells the interface from another of that name. It is not set.
	MAC encap.MAC
	// Addrs are to be added, each with its subnet's prefix length.
	Addrs []netip.Prefix
	// NoLinkLocal: it gets no link-local IPv6 address, the one that follows from
	// its MAC otherwise.
	NoLinkLocal bool
}

// ConfigureInner does what CreateEndpoint with InnerLater has left: when it
// returns, the inner end takes packets. After an error it may be configured in
// part; whoever made the pair removes it. The error wraps ErrNoDevice if there
// is no such interface, ErrNoNamespace if the namespace is gone.
//
// The namespace's lo is brought up where it is down, as every container engine
// does, and stays up.
func ConfigureInner(ctx context.Context, s InnerSpec) error {
	err := s.validate()
	for _, step := range []func() error{s.configure, s.awaitReady, s.Namespace.Present} {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = step()
		}
	}
	if err != nil {
		return fmt.Errorf("interface %s: %w", s.IfName, err)
	}
	return nil
}

func (s *InnerSpec) validate() error {
	if err := CheckName(s.IfName); err != nil {
		return err
	}
	if s.Namespace == nil {
		return fmt.Errorf("%w: none given", ErrNoNamespace)
	}
	if !s.MAC.IsUnicast() {
		return fmt.Errorf("%s is not the address of one interface", s.MAC)
	}
	for _, p := range s.Addrs {
		if !p.IsValid() || p.Addr().Is4In6() {
			return fmt.Errorf("bad address %s", p)
		}
	}
	return nil
}

// configure does all but wait. The interface comes up last.
func (s *InnerSpec) configure() error { return s.Namespace.Do(s.configureInside) }

func (s *InnerSpec) configureInside() error {
	d, err := byName(s.IfName)
	if err != nil {
		return err
	}
	if has := d.Attrs().HardwareAddr; !bytes.Equal(has, s.MAC[:]) {
		return fmt.Errorf("%w: the %s of network namespace %s has MAC %s, the endpoint's %s", ErrNoDevice, s.IfName, s.Namespace.path, has, s.MAC)
	}
	s.tuneIPv6()
	generate := generateFromMAC
	if s.NoLinkLocal {
		generate = quiet
	}
	if err := generate(d); err != nil {
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
	if err := setUpLoopback(); err != nil {
		return fmt.Errorf("set up lo in network namespace %s: %w", s.Namespace.path, err)
	}
	if err := netlink.LinkSetUp(d); err != nil {
		return fmt.Errorf("set up %s in network namespace %s: %w", s.IfName, s.Namespace.path, err)
	}
	return nil
}

// loopbackIndex is that of lo in every network namespace (LOOPBACK_IFINDEX).
const loopbackIndex = 1

// setUpLoopback lets the namespace reach its own addresses: a new one's lo is down,
// and what a program there sends to itself, or a health check to it, gets no answer.
func setUpLoopback() error {
	lo, err := netlink.LinkByIndex(loopbackIndex)
	if err != nil || lo.Attrs().Flags&net.FlagUp != 0 {
		return err
	}
	return netlink.LinkSetUp(lo)
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
func (s *InnerSpec) tuneIPv6() {
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
func (s *InnerSpec) sysctl6(key string) string {
	return filepath.Join("/proc/sys/net/ipv6/conf", s.IfName, key)
}

// explain says of a refused IPv6 address that IPv6 is off, if it is that.
func (s *InnerSpec) explain(p netip.Prefix, err error) error {
	if !p.Addr().Is6() {
		return err
	}
	if off, readErr := os.ReadFile(s.sysctl6("disable_ipv6")); readErr == nil && strings.TrimSpace(string(off)) == "0" {
		return err
	}
	return fmt.Errorf("%w in network namespace %s, and could not be switched on: %w", ErrNoIPv6, s.Namespace.path, err)
}
