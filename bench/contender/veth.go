package contender

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/bench/measure"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// tunnelOverhead is what VXLAN adds to an inner packet over IPv4, in bytes.
const tunnelOverhead = 50

// vethEndpoint is an endpoint as container runtimes make them: a namespace
// behind a veth pair, eth0 inside and port on the host.
type vethEndpoint struct {
	*linktest.Namespace
	port string
	mac  net.HardwareAddr
	addr netip.Prefix
	// addr6 is its IPv6 address, beside addr.
	addr6 netip.Prefix
}

// newVethEndpoint prepares the number-th endpoint of a lab, from 1.
func newVethEndpoint(lab *linktest.Lab, contender string, number int) vethEndpoint {
	return vethEndpoint{
		Namespace: lab.Endpoint(fmt.Sprintf("%s%d", contender, number)),
		port:      fmt.Sprintf("port%d", number),
		mac:       net.HardwareAddr{2, 0, 0, 0, 0, byte(number)},
		addr:      netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(number)}), 24),
		addr6:     netip.PrefixFrom(ula(number), 64),
	}
}

// ula returns an IPv6 address for the number-th endpoint of a lab.
func ula(number int) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfd, 0x51, 15: byte(number)})
}

func (e vethEndpoint) offer() measure.Endpoint {
	return measure.Endpoint{Namespace: e.Namespace, Addr: e.addr.Addr(), Addr6: e.addr6.Addr()}
}

// build makes the veth pair, up at both ends, and gives the namespace its
// address. It runs in the host's namespace. The port is one of bridge's unless
// that is nil.
func (e vethEndpoint) build(mtu int, bridge netlink.Link) (port netlink.Link, err error) {
	inside, err := os.Open(e.NetnsPath)
	if err != nil {
		return nil, err
	}
	defer inside.Close()
	veth := netlink.NewVeth(netlink.LinkAttrs{Name: e.port, MTU: mtu, TxQLen: -1})
	veth.PeerName, veth.PeerNamespace = "eth0", netlink.NsFd(inside.Fd())
	veth.PeerMTU, veth.PeerHardwareAddr = uint32(mtu), e.mac
	if err := add(veth, bridge); err != nil {
		return nil, err
	}
	return veth, e.Do(e.configure)
}

func (e vethEndpoint) configure() error {
	dev, err := byName("eth0")
	if err != nil {
		return err
	}
	for _, a := range []netip.Prefix{e.addr, e.addr6} {
		if err := addAddr(dev, a); err != nil {
			return err
		}
	}
	return setUp(dev)
}

// addAddr gives a device of the calling thread's namespace an address, which is
// good at once.
func addAddr(dev netlink.Link, a netip.Prefix) error {
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen())}}
	if a.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	if err := netlink.AddrAdd(dev, addr); err != nil {
		return fmt.Errorf("address %s: %w", a, err)
	}
	return nil
}

// routeVia leads what is for a prefix to a gateway, in the calling thread's
// namespace.
func routeVia(to netip.Prefix, gateway netip.Addr) error {
	err := netlink.RouteAdd(&netlink.Route{
		Dst: &net.IPNet{IP: to.Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), to.Addr().BitLen())},
		Gw:  gateway.AsSlice(),
	})
	if err != nil {
		return fmt.Errorf("route to %s: %w", to, err)
	}
	return nil
}

// knows sets the neighbour entries of another endpoint, so that nothing has to
// answer ARP or neighbour solicitations.
func (e vethEndpoint) knows(other vethEndpoint) error {
	return e.Do(func() error {
		dev, err := byName("eth0")
		if err != nil {
			return err
		}
		return know(dev, other)
	})
}

// know sets the neighbour entries of an endpoint at a device of the calling
// thread's namespace.
func know(dev netlink.Link, other vethEndpoint) error {
	for _, a := range []netip.Prefix{other.addr, other.addr6} {
		if err := netlink.NeighSet(&netlink.Neigh{
			LinkIndex:    dev.Attrs().Index,
			State:        netlink.NUD_PERMANENT,
			HardwareAddr: other.mac,
			IP:           a.Addr().AsSlice(),
		}); err != nil {
			return fmt.Errorf("neighbour %s: %w", a.Addr(), err)
		}
	}
	return nil
}

// vethEnd is a host with its endpoint.
type vethEnd struct {
	host     *linktest.Host
	endpoint vethEndpoint

	underlay netlink.Link
	// mtu is the endpoint's: what a tunnel leaves of the underlay's.
	mtu int
}

// joinVeths builds an endpoint on each of the first two hosts. connect, in the
// namespace of self's host, builds self's endpoint and whatever takes frames
// from there to peer, and back.
func joinVeths(lab *linktest.Lab, contender string, connect func(self, peer *vethEnd) error) (measure.Pair, error) {
	var ends [2]*vethEnd
	for i := range ends {
		ends[i] = &vethEnd{host: lab.Hosts[i], endpoint: newVethEndpoint(lab, contender, i+1)}
	}
	for i, self := range ends {
		peer := ends[1-i]
		err := self.host.Do(func() (err error) {
			if self.underlay, err = byName(linktest.UnderlayDevice); err != nil {
				return err
			}
			self.mtu = self.underlay.Attrs().MTU - tunnelOverhead
			return connect(self, peer)
		})
		if err == nil {
			err = self.endpoint.knows(peer.endpoint)
		}
		if err != nil {
			return measure.Pair{}, fmt.Errorf("host %d: %w", i+1, err)
		}
	}
	return measure.Pair{Client: ends[0].endpoint.offer(), Server: ends[1].endpoint.offer()}, nil
}
