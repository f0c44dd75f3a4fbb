package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/control/api"
)

// TestFamilies: three hosts with networks of both families and of one. All
// that share a network reach each other by each family that it has, from the
// first packet on, before, while and after an agent is away.
func TestFamilies(t *testing.T) {
	c := newRunning(t, 3)
	h1, h2, h3 := c.hosts[0], c.hosts[1], c.hosts[2]
	var both, again api.Network
	h1.query(&both, "network", "create", "both", "--ipv6")
	h2.must("network", "create", "four", "--subnet", "10.4.0.0/24")
	h3.must("network", "create", "six", "--subnet", "fd00:6::/64")
	h3.query(&again, "network", "create", "again", "--ipv6")
	checkUniqueLocal(t, both, again)

	networks := []string{"both", "four", "six"}
	on := map[string][]*endpoint{}
	for _, n := range networks {
		for _, h := range c.hosts {
			e := h.attachAtOnce(n, n+"-"+h.name)
			checkInterface(t, e)
			on[n] = append(on[n], e)
		}
		checkPings(t, on[n]...) // at once
	}
	on["both"] = append(on["both"], h1.attach("both", "near"), attachVM(t, h3, "both"))
	checkPings(t, on["both"]...)
	for n, want := range map[string]int{"both": 2, "four": 1, "six": 1} {
		for _, e := range on[n] {
			if len(e.info.Addresses) != want || len(e.info.Gateways) != want {
				t.Errorf("%s on %s has %v, gateways %v: want %d of each", e.info.Name, n, e.info.Addresses, e.info.Gateways, want)
			}
		}
	}
	if rate := iperf(t, on["six"][0], on["six"][1], "-t", "1").End.SumReceived.BitsPerSecond; rate < 100e6 {
		t.Errorf("TCP over IPv6: %.1f Mb/s", rate/1e6)
	}

	// The agent of the host in the middle goes, and comes back.
	watchers := []*watcher{startWatcher(t, on["six"][0], on["six"][1]), startWatcher(t, on["four"][0], on["four"][1])}
	if err := h2.signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	h2.up()
	for _, w := range watchers {
		w.stopWhole(t)
	}
	for _, n := range networks {
		checkPings(t, on[n]...)
	}

	// Both addresses of an endpoint that is gone rest, and can be asked for.
	gone := on["both"][1]
	h2.must("detach", gone.info.Name)
	next := h2.attach("both", "next")
	for _, a := range next.info.Addresses {
		if slices.Contains(gone.info.Addresses, a) {
			t.Errorf("%v is used again at once", a)
		}
	}
	args := []string{"--ip", gone.info.Addresses[1].Addr().String(), "--ip", gone.info.Addresses[0].Addr().String()}
	back := h3.attach("both", "back", args...)
	if !slices.Equal(back.info.Addresses, gone.info.Addresses) {
		t.Errorf("asked for %v, got %v", gone.info.Addresses, back.info.Addresses)
	}
	checkPings(t, on["both"][0], on["both"][2], next, back)
}

// checkUniqueLocal wants two networks, made on two hosts, to have subnets out
// of one /48.
func checkUniqueLocal(t *testing.T, first, second api.Network) {
	t.Helper()
	var out []netip.Prefix
	for _, n := range []api.Network{first, second} {
		if len(n.IPAM.Config) != 2 || !n.EnableIPv6 {
			t.Fatalf("network %s is %+v", n.Name, n)
		}
		six := n.IPAM.Config[1]
		if six.Subnet.Bits() != 64 || six.Gateway != six.Subnet.Addr().Next() || six.Subnet.Addr().As16()[0] != 0xfd {
			t.Errorf("IPv6 subnet of %s is %+v", n.Name, six)
		}
		out = append(out, six.Subnet)
	}
	cluster := netip.PrefixFrom(out[0].Addr(), 48)
	if !cluster.Contains(out[1].Addr()) || out[0] == out[1] {
		t.Errorf("unique local subnets are %v", out)
	}
}

// checkInterface wants the interface to have what ovlctl said, ready for use.
func checkInterface(t *testing.T, e *endpoint) {
	t.Helper()
	var got []string
	text := run(t, e.Namespace, "ip", "-o", "addr", "show", "dev", "eth0", "scope", "global")
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); strings.Contains(line, "tentative") || len(f) < 4 {
			t.Errorf("%s: %s", e.info.Name, line)
		} else {
			got = append(got, f[3])
		}
	}
	if want := fmt.Sprint(e.info.Addresses); fmt.Sprint(got) != want {
		t.Errorf("%s: its interface has %v, want %v", e.info.Name, got, want)
	}
}
