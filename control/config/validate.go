package config

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/ovlnet/ovl/control/name"
)

// Validate returns an error that names the first setting that cannot be used
// and the range that it has to be in.
func (c Config) Validate() error {
	if err := name.ValidateInstance(c.Instance); err != nil {
		return err
	}
	if err := name.Validate("node", c.Name); err != nil {
		return err
	}
	if err := validateAdvertise(c.Advertise); err != nil {
		return err
	}
	if !slices.Contains([]DatapathMode{DatapathAuto, DatapathKernel, DatapathUserspace}, c.Datapath) {
		return fmt.Errorf("datapath %q is not auto, kernel or userspace", c.Datapath)
	}
	if err := c.validatePorts(); err != nil {
		return err
	}
	for _, j := range c.Join {
		if _, err := joinAddress(j); err != nil {
			return err
		}
	}
	if c.Token != "" && c.TokenFile != "" {
		return fmt.Errorf("token and token file are both given: one at most")
	}
	if strings.ContainsFunc(c.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("token has a space or a character that no token has")
	}
	if err := cmp.Or(c.validatePool(), c.validatePool6()); err != nil {
		return err
	}
	if _, err := c.ResolverAddresses(); err != nil {
		return err
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.LogLevel) {
		return fmt.Errorf("log level %q is not debug, info, warn or error", c.LogLevel)
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		return fmt.Errorf("log format %q is not text or json", c.LogFormat)
	}
	return nil
}

func (c Config) validatePorts() error {
	for _, p := range []struct {
		what string
		port uint16
	}{{"gossip", c.GossipPort}, {"sync", c.SyncPort}, {"VXLAN", c.VXLANPort}} {
		if _, err := parsePort(p.what, strconv.Itoa(int(p.port))); err != nil {
			return err
		}
	}
	// Gossip takes its port for TCP and for UDP.
	if c.GossipPort == c.SyncPort {
		return fmt.Errorf("gossip and sync port are both %d (TCP): they have to differ", c.SyncPort)
	}
	if c.GossipPort == c.VXLANPort {
		return fmt.Errorf("gossip and VXLAN port are both %d (UDP): they have to differ", c.VXLANPort)
	}
	return nil
}

func (c Config) validatePool() error {
	p := c.AddressPool
	if !p.IsValid() || !p.Addr().Is4() || p != p.Masked() {
		return fmt.Errorf("address pool %s is not an IPv4 prefix without host bits, such as 10.0.0.0/8", p)
	}
	// A /30 is the smallest that has an address beside the gateway's.
	if c.SubnetBits < p.Bits() || c.SubnetBits > 30 {
		return fmt.Errorf("subnet bits %d is not in %d..30, the first being the address pool's", c.SubnetBits, p.Bits())
	}
	return nil
}

// uniqueLocalBits is the length of a cluster's unique local prefix.
const uniqueLocalBits = 48

// validatePool6 does the same for IPv6.
func (c Config) validatePool6() error {
	p, shortest := c.AddressPool6, uniqueLocalBits
	if p != (netip.Prefix{}) {
		a := p.Addr()
		if !a.Is6() || a.Is4In6() || p != p.Masked() || !a.IsGlobalUnicast() || p.Bits() < 8 {
			return fmt.Errorf("IPv6 address pool %s is not a prefix of unicast addresses without host bits, such as fd12:3456:789a::/48", p)
		}
		shortest = p.Bits()
	}
	// Networks have subnets of 32 to 126 bits.
	if shortest = max(shortest, 32); c.SubnetBits6 < shortest || c.SubnetBits6 > 126 {
		return fmt.Errorf("IPv6 subnet bits %d is not in %d..126, the first being the address pool's", c.SubnetBits6, shortest)
	}
	return nil
}

func validateAdvertise(s string) error {
	if s == "" {
		return nil
	}
	if a, err := netip.ParseAddr(s); err == nil {
		if a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" {
			return fmt.Errorf("advertise address %s is not one that another host can send to", a)
		}
		return nil
	}
	if err := name.ValidateInterface(s); err != nil {
		return fmt.Errorf("advertise: neither an IP address nor an interface: %w", err)
	}
	return nil
}

// JoinAddresses returns Join with the port in each, host names as they are.
func (c Config) JoinAddresses() []string {
	out := make([]string, 0, len(c.Join))
	for _, j := range c.Join {
		if a, err := joinAddress(j); err == nil {
			out = append(out, a)
		}
	}
	return out
}

// joinAddress completes HOST or HOST:PORT; an IPv6 address with a port is in
// brackets.
func joinAddress(s string) (string, error) {
	host, port := s, strconv.Itoa(DefaultSyncPort)
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return net.JoinHostPort(a.String(), port), nil
	}
	if strings.Contains(s, ":") {
		var err error
		if host, port, err = net.SplitHostPort(s); err != nil {
			return "", fmt.Errorf("join address %q is not HOST or HOST:PORT", s)
		}
	}
	if host == "" || strings.ContainsAny(host, " /,%") {
		return "", fmt.Errorf("join address %q has no host that could be looked up", s)
	}
	if _, err := parsePort("join", port); err != nil {
		return "", err
	}
	return net.JoinHostPort(host, port), nil
}

// maxResolvers is how many resolvers there may be.
const maxResolvers = 16

// ResolverAddresses returns Resolvers with the port in each.
func (c Config) ResolverAddresses() ([]netip.AddrPort, error) {
	if len(c.Resolvers) > maxResolvers {
		return nil, fmt.Errorf("%d resolvers are too many: %d at most", len(c.Resolvers), maxResolvers)
	}
	out := make([]netip.AddrPort, 0, len(c.Resolvers))
	for _, s := range c.Resolvers {
		to, err := netip.ParseAddrPort(s)
		if err != nil {
			var addr netip.Addr
			if addr, err = netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
				to = netip.AddrPortFrom(addr, dnsPort)
			}
		}
		if a := to.Addr(); err != nil || to.Port() == 0 || a.IsUnspecified() || a.IsMulticast() || a.Is4In6() {
			return nil, fmt.Errorf("resolver %q is not IP or IP:PORT of a name server, such as 192.0.2.53 or [2001:db8::53]:5353", s)
		}
		if slices.Contains(out, to) {
			return nil, fmt.Errorf("resolver %s is given twice", s)
		}
		out = append(out, to)
	}
	return out, nil
}

// dnsPort is where name servers listen, unless it is said.
const dnsPort = 53

// parsePort reads a TCP or UDP port; what names it in the error.
func parsePort(what, s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%s port %q is not in 1..65535", what, s)
	}
	return uint16(n), nil
}
