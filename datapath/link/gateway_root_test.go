package link_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ovlnet/ovl/datapath/link"
	"github.com/ovlnet/ovl/datapath/link/linktest"
	"github.com/ovlnet/ovl/encap"
)

// gatewayBed is a host and the gateway that it is to have.
type gatewayBed struct {
	*linktest.Host
	spec link.GatewaySpec
}

func newGatewayBed(t *testing.T) *gatewayBed {
	t.Helper()
	linktest.NeedRoot(t)
	b := &gatewayBed{Host: linktest.New(t, linktest.Options{Hosts: 1}).Hosts[0]}
	b.spec = link.GatewaySpec{
		Name: fmt.Sprintf("ovl-4096-t%d", os.Getpid()), Host: "ovlgw1000", IfName: "eth0", MTU: 1400,
		MAC:   encap.MAC{0x0a, 'o', 'v', 'l', 0, 2},
		Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("10.1.0.1/16"), netip.MustParsePrefix("fd07::1/64")},
	}
	t.Cleanup(b.remove(t))
	return b
}

func (b *gatewayBed) remove(t *testing.T) func() {
	return func() {
		if err := b.Do(func() error { return link.RemoveGateway(b.spec.Name, b.spec.Host) }); err != nil {
			t.Error(err)
		}
	}
}

// ensure returns the number of the namespace, and of the device on the host.
func (b *gatewayBed) ensure(t *testing.T) (inode uint64, device uint32) {
	t.Helper()
	err := b.Do(func() error {
		ns, err := link.EnsureGateway(t.Context(), b.spec)
		if err != nil {
			return err
		}
		defer ns.Close()
		inode = ns.Inode()
		device, err = link.Index(b.spec.Host)
		return errors.Join(err, ns.Present())
	})
	if err != nil {
		t.Fatal(err)
	}
	b.check(t)
	return inode, device
}

// inside is the namespace, for commands.
func (b *gatewayBed) inside() *linktest.Namespace {
	return &linktest.Namespace{Name: b.spec.Name, NetnsPath: filepath.Join(link.NamedDir, b.spec.Name)}
}

// check wants all to be as the spec says.
func (b *gatewayBed) check(t *testing.T) {
	t.Helper()
	in := b.inside()
	inner := output(t, in.Command(t.Context(), "ip", "addr", "show", "dev", "eth0"))
	wantIn(t, inner, "state UP", "LOWER_UP", "mtu 1400", "link/ether 0a:6f:76:6c:00:02",
		"inet 10.0.0.1/24", "inet 10.1.0.1/16", "inet6 fd07::1/64")
	if strings.Contains(inner, "fe80") || strings.Contains(inner, "tentative") || strings.Count(inner, "inet") != 3 {
		t.Errorf("the addresses are\n%s", inner)
	}
	wantIn(t, output(t, in.Command(t.Context(), "ip", "-d", "link", "show", "dev", "eth0")), "addrgenmode none")
	for _, key := range []string{"accept_dad", "accept_ra", "accept_redirects"} {
		if v := output(t, in.Command(t.Context(), "sysctl", "-n", "net.ipv6.conf.eth0."+key)); v != "0\n" {
			t.Errorf("%s = %s", key, v)
		}
	}
	wantIn(t, output(t, in.Command(t.Context(), "ip", "addr", "show", "dev", "lo")), "UP", "127.0.0.1")
	host := output(t, b.Command(t.Context(), "ip", "-d", "link", "show", "dev", b.spec.Host)) +
		output(t, b.Command(t.Context(), "ip", "addr", "show", "dev", b.spec.Host))
	wantIn(t, host, "state UP", "LOWER_UP", "mtu 1400", "addrgenmode none")
	if strings.Contains(host, "inet") {
		t.Errorf("the host's end has an address:\n%s", host)
	}
}

// What is right is kept. What is not is made anew, and nothing else.
func TestEnsureGateway(t *testing.T) {
	b := newGatewayBed(t)
	inode, device := b.ensure(t)
	if i, d := b.ensure(t); i != inode || d != device {
		t.Errorf("what was right is not the same: namespace %d device %d after %d %d", i, d, inode, device)
	}
	in := func(args ...string) func() {
		return func() { t.Helper(); output(t, b.inside().Command(t.Context(), args[0], args[1:]...)) }
	}
	on := func(args ...string) func() {
		return func() { t.Helper(); output(t, b.Command(t.Context(), args[0], args[1:]...)) }
	}
	for _, c := range []struct {
		name   string
		break_ func()
		// same says that the namespace stays.
		same bool
	}{
		{"an address is gone", in("ip", "addr", "del", "10.0.0.1/24", "dev", "eth0"), true},
		{"an address too many", in("ip", "addr", "add", "10.9.0.1/24", "dev", "eth0"), true},
		{"another prefix length", func() {
			in("ip", "addr", "del", "10.1.0.1/16", "dev", "eth0")()
			in("ip", "addr", "add", "10.1.0.1/24", "dev", "eth0")()
		}, true},
		{"another MAC", in("ip", "link", "set", "eth0", "address", "02:00:00:00:00:01"), true},
		{"another MTU inside", in("ip", "link", "set", "eth0", "mtu", "1300"), true},
		{"another MTU outside", on("ip", "link", "set", b.spec.Host, "mtu", "1300"), true},
		{"down inside", in("ip", "link", "set", "eth0", "down"), true},
		{"down outside", on("ip", "link", "set", b.spec.Host, "down"), true},
		{"the device is gone", on("ip", "link", "del", b.spec.Host), true},
		{"another device of that name inside", func() {
			on("ip", "link", "del", b.spec.Host)()
			in("ip", "link", "add", "eth0", "type", "bridge")()
		}, true},
		{"another device of that name outside", func() {
			on("ip", "link", "del", b.spec.Host)()
			on("ip", "link", "add", b.spec.Host, "type", "bridge")()
		}, true},
		{"the namespace is gone", func() { output(t, b.Command(t.Context(), "ip", "netns", "del", b.spec.Name)) }, false},
		{"a file in its place", func() {
			output(t, b.Command(t.Context(), "ip", "netns", "del", b.spec.Name))
			if err := os.WriteFile(filepath.Join(link.NamedDir, b.spec.Name), nil, 0o444); err != nil {
				t.Fatal(err)
			}
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, _ := b.ensure(t)
			udp, tcp := b.listen(t)
			defer udp.Close()
			defer tcp.Close()
			c.break_()
			if after, _ := b.ensure(t); c.same != (after == before) {
				t.Errorf("the namespace is %d, it was %d", after, before)
			}
		})
	}
	for range 2 {
		b.remove(t)()
	}
	if names, err := link.Named(); err != nil || strings.Contains(strings.Join(names, " "), b.spec.Name) {
		t.Errorf("after remove there are %q: %v", names, err)
	}
	if out := output(t, b.Command(t.Context(), "ip", "-o", "link")); strings.Contains(out, b.spec.Host) {
		t.Errorf("after remove there is\n%s", out)
	}
}

func (b *gatewayBed) listen(t *testing.T) (udp, tcp *os.File) {
	t.Helper()
	ns, err := link.OpenNamed(b.spec.Name)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	if udp, tcp, err = ns.Listen(53); err != nil {
		t.Fatal(err)
	}
	return udp, tcp
}

// The sockets are at every address of both families, also at those that come later.
func TestListen(t *testing.T) {
	b := newGatewayBed(t)
	b.ensure(t)
	udpFile, tcpFile := b.listen(t)
	ns, err := link.OpenNamed(b.spec.Name)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	if _, _, err := ns.Listen(53); err == nil {
		t.Error("the port can be had twice")
	}
	udp, err := net.FilePacketConn(udpFile)
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	tcp, err := net.FileListener(tcpFile)
	if err := errors.Join(err, udpFile.Close(), tcpFile.Close()); err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	output(t, b.inside().Command(t.Context(), "ip", "addr", "add", "10.9.0.1/24", "dev", "eth0"))
	for _, addr := range []string{"10.0.0.1", "10.9.0.1", "[fd07::1]", "127.0.0.1", "[::1]"} {
		err := ns.Do(func() error {
			c, err := net.DialTimeout("udp", addr+":53", 5*time.Second)
			if err != nil {
				return err
			}
			defer c.Close()
			if _, err := c.Write([]byte(addr)); err != nil {
				return err
			}
			buf := make([]byte, 64)
			if err := udp.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
				return err
			}
			n, from, err := udp.ReadFrom(buf)
			if err != nil || string(buf[:n]) != addr || from.(*net.UDPAddr).Port != c.LocalAddr().(*net.UDPAddr).Port {
				return fmt.Errorf("read %q from %v: %w", buf[:n], from, err)
			}
			s, err := net.DialTimeout("tcp", addr+":53", 5*time.Second)
			if err != nil {
				return err
			}
			defer s.Close()
			peer, err := tcp.Accept()
			if err != nil {
				return err
			}
			return peer.Close()
		})
		if err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
}
