package kernel

import (
	"strings"
	"testing"
	"time"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// detectDuplicates makes a stack look for duplicates, and at once. Those of
// endpoints do not: the tables have settled who has an address.
func detectDuplicates(t *testing.T, ns *linktest.Namespace, device string, settings ...string) {
	t.Helper()
	conf := "net.ipv6.conf." + device + "."
	command := []string{"sysctl", "-q", conf + "accept_dad=1", conf + "dad_transmits=1",
		conf + "router_solicitation_delay=0", "net.ipv6.neigh." + device + ".retrans_time_ms=200"}
	for _, s := range settings {
		command = append(command, conf+s)
	}
	run(t, ns, command...)
}

// settled waits until the stack has made up its mind about an address, and
// returns what it says of it.
func settled(t *testing.T, ns *linktest.Namespace, device, addr string) string {
	t.Helper()
	var out string
	for range 200 {
		out = run(t, ns, "ip", "-6", "-o", "addr", "show", "dev", device, "to", addr)
		if out != "" && (strings.Contains(out, "dadfailed") || !strings.Contains(out, "tentative")) &&
			!strings.Contains(out, "optimistic") {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return out
}

// TestDuplicateAddress: an endpoint keeps its address, whoever looks for
// duplicates, and a twin anywhere gets to know of it.
func TestDuplicateAddress(t *testing.T) {
	f := newTrafficBed(t, linktest.Options{Hosts: 2})
	const own, linkLocal = "fd00::2", "fe80::/64"
	for _, c := range []struct{ name, setting string }{
		{"RFC 4862", "enhanced_dad=0"},
		{"enhanced, RFC 7527", "enhanced_dad=1"},
		{"optimistic, RFC 4429", "optimistic_dad=1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, e := range []*bedEndpoint{f.a, f.near, f.far} {
				detectDuplicates(t, e.Namespace, "eth0", c.setting)
			}
			run(t, f.a.Namespace, "ip", "link", "set", "eth0", "down")
			run(t, f.a.Namespace, "ip", "-6", "addr", "flush", "dev", "eth0")
			run(t, f.a.Namespace, "ip", "link", "set", "eth0", "up")
			run(t, f.a.Namespace, "ip", "addr", "add", own+"/64", "dev", "eth0")
			for _, addr := range []string{own, linkLocal} {
				if out := settled(t, f.a.Namespace, "eth0", addr); out == "" || strings.Contains(out, "tentative") {
					t.Errorf("the endpoint does not get its own %s:\n%s", addr, out)
				}
			}
			for _, twin := range []*bedEndpoint{f.near, f.far} {
				run(t, twin.Namespace, "ip", "addr", "add", own+"/64", "dev", "eth0")
				if out := settled(t, twin.Namespace, "eth0", own); !strings.Contains(out, "dadfailed") {
					t.Errorf("%s takes another's %s:\n%s", twin.Name, own, out)
				}
				run(t, twin.Namespace, "ip", "addr", "del", own+"/64", "dev", "eth0")
			}
			checkPing(t, f.far.Namespace, own)
		})
	}
}

// TestPlainHostDuplicateAddress: a host that is a plain vxlan device gets to
// know what is taken, and may have what is not.
func TestPlainHostDuplicateAddress(t *testing.T) {
	needTool(t, "bridge")
	onUnderlays(t, linktest.Options{Hosts: 3}, func(t *testing.T, o linktest.Options) {
		n := newInteropBed(t, o, false)
		detectDuplicates(t, n.plain, "vx")
		for addr, taken := range map[string]bool{
			"fd00::2": true, "fd00::3": true, "fd00::99": false, linkLocalOf(n.b.port.MAC).String(): true,
		} {
			run(t, n.plain, "ip", "addr", "add", addr+"/64", "dev", "vx")
			if out := settled(t, n.plain, "vx", addr); strings.Contains(out, "dadfailed") != taken {
				t.Errorf("%s is taken: %v, but the plain host has\n%s", addr, taken, out)
			}
		}
	})
}

// TestIPv6Neighbours: an endpoint's first packet needs no second, and what it
// believes about its neighbours is confirmed.
func TestIPv6Neighbours(t *testing.T) {
	onUnderlays(t, linktest.Options{Hosts: 2}, testIPv6Neighbours)
}

func testIPv6Neighbours(t *testing.T, o linktest.Options) {
	needTool(t, "ping")
	b := newBed(t, o, HookAuto)
	dual := b.attach(0, testVNI, "10.0.0.2/24", "fd00::2/64")
	near := b.attach(0, testVNI, "fd00::3/64") // of IPv6 alone
	far := b.attach(1, testVNI, "fd00::4/64", "fd00::44/64")
	b.connect()
	for _, c := range []struct {
		from *bedEndpoint
		to   string
		who  *bedEndpoint
	}{
		{dual, "fd00::3", near}, {dual, "fd00::4", far}, {dual, "fd00::44", far}, {near, "fd00::2", dual},
		{near, "fd00::4", far}, {far, "fd00::2", dual}, {far, "fd00::3", near},
		{dual, linkLocalOf(far.port.MAC).String(), far}, {far, linkLocalOf(near.port.MAC).String(), near}, {near, linkLocalOf(dual.port.MAC).String(), dual},
	} {
		checkPing(t, c.from.Namespace, c.to, "-I", "eth0", "-c", "2")
		// A unicast probe decides whether an entry is still good.
		run(t, c.from.Namespace, "ip", "neigh", "replace", c.to, "lladdr", c.who.port.MAC.String(), "dev", "eth0", "nud", "probe")
		if got := neighbourState(t, c.from.Namespace, c.to); !strings.Contains(got, "REACHABLE") {
			t.Errorf("%s probes %s: %q, want it to be reachable", c.from.Name, c.to, got)
		}
	}
	checkTCP(t, near.Namespace, far.Namespace, "fd00::4")
	for _, h := range b.hosts {
		for _, r := range []datapath.DropReason{datapath.DropInnerMalformed, datapath.DropSourceIP, datapath.DropSourceARP, datapath.DropUnknownNeighbour} {
			if n := h.stats(t).Drops[r].Packets; n != 0 {
				t.Errorf("%s dropped %d frames of real stacks as %s", h.Name, n, r)
			}
		}
	}
}

// neighbourState waits until a probe has ended.
func neighbourState(t *testing.T, ns *linktest.Namespace, addr string) (state string) {
	t.Helper()
	for range 250 {
		state = run(t, ns, "ip", "-6", "neigh", "show", "to", addr, "dev", "eth0")
		if !strings.Contains(state, "PROBE") {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return state
}
