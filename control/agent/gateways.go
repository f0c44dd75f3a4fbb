package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// Each network with an endpoint on this host has its gateway here, a namespace and
// a veth pair (docs/adr/0018):
//
//	attach                    ─▶ holdGateway ─▶ made, if it is not there
//	start, upkeep, a removal  ─▶ reviewGateways ─▶ what is missing is made,
//	                             what has no endpoint any more goes
//	down                      ─▶ removeGateways
//
// What there is to be follows from the tables and from the attachments under way,
// so that nothing about gateways is kept over a restart.

// gateways are those of this host.
type gateways struct {
	// mu orders what is made and removed.
	mu sync.Mutex
	// made are those that are there, by VNI; failed is why others are not, by
	// network ID.
	made   map[encap.VNI]*gateway
	failed map[string]error
	// uses counts the attachments under way, by network ID.
	uses map[string]int
	// wanted is what wantedGateways has said last, of these tables.
	wanted map[encap.VNI]store.Network
	of     *reconcile.Tables
	// cannot is why this process makes none at all.
	cannot error
	// ports are those of made, for the reconciler.
	ports atomic.Pointer[reconcile.Gateways]
}

// gateway is one that is there.
type gateway struct {
	network   string // its ID
	device    GatewayDevice
	namespace Namespace
	// stop ends the answering of names there; nil where that has not begun.
	stop func() error
}

const (
	gatewayNetnsPrefix  = "ovl-"
	gatewayDevicePrefix = devicePrefix + "gw"
	gatewayIfName       = "eth0"
)

// gatewayNetns names the namespace of a network's gateway. Namespaces have their
// names in one folder, whatever network namespace their agents are in.
func gatewayNetns(instance string, vni encap.VNI) string {
	name := gatewayNetnsPrefix + vni.String()
	if instance != "" {
		name += "-" + instance
	}
	return name
}

// gatewayVNI is the inverse of gatewayNetns; false for other names.
func gatewayVNI(instance, name string) (encap.VNI, bool) {
	rest, ok := strings.CutPrefix(name, gatewayNetnsPrefix)
	digits, _, _ := strings.Cut(rest, "-")
	n, err := strconv.ParseUint(digits, 10, 24)
	vni := encap.VNI(n)
	return vni, ok && err == nil && name == gatewayNetns(instance, vni)
}

// gatewayDeviceName names the host's end of a gateway's veth pair. It is not one of
// isDeviceName.
func gatewayDeviceName(vni encap.VNI) string {
	return gatewayDevicePrefix + strconv.FormatUint(uint64(vni), 16)
}

// isGatewayDevice reports whether gatewayDeviceName can have made name.
func isGatewayDevice(name string) bool {
	digits, ok := strings.CutPrefix(name, gatewayDevicePrefix)
	vni, err := strconv.ParseUint(digits, 16, 24)
	return ok && err == nil && name == gatewayDeviceName(encap.VNI(vni))
}

// gatewayOf describes the gateway of a network on this host.
func (a *Agent) gatewayOf(n store.Network) GatewayDevice {
	d := GatewayDevice{
		Netns: gatewayNetns(a.cfg.Instance, n.VNI), Host: gatewayDeviceName(n.VNI), IfName: gatewayIfName,
		MAC: datapath.GatewayMAC, MTU: min(n.MTU, a.maxMTU),
	}
	for _, s := range n.Subnets {
		if s.Gateway.IsValid() {
			d.Addrs = append(d.Addrs, netip.PrefixFrom(s.Gateway, s.Prefix.Bits()))
		}
	}
	return d
}

func (d GatewayDevice) equal(o GatewayDevice) bool {
	return d.Netns == o.Netns && d.Host == o.Host && d.IfName == o.IfName && d.MAC == o.MAC && d.MTU == o.MTU &&
		slices.Equal(d.Addrs, o.Addrs)
}

// holdGateway makes the gateway of a network before the network's first endpoint is
// there, and keeps it until release is called, which may be twice.
func (a *Agent) holdGateway(ctx context.Context, n store.Network) (release func(), err error) {
	g := &a.gateways
	g.mu.Lock()
	defer g.mu.Unlock()
	g.uses[n.ID]++
	g.of = nil
	release = sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.uses[n.ID]--; g.uses[n.ID] == 0 {
			delete(g.uses, n.ID)
		}
		g.of = nil
	})
	if w, carried := a.wantedGateways()[n.VNI]; !carried || w.ID != n.ID {
		return release, nil // nor will it be, which the attachment is told later
	}
	return release, a.ensureGateway(ctx, n)
}

// wantedGateways are the networks that are to have one here, by VNI: those with an
// endpoint, or one under way, but for those that no host carries.
func (a *Agent) wantedGateways() map[encap.VNI]store.Network {
	g, t := &a.gateways, a.tables()
	if g.of == t {
		return g.wanted
	}
	here := make(map[string]bool)
	for id := range g.uses {
		here[id] = true
	}
	for _, e := range t.EndpointsOf(a.self.ID) {
		here[e.Network] = true
	}
	for _, n := range t.VNILosers() {
		delete(here, n.ID)
	}
	wanted := make(map[encap.VNI]store.Network)
	for id := range here {
		n, there := t.Networks[id]
		if there && n.VNI.Validate() == nil {
			wanted[n.VNI] = n
		}
	}
	g.wanted, g.of = wanted, t
	return wanted
}

// ensureGateway makes a gateway, or what is missing of it. Where this process may
// not, the network does without.
func (a *Agent) ensureGateway(ctx context.Context, n store.Network) error {
	g := &a.gateways
	want := a.gatewayOf(n)
	have := g.made[n.VNI]
	switch {
	case g.cannot != nil, len(want.Addrs) == 0:
		return nil
	case have != nil && have.network == n.ID && have.device.equal(want) && a.isThere(have):
		return a.noteGateway(n, a.answerNames(n.VNI))
	}
	ns, err := a.host.EnsureGateway(ctx, want)
	if err == nil {
		next := &gateway{network: n.ID, device: want, namespace: ns}
		if have != nil && have.network == n.ID && have.namespace.Inode() == ns.Inode() {
			next.stop, have.stop = have.stop, nil // in the same namespace, it goes on
		}
		a.endGateway(n.VNI, true)
		g.made[n.VNI] = next
		a.publishGateways()
		err = a.answerNames(n.VNI)
	}
	if err == nil {
		a.log.Info("gateway is there", "network", n.Name, "vni", n.VNI, "netns", want.Netns, "device", want.Host, "addrs", want.Addrs)
		return a.noteGateway(n, nil)
	}
	a.endGateway(n.VNI, true)
	a.publishGateways()
	if errors.Is(err, ErrEnter) {
		a.log.Warn("the networks of this host do without gateways: names are not answered", "err", err)
		g.cannot = err
		return nil
	}
	if err := a.host.RemoveGateway(want.Netns, want.Host); err != nil {
		a.log.Warn("gateway is left to the next start to remove", "vni", n.VNI, "err", err)
	}
	return a.noteGateway(n, err)
}

// noteGateway keeps what is wrong with a network's gateway, nil if nothing is. It
// returns that error.
func (a *Agent) noteGateway(n store.Network, err error) error {
	failed := a.gateways.failed
	before := failed[n.ID]
	delete(failed, n.ID)
	if err == nil {
		return nil
	}
	if before == nil || before.Error() != err.Error() {
		a.log.Error("gateway does not work", "network", n.Name, "err", err)
	}
	failed[n.ID] = err
	return fmt.Errorf("gateway of network %s: %w", n.Name, err)
}

// isThere looks for what somebody may have taken away.
func (a *Agent) isThere(g *gateway) bool {
	there, err := a.host.DeviceExists(g.device.Host)
	return (there || err != nil) && g.namespace.Present() == nil
}

// endGateway lets go of a gateway, if there is one, which itself stays. forGood: no
// other agent is to go on with it.
func (a *Agent) endGateway(vni encap.VNI, forGood bool) {
	if g := a.gateways.made[vni]; g != nil {
		delete(a.gateways.made, vni)
		a.endNames(g, forGood)
		g.namespace.Close() //nolint:errcheck // nothing was written
	}
}

// publishGateways shows the reconciler which there are.
func (a *Agent) publishGateways() {
	ports := make(map[encap.VNI]datapath.Port)
	for vni, g := range a.gateways.made {
		p := datapath.Port{Device: g.device.Host, Kind: datapath.Veth, MAC: g.device.MAC, Gateway: true}
		for _, addr := range g.device.Addrs {
			p.Addrs = append(p.Addrs, addr.Addr())
		}
		slices.SortFunc(p.Addrs, netip.Addr.Compare)
		ports[vni] = p
	}
	a.gateways.ports.Store(&reconcile.Gateways{Ports: ports})
	if a.reconciler != nil {
		a.reconciler.Again()
	}
}

// reviewGateways makes what is missing, and removes gateways without an endpoint,
// once the datapath has let go of them. It is for whoever has changed what there
// is to be; upkeep calls it every second.
func (a *Agent) reviewGateways(ctx context.Context) {
	if a.hasSurplusGateway() {
		wait, cancel := context.WithTimeout(ctx, applyTime)
		defer cancel()
		if err := a.applied(wait); err != nil {
			a.log.Warn("gateways may still be in the datapath", "err", err)
		}
	}
	g := &a.gateways
	g.mu.Lock()
	defer g.mu.Unlock()
	wanted := a.wantedGateways()
	for _, n := range wanted {
		a.ensureGateway(ctx, n) //nolint:errcheck // it is logged and in gatewayProblems, and tried again
	}
	for vni, have := range g.made {
		if _, keep := wanted[vni]; keep {
			continue
		}
		a.log.Info("gateway removed, its network has no endpoint here", "vni", vni, "netns", have.device.Netns)
		a.endGateway(vni, true)
		a.publishGateways()
		if err := a.host.RemoveGateway(have.device.Netns, have.device.Host); err != nil {
			a.log.Warn("gateway is left to the next start to remove", "vni", vni, "err", err)
		}
	}
	for id := range g.failed {
		if n := a.tables().Networks[id]; wanted[n.VNI].ID != id {
			delete(g.failed, id)
		}
	}
}

// hasSurplusGateway reports whether one is to go.
func (a *Agent) hasSurplusGateway() bool {
	g := &a.gateways
	g.mu.Lock()
	defer g.mu.Unlock()
	wanted := a.wantedGateways()
	for vni := range g.made {
		if _, keep := wanted[vni]; !keep {
			return true
		}
	}
	return false
}

// openGateways compares what an earlier agent has left with what there is to be,
// before there is a datapath: what is right stays as it is. What cannot be made or
// removed is no reason not to start.
func (a *Agent) openGateways(ctx context.Context) {
	g := &a.gateways
	g.made, g.failed, g.uses = make(map[encap.VNI]*gateway), make(map[string]error), make(map[string]int)
	a.reviewGateways(ctx)
	keep := make(map[string]bool)
	for _, have := range g.made {
		keep[have.device.Netns], keep[have.device.Host] = true, true
	}
	if err := removeGateways(a.host, a.cfg.Instance, keep); err != nil {
		a.log.Warn("gateways of an earlier agent are still there", "err", err)
	}
}

// closeGateways lets go of all, which stay for the next agent.
func (a *Agent) closeGateways() {
	a.gateways.mu.Lock()
	defer a.gateways.mu.Unlock()
	for vni := range a.gateways.made {
		a.endGateway(vni, false)
	}
	if a.naming.server != nil {
		if err := a.naming.server.Close(); err != nil {
			a.log.Warn("answering names not ended in order", "err", err)
		}
	}
}

// gatewayProblems are lines for the operator.
func (a *Agent) gatewayProblems() []string {
	g := &a.gateways
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []string
	if g.cannot != nil {
		out = append(out, fmt.Sprintf("gateways: names are not answered on this host: %v", g.cannot))
	}
	for _, id := range slices.Sorted(maps.Keys(g.failed)) {
		out = append(out, fmt.Sprintf("gateway of network %s: %v", networkName(a.tables(), id), g.failed[id]))
	}
	return out
}

// removeGateways takes away what an instance's agents have made, but for the
// namespaces and devices to keep.
func removeGateways(host Host, instance string, keep map[string]bool) error {
	names, err := host.Namespaces()
	errs := []error{err}
	for _, name := range names {
		if vni, ours := gatewayVNI(instance, name); ours && !keep[name] {
			errs = append(errs, host.RemoveGateway(name, gatewayDeviceName(vni)))
		}
	}
	devices, err := host.Devices(gatewayDevicePrefix)
	errs = append(errs, err)
	for _, d := range devices {
		if isGatewayDevice(d) && !keep[d] {
			errs = append(errs, host.RemoveDevice(d))
		}
	}
	return errors.Join(errs...)
}
