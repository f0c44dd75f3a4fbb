package kernel

import (
	"flag"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// whole makes TestPairs take minutes; `make test-pairs` sets it.
var whole = flag.Bool("whole", false, "TestPairs: iperf3 and 100 MB between every pair, not between some")

// TestPairs: endpoints of every kind reach those of every kind that speak a
// family of theirs, on this host and another, over an underlay of each family:
// ping, UDP, segmented UDP, TCP, and what arrives is what was sent.
func TestPairs(t *testing.T) { onUnderlays(t, linktest.Options{}, testPairs) }

func testPairs(t *testing.T, o linktest.Options) {
	needTool(t, "ping", "iperf3")
	b := newBed(t, o, HookAuto)
	here, there := newKinds(t, b, 0), newKinds(t, b, 1)
	b.connect()
	for i, from := range here {
		for _, to := range slices.Concat(there, here[:i]) {
			where := "far"
			if from.host == to.host {
				where = "near"
			}
			t.Run(fmt.Sprintf("%s to %s %s", from.kind, where, to.kind), func(t *testing.T) {
				for _, addr := range to.port.Addrs {
					if back, ok := from.addrLike(addr); ok {
						checkPair(t, from, to, addr, back)
					}
				}
			})
		}
	}
}

// endpointKind is an endpoint by the addresses it has and what it is.
type endpointKind struct {
	*bedEndpoint
	kind string
}

func newKinds(t *testing.T, b *bed, host int) []endpointKind {
	t.Helper()
	n := 0
	addrs := func(families ...string) (out []string) {
		n++
		for _, format := range families {
			out = append(out, fmt.Sprintf(format, host*10+n+1))
		}
		return out
	}
	const four, six = "10.0.0.%d/24", "fd00::%d/64"
	return []endpointKind{
		{b.attach(host, testVNI, addrs(four)...), "IPv4"},
		{b.attach(host, testVNI, addrs(six)...), "IPv6"},
		{b.attach(host, testVNI, addrs(four, six)...), "dual-stack"},
		{b.attachVM(t, host, testVNI, vmKinds[len(vmKinds)-1], addrs(four, six)...), "TAP"},
	}
}

// addrLike returns the endpoint's address of the same family.
func (e *bedEndpoint) addrLike(a netip.Addr) (netip.Addr, bool) {
	i := slices.IndexFunc(e.port.Addrs, func(own netip.Addr) bool { return own.Is4() == a.Is4() })
	if i < 0 {
		return netip.Addr{}, false
	}
	return e.port.Addrs[i], true
}

// checkPair sends to addr, which is to's, and back, which is from's.
func checkPair(t *testing.T, from, to endpointKind, addr, back netip.Addr) {
	t.Helper()
	size := int64(4 << 20)
	some := from.kind == to.kind && from.kind != "IPv4"
	if *whole || some && addr.Is4() {
		size = 100 << 20
	}
	checkPing(t, from.Namespace, addr.String())
	checkTransfer(t, from.Namespace, to.Namespace, addr, size)
	checkDatagrams(t, from.Namespace, to.Namespace, addr)
	checkDatagrams(t, to.Namespace, from.Namespace, back)
	if *whole {
		checkTransfer(t, to.Namespace, from.Namespace, back, size)
		checkUDP(t, to.Namespace, from.Namespace, back.String())
	}
	if !*whole && !some {
		return
	}
	checkUDP(t, from.Namespace, to.Namespace, addr.String())
	checkTCP(t, from.Namespace, to.Namespace, addr.String())
	checkIperfUDP(t, from, to, addr)
}

// checkIperfUDP wants to have no datagram lost but those that the server itself
// was too slow for.
func checkIperfUDP(t *testing.T, from, to endpointKind, addr netip.Addr) {
	t.Helper()
	overflows := "Udp:RcvbufErrors"
	if addr.Is6() {
		overflows = "Udp6RcvbufErrors"
	}
	before := snmp(t, to.Namespace, overflows)
	b := iperf(t, from.Namespace, to.Namespace, addr.String(), "-u", "-b", "100M", "-l", "1200", "-n", "5M")
	sum, late := b.End.Sum, snmp(t, to.Namespace, overflows)-before
	if sum.Packets == 0 || sum.Lost > int(late) {
		t.Errorf("iperf3 -u to %s: %d packets of %d are lost, %d of them late", addr, sum.Lost, sum.Packets, late)
	}
}
