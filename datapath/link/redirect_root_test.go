package link_test

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// pairs makes veth pairs a0-a1, b0-b1, c0-c1, all up, on the calling thread's host.
func pairs(t *testing.T, h *linktest.Host) {
	t.Helper()
	for _, letter := range []string{"a", "b", "c"} {
		name, peer := letter+"0", letter+"1"
		ip(t, h, "link add "+name+" type veth peer name "+peer)
		for _, d := range []string{name, peer} {
			output(t, h.Command(t.Context(), "sysctl", "-qw", "net.ipv6.conf."+d+".disable_ipv6=1"))
			ip(t, h, "link set "+d+" up")
		}
	}
}

func ensure(t *testing.T, from, to string, want bool) {
	t.Helper()
	if changed, err := link.EnsureRedirect(from, to); err != nil || changed != want {
		t.Errorf("EnsureRedirect(%s, %s) = %v, %v; want %v", from, to, changed, err, want)
	}
}

func wantRedirects(t *testing.T, want map[string]string) {
	t.Helper()
	if got, err := link.Redirects(); err != nil || !maps.Equal(got, want) {
		t.Errorf("Redirects() = %v, %v; want %v", got, err, want)
	}
}

func filters(t *testing.T, h *linktest.Host, device string) string {
	t.Helper()
	return output(t, h.Command(t.Context(), "tc", "filter", "show", "dev", device, "ingress"))
}

func TestRedirect(t *testing.T) {
	onHost(t, func(h *linktest.Host) error {
		pairs(t, h)
		wantRedirects(t, map[string]string{})
		ensure(t, "a0", "b0", true)
		ensure(t, "b0", "a0", true)
		before := filters(t, h, "a0")
		ensure(t, "a0", "b0", false)
		if after := filters(t, h, "a0"); after != before {
			t.Errorf("one that was right is another now:\n%s\nwas:\n%s", after, before)
		}
		wantRedirects(t, map[string]string{"a0": "b0", "b0": "a0"})
		passes(t, "a1", "b1")
		passes(t, "b1", "a1")

		ensure(t, "a0", "c0", true)
		wantRedirects(t, map[string]string{"a0": "c0", "b0": "a0"})
		passes(t, "a1", "c1")
		if n := strings.Count(filters(t, h, "a0"), "mirred"); n != 1 {
			t.Errorf("%d redirects after a replacement:\n%s", n, filters(t, h, "a0"))
		}

		for range 2 { // the second time it is missing
			if err := link.RemoveRedirect("a0"); err != nil {
				t.Error(err)
			}
		}
		wantRedirects(t, map[string]string{"b0": "a0"})
		if out := output(t, h.Command(t.Context(), "tc", "qdisc", "show", "dev", "a0")); strings.Contains(out, "clsact") {
			t.Errorf("an empty clsact stays:\n%s", out)
		}
		return nil
	})
}

func TestRedirectIsRepaired(t *testing.T) {
	const place = "dev a0 ingress protocol all pref 7947 "
	for name, lines := range map[string][]string{
		"without action":  {"filter add " + place + "u32 match u32 0 0 flowid 1:1"},
		"mirrors":         {"filter add " + place + "u32 match u32 0 0 action mirred egress mirror dev b0"},
		"into the stack":  {"filter add " + place + "u32 match u32 0 0 action mirred ingress redirect dev b0"},
		"four bytes long": {"filter add " + place + "u32 match u32 0 0 action mirred egress redirect dev b0"},
		"IPv4 only":       {"filter add dev a0 ingress protocol ip pref 7947 u32 match u32 0 0 action mirred egress redirect dev b0"},
		"one host only":   {"filter add " + place + "u32 match ip dst 192.0.2.1 action mirred egress redirect dev b0"},
		"two": {
			"filter add " + place + "u32 match u32 0 0 flowid 1:1",
			"filter add " + place + "handle 800::7 u32 match u32 0 0 action mirred egress redirect dev c0",
		},
	} {
		t.Run(name, func(t *testing.T) {
			onHost(t, func(h *linktest.Host) error {
				pairs(t, h)
				output(t, h.Command(t.Context(), "tc", "qdisc", "add", "dev", "a0", "clsact"))
				for _, line := range lines {
					output(t, h.Command(t.Context(), "tc", strings.Fields(line)...))
				}
				ensure(t, "a0", "b0", true)
				ensure(t, "a0", "b0", false)
				wantRedirects(t, map[string]string{"a0": "b0"})
				passes(t, "a1", "b1")
				if out := filters(t, h, "a0"); strings.Count(out, "action order") != 1 {
					t.Errorf("not the only action:\n%s", out)
				}
				return nil
			})
		})
	}
}

// Filters of others, at other places, stay, and so does the qdisc they are on.
func TestRedirectLeavesOthers(t *testing.T) {
	onHost(t, func(h *linktest.Host) error {
		pairs(t, h)
		output(t, h.Command(t.Context(), "tc", "qdisc", "add", "dev", "a0", "clsact"))
		for _, line := range []string{
			"filter add dev a0 ingress protocol all pref 9000 u32 match u32 0 0 flowid 1:1",
			"filter add dev a0 egress protocol all pref 7947 u32 match u32 0 0 flowid 1:1",
		} {
			output(t, h.Command(t.Context(), "tc", strings.Fields(line)...))
		}
		wantRedirects(t, map[string]string{})
		ensure(t, "a0", "b0", true)
		passes(t, "a1", "b1")
		if err := link.RemoveRedirect("a0"); err != nil {
			t.Error(err)
		}
		wantIn(t, filters(t, h, "a0"), "pref 9000", "flowid")
		wantIn(t, output(t, h.Command(t.Context(), "tc", "filter", "show", "dev", "a0", "egress")), "pref 7947")
		return nil
	})
}

func TestRedirectOfMissingDevices(t *testing.T) {
	onHost(t, func(h *linktest.Host) error {
		pairs(t, h)
		for _, c := range [][2]string{{"a0", "gone"}, {"gone", "a0"}} {
			if _, err := link.EnsureRedirect(c[0], c[1]); !errors.Is(err, link.ErrNoDevice) || !strings.Contains(err.Error(), "gone") {
				t.Errorf("EnsureRedirect(%v): %v", c, err)
			}
		}
		if err := link.RemoveRedirect("gone"); err != nil {
			t.Error(err)
		}
		ensure(t, "a0", "b0", true)
		ip(t, h, "link del b0")
		wantRedirects(t, map[string]string{"a0": ""})
		ensure(t, "a0", "c0", true)
		passes(t, "a1", "c1")
		return nil
	})
}

// passes sends a frame into one device and wants it to come out of another.
func passes(t *testing.T, into, outOf string) {
	t.Helper()
	in, out := packetSocket(t, into), packetSocket(t, outOf)
	defer unix.Close(in)  //nolint:errcheck // nothing to lose
	defer unix.Close(out) //nolint:errcheck // nothing to lose
	frame := fmt.Appendf(nil, "\x02\x00\x00\x00\x00\x09\x02\x00\x00\x00\x00\x08\x88\xb5%s to %s at %s", into, outOf, time.Now())
	if _, err := unix.Write(in, frame); err != nil {
		t.Fatalf("send into %s: %v", into, err)
	}
	buf := make([]byte, 2048)
	for {
		n, err := unix.Read(out, buf)
		if err != nil {
			t.Errorf("from %s to %s nothing comes: %v", into, outOf, err)
			return
		}
		if string(buf[:n]) == string(frame) {
			return
		}
	}
}

// packetSocket hears and speaks for a device, and waits a second for a frame.
func packetSocket(t *testing.T, device string) int {
	t.Helper()
	d, err := net.InterfaceByName(device)
	if err != nil {
		t.Fatal(err)
	}
	const all = unix.ETH_P_ALL>>8 | unix.ETH_P_ALL&0xff<<8 // in network byte order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: d.Index}); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}); err != nil {
		t.Fatal(err)
	}
	return fd
}

// A filter that matches all is replaced where it stands, whatever it does.
func TestRedirectReplacesActions(t *testing.T) {
	onHost(t, func(h *linktest.Host) error {
		pairs(t, h)
		a, err := netlink.LinkByName("a0")
		if err != nil {
			return err
		}
		b, err := netlink.LinkByName("b0")
		if err != nil {
			return err
		}
		output(t, h.Command(t.Context(), "tc", "qdisc", "add", "dev", "a0", "clsact"))
		to := func(kind netlink.MirredAct, then netlink.TcAct) netlink.Action {
			return &netlink.MirredAction{
				ActionAttrs: netlink.ActionAttrs{Action: then}, MirredAction: kind, Ifindex: b.Attrs().Index,
			}
		}
		for name, actions := range map[string][]netlink.Action{
			"mirror":  {to(netlink.TCA_EGRESS_MIRROR, netlink.TC_ACT_STOLEN)},
			"ingress": {to(netlink.TCA_INGRESS_REDIR, netlink.TC_ACT_STOLEN)},
			"goes on": {to(netlink.TCA_EGRESS_REDIR, netlink.TC_ACT_UNSPEC)},
			"both":    {to(netlink.TCA_EGRESS_REDIR, netlink.TC_ACT_STOLEN), to(netlink.TCA_EGRESS_MIRROR, netlink.TC_ACT_PIPE)},
			"nothing": nil,
		} {
			err := netlink.FilterReplace(&netlink.U32{
				FilterAttrs: netlink.FilterAttrs{
					LinkIndex: a.Attrs().Index, Parent: netlink.HANDLE_MIN_INGRESS, Priority: 7947, Protocol: unix.ETH_P_ALL,
				},
				Sel: &netlink.TcU32Sel{Flags: netlink.TC_U32_TERMINAL}, ClassId: 1, Actions: actions,
			})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			ensure(t, "a0", "b0", true)
			ensure(t, "a0", "b0", false)
			passes(t, "a1", "b1")
			if out := filters(t, h, "a0"); strings.Count(out, "action order") != 1 {
				t.Errorf("%s: not the only action:\n%s", name, out)
			}
			if err := link.RemoveRedirect("a0"); err != nil {
				t.Error(err)
			}
			output(t, h.Command(t.Context(), "tc", "qdisc", "add", "dev", "a0", "clsact"))
		}
		return nil
	})
}
