package link_test

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// inner6 lists the IPv6 addresses of the endpoint's interface.
func (s *stage) inner6(t *testing.T) string {
	return output(t, s.ep.Command(t.Context(), "ip", "-6", "-o", "addr", "show", "dev", "eth0"))
}

// TestEndpointIPv6: whatever a namespace's defaults are, the interface has the
// one link-local address that the datapath knows, believes no router, and its
// addresses can be used at once and stay.
func TestEndpointIPv6(t *testing.T) {
	linktest.NeedRoot(t)
	for name, settings := range map[string][]string{
		"as it comes":       {"disable_ipv6=0"},
		"stable privacy":    {"stable_secret=2001:db8::1"},
		"random":            {"addr_gen_mode=3"},
		"none":              {"addr_gen_mode=1"},
		"privacy, routers":  {"use_tempaddr=2", "accept_ra=2", "forwarding=1", "accept_dad=2", "dad_transmits=3"},
		"IPv6 switched off": {"disable_ipv6=1"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			for _, v := range settings {
				output(t, s.ep.Command(t.Context(), "sysctl", "-qw", "net.ipv6.conf.default."+v))
			}
			if err := s.create(t.Context(), s.spec()); err != nil {
				t.Fatal(err)
			}
			check := func() {
				wantIn(t, s.inner6(t), "inet6 fd07::7/64 scope global nodad \\")
				// The kernel makes the other one in its own time, and has a
				// moment's work before it takes it into use.
				eventually(t, "the link-local address can be used", func() bool {
					got := s.inner6(t)
					return strings.Contains(got, "fe80::") && !strings.Contains(got, "tentative")
				})
				got := s.inner6(t)
				wantIn(t, got, "inet6 fe80::ff:fe00:7/64")
				if strings.Count(got, "inet6") != 2 {
					t.Errorf("want those two:\n%s", got)
				}
			}
			check()
			for key, want := range map[string]string{"accept_ra": "0", "accept_redirects": "0", "accept_dad": "0", "dad_transmits": "0"} {
				if got := output(t, s.ep.Command(t.Context(), "sysctl", "-n", "net.ipv6.conf.eth0."+key)); got != want+"\n" {
					t.Errorf("%s is %s", key, got)
				}
			}
			output(t, s.ep.Command(t.Context(), "ip", "link", "set", "eth0", "down"))
			output(t, s.ep.Command(t.Context(), "ip", "link", "set", "eth0", "up"))
			check()
		})
	}
}

// A link of an IPv4 network may be too small for IPv6.
func TestEndpointBelowIPv6(t *testing.T) {
	linktest.NeedRoot(t)
	s := newStage(t)
	spec := s.spec()
	spec.MTU = 1279
	if err := s.create(t.Context(), spec); err == nil {
		t.Error("an IPv6 address on a link of 1279 bytes (RFC 8200 section 5 wants 1280)")
	}
	spec.Addrs = spec.Addrs[:1]
	if err := s.create(t.Context(), spec); err != nil {
		t.Errorf("IPv4 alone: %v", err)
	}
}

// TestEndpointWithoutIPv6: where IPv6 is off and the settings cannot be
// written, as for an agent in a container, an endpoint with an IPv6 address is
// refused whole, and one with IPv4 alone is made.
func TestEndpointWithoutIPv6(t *testing.T) {
	linktest.NeedRoot(t)
	const inside = "OVL_TEST_READ_ONLY_SYSCTLS"
	if os.Getenv(inside) == "" {
		// In a mount namespace of its own, which is that of a whole process.
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestEndpointWithoutIPv6$", "-test.v")
		cmd.Env = append(os.Environ(), inside+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	s := newStage(t)
	output(t, s.ep.Command(t.Context(), "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"))
	for _, flags := range []uintptr{unix.MS_BIND, unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY} {
		if err := unix.Mount("/proc/sys", "/proc/sys", "", flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	spec := s.spec()
	err := s.create(t.Context(), spec)
	if !errors.Is(err, link.ErrNoIPv6) || !strings.Contains(err.Error(), "fd07::7/64") || strings.Contains(err.Error(), "\n") {
		t.Errorf("error is %v, want one line about fd07::7/64 that is ErrNoIPv6", err)
	}
	if got, want := s.devices(t), "[eth0 lo] [lo]"; got != want {
		t.Errorf("devices %s, want %s", got, want)
	}
	spec.Addrs = []netip.Prefix{netip.MustParsePrefix("10.0.0.7/24")}
	if err := s.create(t.Context(), spec); err != nil {
		t.Errorf("IPv4 alone: %v", err)
	}
}
