package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/miekg/dns"

	ovldns "github.com/ovlnet/ovl/control/dns"
	"github.com/ovlnet/ovl/encap"
)

// Names are answered in each gateway (docs/adr/0018), at one UDP and one TCP socket,
// which the holder keeps: queries that come while no agent runs wait there.
//
//	a gateway is made ─▶ its sockets, those of an earlier agent or new ones
//	                  ─▶ the holder has copies ─▶ nameServer.Serve
//	it goes           ─▶ they end, and the holder lets go of them
//	the agent ends    ─▶ the holder has them

// namePort is DNS's, RFC 1035 section 4.2.
const namePort = 53

// Holder keeps descriptors for the next agent. Package hold has one.
type Holder interface {
	// Put hands a copy over, in place of one of that name, Drop lets go of one, and
	// All returns copies of all there are.
	Put(name string, f *os.File) error
	Drop(name string) error
	All() (map[string]*os.File, error)
	// Close leaves the holder with what it has.
	Close() error
}

// nameServer answers queries of the endpoints of a network, until stop, which closes
// both sockets. An error leaves them open. Package dns has one.
type nameServer interface {
	Serve(network string, udp net.PacketConn, tcp net.Listener) (stop func() error, err error)
	// Ask is answered as the endpoint with that address is.
	Ask(ctx context.Context, network string, addr netip.Addr, name string, qtype uint16) (*dns.Msg, ovldns.Result, error)
	Stats() ovldns.Stats
	Close() error
}

// naming is what answers, and what of it outlives the agent.
type naming struct {
	server nameServer
	// held are the sockets of an earlier agent, by their names with the holder.
	held map[string]*os.File
}

// heldNames begins the names of our sockets with the holder.
const heldNames = "dns/"

// heldName names a gateway's socket: by its namespace's number too, which no other
// has as long as the socket is open.
func heldName(g *gateway, proto string) string {
	return fmt.Sprintf("%s%s/%d/%s", heldNames, g.device.Netns, g.namespace.Inode(), proto)
}

// openNames begins to answer in the gateways that there are.
func (a *Agent) openNames() {
	server := a.hooks.nameServer
	if server == nil {
		server = a.newNameServer()
	}
	g := &a.gateways
	g.mu.Lock()
	defer g.mu.Unlock()
	a.naming = naming{server: server, held: a.heldSockets()}
	for vni, n := range a.wantedGateways() {
		if g.made[vni] != nil {
			a.noteGateway(n, a.answerNames(vni)) //nolint:errcheck // upkeep tries again
		}
	}
	for name, f := range a.naming.held { // of gateways that are gone
		f.Close() //nolint:errcheck // a copy
		a.dropHeld(name)
	}
	a.naming.held = nil
}

// heldSockets takes those over that an earlier agent has left.
func (a *Agent) heldSockets() map[string]*os.File {
	if a.holder == nil {
		return nil
	}
	held, err := a.holder.All()
	if err != nil {
		a.log.Warn("queries that waited for this agent are lost", "err", err)
	}
	for name, f := range held {
		if !strings.HasPrefix(name, heldNames) {
			f.Close() //nolint:errcheck // a copy
			delete(held, name)
		}
	}
	return held
}

// answerNames begins to answer in a gateway, if there is who does.
func (a *Agent) answerNames(vni encap.VNI) error {
	g := a.gateways.made[vni]
	if a.naming.server == nil || g.stop != nil {
		return nil
	}
	udp, tcp, err := a.nameSockets(g)
	if err != nil {
		return err
	}
	a.hold(heldName(g, "udp"), udp)
	a.hold(heldName(g, "tcp"), tcp)
	packets, err := net.FilePacketConn(udp)
	if err != nil {
		return errors.Join(err, udp.Close(), tcp.Close())
	}
	connections, err := net.FileListener(tcp)
	if err := errors.Join(err, udp.Close(), tcp.Close()); err != nil {
		return errors.Join(err, packets.Close())
	}
	if g.stop, err = a.naming.server.Serve(g.network, packets, connections); err != nil {
		return errors.Join(err, packets.Close(), connections.Close())
	}
	return nil
}

// nameSockets returns those of an earlier agent, if there are both, or new ones.
func (a *Agent) nameSockets(g *gateway) (udp, tcp *os.File, err error) {
	take := func(proto string) *os.File {
		name := heldName(g, proto)
		f := a.naming.held[name]
		delete(a.naming.held, name)
		return f
	}
	if udp, tcp = take("udp"), take("tcp"); udp != nil && tcp != nil {
		return udp, tcp, nil
	}
	for name, f := range map[string]*os.File{"udp": udp, "tcp": tcp} {
		if f != nil { // its port is to be free
			f.Close() //nolint:errcheck // a copy
			a.dropHeld(heldName(g, name))
		}
	}
	return g.namespace.Listen(namePort)
}

// endNames stops answering in a gateway. forGood: nobody is to go on with it.
func (a *Agent) endNames(g *gateway, forGood bool) {
	if g.stop == nil {
		return
	}
	if err := g.stop(); err != nil {
		a.log.Warn("answering names not ended in order", "netns", g.device.Netns, "err", err)
	}
	g.stop = nil
	if forGood {
		a.dropHeld(heldName(g, "udp"))
		a.dropHeld(heldName(g, "tcp"))
	}
}

// hold has the holder keep a socket. Without it, queries are lost while no agent
// runs, and nothing else.
func (a *Agent) hold(name string, f *os.File) {
	if a.holder == nil {
		return
	}
	if err := a.holder.Put(name, f); err != nil {
		a.log.Warn("socket not held", "name", name, "err", err)
	}
}

func (a *Agent) dropHeld(name string) {
	if a.holder == nil {
		return
	}
	if err := a.holder.Drop(name); err != nil {
		a.log.Warn("socket still held", "name", name, "err", err)
	}
}
