package kernel

import (
	"net/netip"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// TestPassedOn: an endpoint passes on what came out of the tunnel, to something
// behind another device of its own. The kernel still has those packets down as
// encapsulated, and aggregated ones as of a tunnel: a device that does not
// segment has them cut all the same, and cut right.
func TestPassedOn(t *testing.T) { onUnderlays(t, linktest.Options{}, testPassedOn) }

func testPassedOn(t *testing.T, o linktest.Options) {
	needTool(t, "ethtool", "ping")
	on := []nic{nics[0], nics[4]}
	if o.IPv6 {
		on = on[:1]
	}
	for _, n := range on {
		t.Run(n.name, func(t *testing.T) {
			o.Wire = n.wire
			b := newBed(t, o, HookAuto)
			f := &trafficBed{bed: b}
			f.settle(t, n)
			router := b.attach(0, testVNI, "10.0.0.2/24", "fd00::2/64", "10.0.0.22/24", "fd00::22/64")
			near := b.attach(0, testVNI, "10.0.0.3/24", "fd00::3/64")
			far := b.attach(1, testVNI, "10.0.0.4/24", "fd00::4/64")
			b.connect()
			r := newRouter(t, b, router, "10.0.0.22", "fd00::22")
			for name, device := range map[string]func(*testing.T){
				"veth":               r.byVeth,
				"veth, no offload":   r.byDullVeth,
				"TAP":                func(t *testing.T) { r.byTAP(t, 0) },
				"TAP, virtio header": func(t *testing.T) { r.byTAP(t, unix.IFF_VNET_HDR) },
			} {
				t.Run(name, func(t *testing.T) {
					device(t)
					for _, peer := range []*bedEndpoint{near, far} {
						if n.wire && peer == near {
							continue // nothing on the way differs
						}
						r.check(t, peer)
					}
				})
			}
		})
	}
}

// router is an endpoint that passes packets on to a namespace behind it, by
// the device in0. To the network the addresses of that are the router's own.
type router struct {
	*bedEndpoint
	behind *linktest.Namespace
	addrs  []netip.Addr // of eth0 behind
	mtu    int
}

func newRouter(t *testing.T, b *bed, e *bedEndpoint, addrs ...string) *router {
	t.Helper()
	r := &router{bedEndpoint: e, behind: b.lab.Endpoint("behind"), mtu: b.mtu}
	run(t, e.Namespace, "sysctl", "-q", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
	for _, a := range addrs {
		addr := netip.MustParseAddr(a)
		r.addrs = append(r.addrs, addr)
		bits := "/24"
		if addr.Is6() {
			bits = "/64"
		}
		run(t, e.Namespace, "ip", "addr", "del", a+bits, "dev", "eth0")
	}
	return r
}

func (r *router) byVeth(t *testing.T) {
	t.Helper()
	run(t, r.Namespace, "ip", "link", "add", "in0", "type", "veth", "peer", "name", "eth0", "netns", r.behind.Name)
	t.Cleanup(func() { run(t, r.Namespace, "ip", "link", "del", "in0") })
	r.configure(t)
}

func (r *router) byDullVeth(t *testing.T) {
	t.Helper()
	r.byVeth(t)
	run(t, r.Namespace, "ethtool", "-K", "in0", "tso", "off", "gso", "off", "tx", "off")
}

func (r *router) byTAP(t *testing.T, flags uint16) {
	t.Helper()
	connectTAPs(t, newTAP(t, r.Namespace, "in0", r.mtu, flags), newTAP(t, r.behind, "eth0", r.mtu, flags))
	t.Cleanup(func() {
		run(t, r.Namespace, "ip", "link", "del", "in0")
		run(t, r.behind, "ip", "link", "del", "eth0")
	})
	r.configure(t)
}

func (r *router) configure(t *testing.T) {
	t.Helper()
	for device, ns := range map[string]*linktest.Namespace{"in0": r.Namespace, "eth0": r.behind} {
		run(t, ns, "ip", "link", "set", device, "addrgenmode", "none", "mtu", strconv.Itoa(r.mtu), "up")
		run(t, ns, "sysctl", "-q", "net.ipv6.conf."+device+".disable_ipv6=0")
	}
	for _, a := range r.addrs {
		gateway, whole := "169.254.0.1", "/32"
		if a.Is6() {
			gateway, whole = "fd99::1", "/128"
		}
		run(t, r.Namespace, "ip", "route", "add", a.String()+whole, "dev", "in0")
		run(t, r.Namespace, "ip", "neigh", "replace", a.String(), "lladdr", macOf(t, r.behind, "eth0").String(), "dev", "in0", "nud", "permanent")
		add := []string{"ip", "addr", "add", a.String() + whole, "dev", "eth0"}
		if a.Is6() {
			add = append(add, "nodad")
		}
		run(t, r.behind, add...)
		run(t, r.behind, "ip", "route", "add", gateway+whole, "dev", "eth0")
		run(t, r.behind, "ip", "neigh", "replace", gateway, "lladdr", macOf(t, r.Namespace, "in0").String(), "dev", "eth0", "nud", "permanent")
		run(t, r.behind, "ip", "route", "add", "default", "via", gateway, "dev", "eth0", "src", a.String())
	}
}

// check sends from a peer to what is behind the router, and back.
func (r *router) check(t *testing.T, peer *bedEndpoint) {
	t.Helper()
	for i, addr := range r.addrs {
		run(t, peer.Namespace, "ip", "neigh", "replace", addr.String(), "lladdr", r.port.MAC.String(), "dev", "eth0", "nud", "permanent")
		checkTransfer(t, peer.Namespace, r.behind, addr, 8<<20)
		checkTransfer(t, r.behind, peer.Namespace, peer.port.Addrs[i], 8<<20)
		checkDatagrams(t, peer.Namespace, r.behind, addr)
		checkDatagrams(t, r.behind, peer.Namespace, peer.port.Addrs[i])
	}
}
