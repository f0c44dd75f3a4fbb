package kernel

import (
	"strings"
	"testing"
	"time"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// detectDuplicates makes an endpoint's stack look for duplicates, and at once.
// Endpoints do not: the tables have settled who has an address.
func (e *bedEndpoint) detectDuplicates(t *testing.T, settings ...string) {
	t.Helper()
	const conf = "net.ipv6.conf.eth0."
	run(t, e.Namespace, append([]string{"sysctl", "-q", conf + "accept_dad=1", conf + "dad_transmits=1",
		conf + "router_solicitation_delay=0", "net.ipv6.neigh.eth0.retrans_time_ms=200"}, settings...)...)
}

// settled waits until the stack has made up its mind about an address, and
// returns what it says of it.
func settled(t *testing.T, ns *linktest.Namespace, addr string) string {
	t.Helper()
	var out string
	for range 200 {
		out = run(t, ns, "ip", "-6", "-o", "addr", "show", "dev", "eth0", "to", addr)
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
	for _, c := range []struct{ name, settings string }{
		{"RFC 4862", "net.ipv6.conf.eth0.enhanced_dad=0"},
		{"enhanced, RFC 7527", "net.ipv6.conf.eth0.enhanced_dad=1"},
		{"optimistic, RFC 4429", "net.ipv6.conf.eth0.optimistic_dad=1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, e := range []*bedEndpoint{f.a, f.near, f.far} {
				e.detectDuplicates(t, c.settings)
			}
			run(t, f.a.Namespace, "ip", "link", "set", "eth0", "down")
			run(t, f.a.Namespace, "ip", "-6", "addr", "flush", "dev", "eth0")
			run(t, f.a.Namespace, "ip", "link", "set", "eth0", "up")
			run(t, f.a.Namespace, "ip", "addr", "add", own+"/64", "dev", "eth0")
			for _, addr := range []string{own, linkLocal} {
				if out := settled(t, f.a.Namespace, addr); out == "" || strings.Contains(out, "tentative") {
					t.Errorf("the endpoint does not get its own %s:\n%s", addr, out)
				}
			}
			for _, twin := range []*bedEndpoint{f.near, f.far} {
				run(t, twin.Namespace, "ip", "addr", "add", own+"/64", "dev", "eth0")
				if out := settled(t, twin.Namespace, own); !strings.Contains(out, "dadfailed") {
					t.Errorf("%s takes another's %s:\n%s", twin.Name, own, out)
				}
				run(t, twin.Namespace, "ip", "addr", "del", own+"/64", "dev", "eth0")
			}
			checkPing(t, f.far.Namespace, own)
		})
	}
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
