package datapath

import (
	"net/netip"
	"slices"

	"github.com/ovlnet/ovl/encap"
)

// Client is who a flow to a VIP comes from: an address in a network.
type Client struct {
	VNI  encap.VNI
	Addr netip.Addr
}

// Clients returns whom flows on the host of s can come from: its ports, by each of
// their addresses. An IPv6 one may also be the link-local address that follows from
// the port's MAC (RFC 4291 appendix A). A datapath forgets all other flows.
func (s State) Clients() map[Client]bool {
	clients := map[Client]bool{}
	for _, n := range s.Networks {
		for _, p := range n.Ports {
			for _, a := range p.Addrs {
				clients[Client{n.VNI, a}] = true
			}
			clients[Client{n.VNI, linkLocal(p.MAC)}] = true
		}
	}
	return clients
}

func linkLocal(m encap.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
}

// ClientsLeft says whether clients of the State before may be none of s.
func (s State) ClientsLeft(before State) bool {
	return slices.ContainsFunc(s.Since(before), func(c NetworkChange) bool { return len(c.Ports.Gone) > 0 })
}
