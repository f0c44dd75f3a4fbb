package contender

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/ovlnet/ovl/bench/measure"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// testServices is how many services contenders of a test have.
const testServices = 50

func TestNftables(t *testing.T) {
	linktest.NeedRoot(t)
	c := &nftables{services: testServices}
	_, pair := setUpIn(t, c, 2)
	testVIP(t, c, pair)
	testDrain(t, c, pair)
	testVIP(t, c, pair)
}

// testDrain changes the service's backend several times.
func testDrain(t *testing.T, c Drainer, p measure.Pair) {
	t.Helper()
	p.VIP = c.VIP()
	values, err := measure.Changes(t.Context(), p, c.Drain)
	if err != nil || values["time"] <= 0 {
		t.Errorf("changes of a backend: %v, %v", values, err)
	}
}

// testVIP connects through the VIP at every TCP port that is measured: the
// pair's server gets the connection, from the client's own address, and the
// client has it with the VIP.
func testVIP(t *testing.T, c Balanced, p measure.Pair) {
	t.Helper()
	for _, port := range measure.Ports() {
		if port.Protocol != "tcp" {
			continue
		}
		from, to, err := connect(p, netip.AddrPortFrom(c.VIP(), uint16(port.Number)))
		if err != nil {
			t.Errorf("port %d: %v", port.Number, err)
			continue
		}
		if from.Addr() != p.Client.Addr || to.Addr() != c.VIP() {
			t.Errorf("port %d: the server has a connection with %s, the client one with %s; want %s and %s",
				port.Number, from.Addr(), to.Addr(), p.Client.Addr, c.VIP())
		}
	}
}

// connect returns the other end of a connection through a VIP, as the server
// sees it and as the client does.
func connect(p measure.Pair, vip netip.AddrPort) (server, client netip.AddrPort, err error) {
	const patience = 5 * time.Second
	var l *net.TCPListener
	err = p.Server.Namespace.Do(func() (err error) {
		l, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(p.Server.Addr, vip.Port())))
		return err
	})
	if err != nil {
		return server, client, err
	}
	defer l.Close()
	var there net.Conn
	err = p.Client.Namespace.Do(func() (err error) {
		there, err = net.DialTimeout("tcp", vip.String(), patience)
		return err
	})
	if err != nil {
		return server, client, err
	}
	defer there.Close()
	if err := l.SetDeadline(time.Now().Add(patience)); err != nil {
		return server, client, err
	}
	here, err := l.AcceptTCP()
	if err != nil {
		return server, client, fmt.Errorf("nobody connected: %w", err)
	}
	defer here.Close()
	return here.RemoteAddr().(*net.TCPAddr).AddrPort(), there.RemoteAddr().(*net.TCPAddr).AddrPort(), nil
}

// Contenders that stand side by side share no instance.
func TestBalancing(t *testing.T) {
	names, numbers := map[string]bool{}, map[int]bool{}
	for _, c := range Balancing(Options{}, []int{1, 1000}) {
		names[c.Name()] = true
		if o, ok := c.(*ovl); ok {
			for _, number := range []int{o.first, o.first + 1} {
				if numbers[number] {
					t.Errorf("%s shares instance %d with another", c.Name(), number)
				}
				numbers[number] = true
			}
		}
	}
	for _, name := range []string{"ovl-vip/1", "ovl-vip/1000", "ovl-userspace-vip/1000", "nft-vip/1", "nft-vip/1000"} {
		if !names[name] {
			t.Errorf("there is no %s among %v", name, names)
		}
	}
}
