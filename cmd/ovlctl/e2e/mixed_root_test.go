package e2e

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/datapath/kernel"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// TestMixed: three hosts that do the tunnel each in its own way, one by eBPF, one
// in userspace, one by a vxlan device that was configured by hand. Their
// endpoints do not notice.
func TestMixed(t *testing.T) {
	linktest.NeedRoot(t)
	t.Run("IPv4 underlay", func(t *testing.T) { testMixed(t, linktest.Options{Hosts: 3}) })
	t.Run("IPv6 underlay", func(t *testing.T) { testMixed(t, linktest.Options{Hosts: 3, IPv6: true}) })
}

func testMixed(t *testing.T, o linktest.Options) {
	c := newCluster(t, o)
	c.hosts[0].up("--datapath", "kernel")
	c.hosts[1].up(append(c.hosts[1].joinArgs(), "--datapath", "userspace")...)
	c.hosts[2].join()
	for i, want := range []string{"kernel", "userspace"} {
		var s api.Status
		c.hosts[i].query(&s, "status")
		if string(s.Datapath.Kind) != want {
			t.Fatalf("%s has datapath %s, want %s", c.hosts[i].name, s.Datapath.Kind, want)
		}
	}
	c.hosts[0].must("network", "create", "shop", "--subnet", "10.0.0.0/24", "--subnet", "fd00:5::/64")
	var endpoints []*endpoint
	for i, name := range []string{"kernel", "userspace", "plain"} {
		endpoints = append(endpoints, c.hosts[i].attach("shop", name))
	}
	makePlain(t, endpoints[2], endpoints[:2], o.IPv6)
	checkPings(t, endpoints...)
	for i, to := range endpoints {
		for _, from := range endpoints[:i] {
			t.Run(from.info.Name+" and "+to.info.Name, func(t *testing.T) {
				checkBulk(t, from, to)
				for family := range to.info.Addresses {
					checkTransfer(t, from, to, family)
					checkTransfer(t, to, from, family)
				}
			})
		}
	}
	checkDrops(t, c.hosts[:2])

	// It comes back as what it was: a host that is gone for good is another
	// test's affair.
	run(t, endpoints[2].Namespace, "ip", "link", "del", "eth0")
	c.hosts[2].up()
}

// checkDrops wants hosts to have dropped nothing of what was sent to somebody.
func checkDrops(t *testing.T, hosts []*host) {
	t.Helper()
	for _, h := range hosts {
		var s api.Status
		h.query(&s, "status")
		for reason, drops := range s.Counters.Drops {
			// What stacks say to groups when they come up is no loss, and a
			// plain device floods what it does not know.
			if drops.Packets > 0 && reason != "multicast" && reason != "not_local" {
				t.Errorf("%s dropped %d packets: %s", h.name, drops.Packets, reason)
			}
		}
	}
}

// makePlain leaves an endpoint as the cluster knows it, and the host with nothing
// of ovl: a vxlan device takes the place of the interface. It fills in the outer
// checksum or not.
func makePlain(t *testing.T, e *endpoint, peers []*endpoint, checksum bool) {
	t.Helper()
	h := e.host
	if err := h.signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := h.Do(func() error { return kernel.Remove("/sys/fs/bpf/ovl-" + h.instance) }); err != nil {
		t.Fatal(err)
	}
	var networks []api.Network
	peers[0].host.query(&networks, "network", "inspect", "shop")
	add := []string{
		"ip", "link", "add", "vx", "type", "vxlan", "id", networks[0].Options["vni"], "dstport", "4789",
		"nolearning", "local", h.Addr.String(), "udp6zerocsumrx",
	}
	if checksum {
		add = append(add, "udpcsum", "noudp6zerocsumtx")
	} else {
		add = append(add, "noudpcsum", "udp6zerocsumtx")
	}
	run(t, h.Namespace, add...)
	run(t, h.Namespace, "ip", "link", "set", "vx", "netns", e.Name)
	run(t, e.Namespace, "ip", "link", "del", "eth0")
	run(t, e.Namespace, "ip", "link", "set", "vx", "name", "eth0", "address", e.info.MacAddress.String(), "mtu", strconv.Itoa(e.info.MTU), "up")
	for _, a := range e.info.Addresses {
		args := []string{"ip", "addr", "add", a.String(), "dev", "eth0"}
		if a.Addr().Is6() {
			args = append(args, "nodad")
		}
		run(t, e.Namespace, args...)
	}
	for _, p := range peers {
		vtep := p.host.Addr.String()
		run(t, e.Namespace, "bridge", "fdb", "append", p.info.MacAddress.String(), "dev", "eth0", "dst", vtep)
		run(t, e.Namespace, "bridge", "fdb", "append", "00:00:00:00:00:00", "dev", "eth0", "dst", vtep) // broadcast
	}
}

const (
	transferSize = 20 << 20
	transferTime = 20 * time.Second
)

// checkTransfer sends random bytes over TCP to an address, by its index, and
// compares checksums.
func checkTransfer(t *testing.T, from, to *endpoint, family int) {
	t.Helper()
	end := time.Now().Add(transferTime)
	addr := to.info.Addresses[family].Addr()
	var listener *net.TCPListener
	err := to.Do(func() (err error) {
		listener, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, 5000)))
		return err
	})
	if err != nil {
		t.Fatalf("listen on %s: %v", addr, err)
	}
	defer listener.Close() //nolint:errcheck // nothing is written
	if err := listener.SetDeadline(end); err != nil {
		t.Fatal(err)
	}
	sent, received := sha256.New(), sha256.New()
	failed := make(chan error, 1)
	go func() {
		var c net.Conn
		err := from.Do(func() (err error) {
			c, err = net.DialTimeout("tcp", listener.Addr().String(), transferTime)
			return err
		})
		if err == nil {
			random := io.LimitReader(rand.NewChaCha8([32]byte{1}), transferSize)
			_, err = io.Copy(io.MultiWriter(c, sent), random)
			err = errors.Join(err, c.Close())
		}
		failed <- err
	}()
	start := time.Now()
	n, err := receive(listener, received, end)
	if err := errors.Join(err, <-failed); err != nil || n != transferSize || !bytes.Equal(sent.Sum(nil), received.Sum(nil)) {
		t.Errorf("TCP from %s to %s: %d of %d bytes arrive, or others: %v", from.info.Name, addr, n, transferSize, err)
		return
	}
	t.Logf("TCP from %s to %s: %s", from.info.Name, addr, fmt.Sprintf("%.1f Gb/s", float64(n)*8/1e9/time.Since(start).Seconds()))
}

// receive takes one connection and reads it to its end.
func receive(l *net.TCPListener, to io.Writer, end time.Time) (int64, error) {
	c, err := l.Accept()
	if err != nil {
		return 0, err
	}
	defer c.Close() //nolint:errcheck // read only
	if err := c.SetReadDeadline(end); err != nil {
		return 0, err
	}
	return io.Copy(to, c)
}
