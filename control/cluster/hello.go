package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"

	"github.com/ovlnet/ovl/control/cluster/member"
	"github.com/ovlnet/ovl/control/cluster/rpc"
	"github.com/ovlnet/ovl/control/store"
)

// Codes of what a host answers to a hello that it does not welcome.
const (
	CodeProtocol  = "protocol"
	CodeNameInUse = "name_in_use"
	CodeIDInUse   = "id_in_use"
	CodeFamily    = "address_family"
)

// helloRequest is the first thing a host says to another, before it joins the
// gossip. That it arrives at all proves that both hold one secret. The form of
// hello never changes, so that versions can tell each other apart.
type helloRequest struct {
	Protocol int    `json:"protocol"`
	ID       string `json:"id"`
	Name     string `json:"name"`
	Nonce    string `json:"nonce"`
	// Addr is the caller's underlay address.
	Addr netip.Addr `json:"addr,omitzero"`
	// Probe: the caller only asks who is there.
	Probe bool `json:"probe,omitempty"`
}

type helloAnswer struct {
	Protocol int            `json:"protocol"`
	ID       string         `json:"id"`
	Name     string         `json:"name"`
	Nonce    string         `json:"nonce"`
	Gossip   netip.AddrPort `json:"gossip"`
}

func (c *Cluster) hello(ctx context.Context, addr netip.AddrPort, probe bool) (helloAnswer, error) {
	body, err := json.Marshal(helloRequest{Protocol, c.local.ID, c.local.Name, c.nonce, c.local.Addr, probe})
	if err != nil {
		return helloAnswer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, helloLimit)
	defer cancel()
	raw, err := c.transport.Request(ctx, addr, "hello", body)
	if err != nil {
		return helloAnswer{}, err
	}
	var a helloAnswer
	if err := json.Unmarshal(raw, &a); err != nil {
		return helloAnswer{}, fmt.Errorf("answer of %s to hello: %w", addr, err)
	}
	return a, nil
}

// serveHello welcomes a host, or says what keeps it from joining.
func (c *Cluster) serveHello(ctx context.Context, _ string, req helloRequest) (any, error) {
	me := helloAnswer{Protocol, c.local.ID, c.local.Name, c.nonce, netip.AddrPortFrom(c.local.Addr, c.local.GossipPort)}
	if req.Probe || req.Nonce == c.nonce {
		return me, nil
	}
	if req.Protocol != Protocol {
		return nil, rpc.Errorf(CodeProtocol, "node %s speaks protocol version %d, this host %d: run the same version of ovlctl on both",
			c.local.Name, Protocol, req.Protocol)
	}
	if req.Addr.IsValid() && req.Addr.Is4() != c.local.Addr.Is4() {
		c.log.Warn("a host is refused: its underlay is of the other family", "peer", req.Name, "addr", req.Addr, "local", c.local.Addr)
		return nil, otherFamily(c.local.Name, c.local.Addr, req.Addr)
	}
	if req.ID == c.local.ID {
		return nil, idInUse(c.local)
	}
	// A host that is a member already, by its row, is let back in whatever its
	// name: two of one name may have met when a partition healed.
	_, known := c.store.Snapshot().Get(store.TableNode, req.ID)
	if req.Name == c.local.Name && !known {
		return nil, nameInUse(req.Name, c.local.Addr)
	}
	for _, m := range c.peers.with(member.Alive) {
		switch {
		case m.ID == req.ID && c.stillThere(ctx, m, req.Nonce):
			return nil, idInUse(m.Local)
		case m.ID != req.ID && m.Name == req.Name && !known && c.stillThere(ctx, m, req.Nonce):
			return nil, nameInUse(req.Name, m.Addr)
		}
	}
	return me, nil
}

// otherFamily refuses the host at addr, which is where its operator reads it. A
// tunnel between the two would have no addresses to start and to end at.
func otherFamily(name string, has, addr netip.Addr) error {
	return rpc.Errorf(CodeFamily, "node %s has an underlay of %s (%s), this host one of %s (%s): a cluster has one family, name an %s address of this host with --advertise",
		name, family(has), has, family(addr), addr, family(has))
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

func idInUse(by member.Local) error {
	return rpc.Errorf(CodeIDInUse, "node %s at %s has the same node ID %s: a cloned disk? run `ovlctl down` on this host and join it again as a new one",
		by.Name, by.Addr, by.ID)
}

func nameInUse(name string, by netip.Addr) error {
	return rpc.Errorf(CodeNameInUse, "node name %q is in use by the node at %s: choose another with --name", name, by)
}

// stillThere tells a host that runs from one whose failure is not known yet: a
// host may come back with a new address, or a new disk, faster than that.
// The newcomer itself, at its old address, is no reason to refuse it.
func (c *Cluster) stillThere(ctx context.Context, m member.Member, newcomer string) bool {
	a, err := c.hello(ctx, m.Sync(), true)
	return err == nil && a.ID == m.ID && a.Nonce != newcomer
}
