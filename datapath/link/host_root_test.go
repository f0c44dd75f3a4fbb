package link_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// ip runs `ip` with the words of the line on the calling thread's host.
func ip(t *testing.T, h *linktest.Host, line string) {
	t.Helper()
	output(t, h.Command(t.Context(), "ip", strings.Fields(line)...))
}

func TestUnderlay(t *testing.T) {
	linktest.NeedRoot(t)
	for _, c := range []struct {
		name      string
		setup     []string
		advertise string
		want      string // "device address", or
		err       string // parts of the error, by spaces
	}{
		{"default route", nil, "", "eth0 192.0.2.1", ""},
		{"lowest metric", []string{
			"link add net1 mtu 9000 type bridge", "addr add 198.51.100.1/24 dev net1", "link set net1 up",
			"route add default dev net1 metric 10", "route del default dev eth0", "route add default via 192.0.2.254 metric 20",
		}, "", "net1 198.51.100.1", ""},
		{"preferred source", []string{
			"addr add 192.0.2.77/24 dev eth0", "route replace default via 192.0.2.254 src 192.0.2.77",
		}, "", "eth0 192.0.2.77", ""},
		{"several next hops", []string{
			"route replace default nexthop via 192.0.2.254 nexthop via 192.0.2.253",
		}, "", "eth0 192.0.2.1", ""},
		{"only address", []string{"route del default"}, "", "eth0 192.0.2.1", ""},
		{"two addresses, no route", []string{
			"route del default", "addr add 198.51.100.1/24 dev eth0",
		}, "", "", "more than one --advertise 192.0.2.1 198.51.100.1"},
		{"no address", []string{"addr flush dev eth0"}, "", "", "no global --advertise"},
		{"route without address", []string{
			"link add net1 type bridge", "link set net1 up", "route replace default dev net1",
		}, "", "", "--advertise eth0 192.0.2.1"},
		{"by address", []string{"addr add 198.51.100.1/32 dev lo"}, "198.51.100.1", "lo 198.51.100.1", ""},
		{"by IPv6 address", []string{"addr add fd00::1/64 dev eth0 nodad"}, "fd00::1", "eth0 fd00::1", ""},
		{"by mapped address", nil, "::ffff:192.0.2.1", "eth0 192.0.2.1", ""},
		{"by address that is not here", nil, "192.0.2.9", "", "192.0.2.9 eth0 192.0.2.1"},
		{"by address of a device that is down", []string{
			"link add net1 type bridge", "addr add 198.51.100.1/24 dev net1",
		}, "198.51.100.1", "", "198.51.100.1 net1 down"},
		{"by name", []string{"addr add 198.51.100.1/24 dev eth0"}, "eth0", "eth0 192.0.2.1", ""},
		{"by name that is not here", nil, "eth9", "", "eth9 eth0 192.0.2.1"},
		{"by name of a device that is down", []string{"link add net1 type bridge"}, "net1", "", "net1 down"},
		{"by name without address", []string{"link add net1 type bridge", "link set net1 up"}, "net1", "", "net1 192.0.2.1"},
		{"by name with IPv6 only", []string{
			"link add net1 type bridge", "link set net1 up", "addr add fd01::1/64 dev net1 nodad",
		}, "net1", "net1 fd01::1", ""},
		{"by name with both", []string{"addr add fd01::1/64 dev eth0 nodad"}, "eth0", "eth0 192.0.2.1", ""},
		{"by name, set up by hand first", []string{
			"addr flush dev eth0", "addr add fd01::1/64 dev eth0 nodad",
			"addr add fd01::2/64 dev eth0 nodad valid_lft 1000 preferred_lft 1000",
		}, "eth0", "eth0 fd01::1", ""},
		{"by name, with a lifetime", []string{
			"addr flush dev eth0", "addr add fd01::2/64 dev eth0 nodad valid_lft 1000 preferred_lft 1000",
		}, "eth0", "eth0 fd01::2", ""},
		{"by name, deprecated", []string{
			"addr flush dev eth0", "addr add fd01::2/64 dev eth0 nodad valid_lft 1000 preferred_lft 0",
		}, "eth0", "", "eth0 no global fd01::2 not for good"},
		{"by link-local address", []string{"addr add fe80::7/64 dev eth0 nodad"}, "fe80::7", "", "fe80::7 link-local eth0 192.0.2.1"},
		{"default route of IPv6", []string{
			"route del default", "addr add fd01::1/64 dev eth0 nodad", "-6 route add default via fd01::fe dev eth0",
		}, "", "eth0 fd01::1", ""},
		{"default routes of both", []string{
			"addr add fd01::1/64 dev eth0 nodad", "-6 route add default via fd01::fe dev eth0 metric 1",
		}, "", "eth0 192.0.2.1", ""},
		{"default route of IPv6 without address", []string{
			"route del default", "link add net1 type bridge", "link set net1 up", "-6 route add default dev net1",
		}, "", "", "no global IPv6 --advertise 192.0.2.1"},
		{"only IPv6 address", []string{
			"addr flush dev eth0", "addr add fd01::1/64 dev eth0 nodad",
		}, "", "eth0 fd01::1", ""},
		{"two IPv6 addresses, no route", []string{
			"addr flush dev eth0", "addr add fd01::1/64 dev eth0 nodad", "addr add fd02::1/64 dev eth0 nodad",
		}, "", "", "more than one fd01::1 fd02::1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			onHost(t, func(h *linktest.Host) error {
				for _, line := range c.setup {
					ip(t, h, line)
				}
				d, err := link.Underlay(c.advertise)
				if c.err != "" {
					if err == nil {
						t.Fatalf("found %+v, want an error", d)
					}
					wantIn(t, err.Error(), strings.Fields(c.err)...)
					return nil
				}
				if err != nil {
					return err
				}
				if got := fmt.Sprintf("%s %s", d.Name, d.Addr); got != c.want {
					t.Errorf("found %s, want %s", got, c.want)
				}
				real, err := net.InterfaceByName(d.Name)
				if err == nil && (real.Index != d.Index || real.MTU != d.MTU) {
					t.Errorf("%+v, but the interface is %+v", d, real)
				}
				return err
			})
		})
	}
}

func TestOverlappingRoute(t *testing.T) {
	onHost(t, func(h *linktest.Host) error {
		for _, line := range []string{
			"route add 10.9.0.0/16 via 192.0.2.254",
			"route add 10.20.0.0/16 via 192.0.2.254 table 77",
			"route add blackhole 10.30.0.0/16",
			"addr add fd09::1/64 dev eth0 nodad",
		} {
			ip(t, h, line)
		}
		for p, want := range map[string]string{
			"10.9.5.0/24":     "10.9.0.0/16 via 192.0.2.254 dev eth0",
			"10.0.0.0/8":      "10.9.0.0/16 via 192.0.2.254 dev eth0",
			"192.0.2.128/25":  "192.0.2.0/24 dev eth0",
			"fd09::/48":       "fd09::/64 dev eth0",
			"10.8.0.0/16":     "",
			"10.20.1.0/24":    "",
			"10.30.1.0/24":    "",
			"198.51.100.0/24": "",
			"fd0a::/64":       "",
		} {
			got, found, err := link.OverlappingRoute(netip.MustParsePrefix(p))
			if err != nil {
				return err
			}
			if got != want || found != (want != "") {
				t.Errorf("OverlappingRoute(%s) = %q, %v; want %q", p, got, found, want)
			}
		}
		for p, want := range map[string]string{
			"0.0.0.0/0":   "[10.9.0.0/16 192.0.2.0/24]",
			"10.9.7.0/24": "[10.9.0.0/16]",
			"fd00::/8":    "[fd09::/64]",
			"fd0a::/16":   "[]",
		} {
			got, err := link.RoutedWithin(netip.MustParsePrefix(p))
			if err != nil {
				return err
			}
			if slices.SortFunc(got, netip.Prefix.Compare); fmt.Sprint(got) != want {
				t.Errorf("RoutedWithin(%s) = %v, want %s", p, got, want)
			}
		}
		return nil
	})
}

func TestEnsureVXLAN(t *testing.T) {
	const name = "ovlvx"
	wrong := map[string]netlink.Link{
		"nothing":      nil,
		"another kind": &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}},
		"with a VNI":   &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: name}, VxlanId: 5, Port: 4789},
		"another port": &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: name}, FlowBased: true, Port: 4790},
		"that learns":  &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: name}, FlowBased: true, Port: 4789, Learning: true},
		"that drops zero checksums over IPv6": &netlink.Vxlan{
			LinkAttrs: netlink.LinkAttrs{Name: name}, FlowBased: true, Port: 4789,
		},
		"right but raw": &netlink.Vxlan{
			LinkAttrs: netlink.LinkAttrs{Name: name, MTU: 1400}, FlowBased: true, Port: 4789, UDP6ZeroCSumRx: true,
		},
	}
	for what, before := range wrong {
		t.Run(what, func(t *testing.T) {
			onHost(t, func(h *linktest.Host) error {
				if before != nil {
					add(t, before)
					ip(t, h, "addr add 203.0.113.1/24 dev "+name)
				}
				index, err := link.EnsureVXLAN(name, 4789, 1500)
				if err != nil {
					return err
				}
				text := output(t, h.Command(t.Context(), "ip", "-d", "link", "show", "dev", name)) +
					output(t, h.Command(t.Context(), "ip", "addr", "show", "dev", name))
				wantIn(t, text, fmt.Sprintf("%d: %s", index, name), "UP", "mtu 1500", "vxlan external", "dstport 4789", "nolearning", " udp6zerocsumrx", "addrgenmode none")
				if strings.Contains(text, "inet") {
					t.Errorf("it has an address:\n%s", text)
				}
				again, err := link.EnsureVXLAN(name, 4789, 1450)
				if again != index {
					t.Errorf("second call made a new one: index %d, was %d", again, index)
				}
				wantIn(t, output(t, h.Command(t.Context(), "ip", "link", "show", "dev", name)), "mtu 1450")
				return err
			})
		})
	}
}

func TestEnsureVXLANPortTaken(t *testing.T) {
	onHost(t, func(h *linktest.Host) error {
		ip(t, h, "link add other type vxlan external dstport 4789 udp6zerocsumrx")
		_, err := link.EnsureVXLAN("ovlvx", 4789, 1500)
		if err == nil {
			t.Fatal("made a second device on the port")
		}
		wantIn(t, err.Error(), "ovlvx", "4789", "other has the port")
		ip(t, h, "link del other")
		for _, kind := range []string{"external", "id 7", "id 7 local fd00::1"} {
			ip(t, h, "link add plain up type vxlan dstport 4789 "+kind)
			_, err = link.EnsureVXLAN("ovlvx", 4789, 1500)
			if err == nil {
				t.Fatalf("came up although the socket is another's, vxlan %s", kind)
			}
			wantIn(t, err.Error(), "ovlvx", "4789", "plain has the port")
			ip(t, h, "link del plain")
		}
		there, err := link.Exists("ovlvx")
		if there {
			t.Error("left behind")
		}
		return err
	})
}

func TestCheckTAP(t *testing.T) {
	onHost(t, func(h *linktest.Host) error {
		ip(t, h, "tuntap add tap0 mode tap")
		ip(t, h, "tuntap add tun0 mode tun")
		ip(t, h, "link add br7 type bridge")
		for name, want := range map[string]string{"tun0": "TUN", "br7": "bridge", "tap9": "no such interface: tap9"} {
			if err := link.CheckTAP(name); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("CheckTAP(%s) = %v, want %q in it", name, err, want)
			}
		}
		if err := link.CheckTAP("tap9"); !errors.Is(err, link.ErrNoDevice) {
			t.Errorf("%v does not wrap ErrNoDevice", err)
		}
		if err := link.CheckTAP("tap0"); err != nil {
			return err
		}
		wantIn(t, output(t, h.Command(t.Context(), "ip", "link", "show", "dev", "tap0")), "NO-CARRIER", ",UP")
		return link.CheckTAP("tap0")
	})
}

func TestWatchRemovals(t *testing.T) {
	s := func() *stage { linktest.NeedRoot(t); return newStage(t) }()
	if err := s.create(t.Context(), s.spec()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var removed <-chan string
	if err := s.host.Do(func() (err error) { removed, err = link.WatchRemovals(ctx); return err }); err != nil {
		t.Fatal(err)
	}
	ip(t, s.host, "link add br9 type bridge")
	ip(t, s.host, "tuntap add net9 mode tap")
	ip(t, s.host, "link set net9 master br9")
	ip(t, s.host, "link set net9 nomaster") // the bridge's RTM_DELLINK is no removal
	ip(t, s.host, "link del net9")
	expect := func(want string) {
		t.Helper()
		select {
		case got := <-removed:
			if got != want {
				t.Fatalf("removed %q, want %q", got, want)
			}
		case <-time.After(time.Second):
			t.Fatalf("removal of %s not noticed within a second", want)
		}
	}
	expect("net9")
	if err := errors.Join(s.ep.Delete(), s.ns.Close()); err != nil {
		t.Fatal(err)
	}
	expect("ovl0123456789") // its peer's namespace went
	cancel()
	if name, open := <-removed; open {
		t.Errorf("%q after the end", name)
	}
}

// TestWatchRemovalsOverrun lets more happen than the socket holds while
// nobody reads.
func TestWatchRemovalsOverrun(t *testing.T) {
	linktest.NeedRoot(t)
	h := linktest.New(t, linktest.Options{Hosts: 1}).Hosts[0]
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var removed <-chan string
	if err := h.Do(func() (err error) { removed, err = link.WatchRemovals(ctx); return err }); err != nil {
		t.Fatal(err)
	}
	var batch strings.Builder
	fmt.Fprintln(&batch, "link add br9 type bridge\nlink del br9") // the watch waits to hand this on
	for i := range 3000 {
		fmt.Fprintf(&batch, "link set lo mtu %d\n", 60000+i)
	}
	cmd := h.Command(t.Context(), "ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(batch.String())
	output(t, cmd)
	for _, want := range []string{"br9", ""} {
		select {
		case got := <-removed:
			if got != want {
				t.Fatalf("received %q, want %q", got, want)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("did not receive %q", want)
		}
	}
	ip(t, h, "link add br9 type bridge")
	ip(t, h, "link del br9")
	for name := range removed { // it goes on after the overrun
		if name == "br9" {
			break
		}
	}
}

func TestMountBPFFS(t *testing.T) {
	linktest.NeedRoot(t)
	dir := filepath.Join(t.TempDir(), "bpf")
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
		if err := unix.Unmount(dir, 0); err == nil {
			t.Error("it was mounted twice")
		}
	})
	var together sync.WaitGroup
	for range 4 {
		together.Go(func() {
			if err := link.MountBPFFS(dir); err != nil {
				t.Error(err)
			}
		})
	}
	together.Wait()
	sub := filepath.Join(dir, "ovl")
	if err := link.MountBPFFS(sub); err != nil { // already one: only the folder
		t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(mounts), dir); n != 1 {
		t.Errorf("%d mounts below %s, want 1", n, dir)
	}
}

func TestMountBPFFSRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := link.MountBPFFS(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("error %v does not name %s", err, file)
	}
}

func TestNamedNamespaces(t *testing.T) {
	linktest.NeedRoot(t)
	name := fmt.Sprintf("ovltest-%d-named", os.Getpid())
	path, err := link.CreateNamed(name)
	t.Cleanup(func() { link.RemoveNamed(name) }) //nolint:errcheck // removed below
	if err != nil {
		t.Fatal(err)
	}
	ns, err := link.OpenNamed(name)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	if own, err := ns.Current(); own || err != nil || ns.Path() != path {
		t.Errorf("Current() = %v, %v; path %s, want %s", own, err, ns.Path(), path)
	}
	if _, err := link.CreateNamed(name); !errors.Is(err, os.ErrExist) {
		t.Errorf("second time: %v", err)
	}
	if err := ns.Present(); err != nil {
		t.Errorf("after the refused second: %v", err)
	}
	for range 2 {
		if err := link.RemoveNamed(name); err != nil {
			t.Error(err)
		}
	}
	if err := ns.Present(); !errors.Is(err, link.ErrNoNamespace) {
		t.Errorf("after removal: %v", err)
	}
	if _, err := link.CreateNamed(name); err != nil {
		t.Fatal(err)
	}
	if err := ns.Present(); !errors.Is(err, link.ErrNoNamespace) {
		t.Errorf("another one of the same name: %v", err)
	}
	if err := link.RemoveNamed(name); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", ".", "..", "a/b"} {
		if _, err := link.CreateNamed(bad); err == nil {
			t.Errorf("made %q", bad)
		}
	}
}
