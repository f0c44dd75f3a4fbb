package agent

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/name"
	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// defaultIfName is the interface inside the namespace if none is asked for.
const defaultIfName = "eth0"

// plan checks all that can be known without touching anything.
func (a *Agent) plan(r api.AttachRequest) (_ *attachment, err error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	t := a.tables()
	n, err := findNetwork(t, r.Network)
	if err != nil {
		return nil, err
	}
	switch r.MAC {
	case datapath.ServiceMAC:
		return nil, api.Errorf(api.CodeTaken, "MAC %v is that of every VIP", r.MAC)
	case datapath.GatewayMAC:
		return nil, api.Errorf(api.CodeTaken, "MAC %v is that of every gateway", r.MAC)
	}
	at := &attachment{agent: a, wanted: r.IPs, network: n, byCaller: r.EnteredInode != 0}
	for _, ref := range r.Services {
		v, err := findService(t, n.ID, ref)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(at.services, v.ID) {
			at.services = append(at.services, v.ID)
		}
	}
	id := newID()
	at.row = store.Endpoint{
		ID:      id,
		Name:    r.Name,
		Network: n.ID,
		Node:    a.self.ID,
		MAC:     r.MAC,
		MTU:     min(n.MTU, a.maxMTU),
		Device:  deviceName(id),
		Netns:   r.NetNS,
		PID:     r.PID,
		IfName:  r.IfName,
		Aliases: r.Aliases,
		Labels:  r.Labels,
		Created: a.now(),

		ResolvConf: r.ResolvConf,
	}
	if at.row.MAC == (encap.MAC{}) {
		at.row.MAC = derivedMAC(id)
	}
	if hasIPv6(n) && at.row.MTU < encap.MinMTUIPv6 {
		return nil, api.Errorf(api.CodeUnsupported, "network %s has IPv6, which needs an MTU of %d: underlay %s of this host has %d, which leaves %d",
			n.Name, encap.MinMTUIPv6, a.underlay.Name, a.underlay.MTU, a.maxMTU)
	}
	if err := at.place(r); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			at.close()
		}
	}()
	if at.row.Name == "" {
		at.row.Name = defaultName(r, id)
	}
	if err := at.checkUnique(t); err != nil {
		return nil, err
	}
	if err := at.checkInterface(); err != nil {
		return nil, err
	}
	at.unclaim, err = a.claims.claim(
		endpointClaim(at.row.Name, n.Name),
		at.describePlace(),
	)
	return at, err
}

// place finds the namespace, or the TAP, which comes up by it: without a port
// nothing that it sends goes anywhere.
func (at *attachment) place(r api.AttachRequest) error {
	if r.TAP != "" {
		at.row.Kind, at.row.Device = datapath.TAP, r.TAP
		return hostError(at.agent.host.CheckTAP(r.TAP))
	}
	if at.row.IfName == "" {
		at.row.IfName = defaultIfName
	}
	host := at.agent.host
	ns, err := host.OpenNamespace(r.NetNS, r.PID)
	if at.byCaller && errors.Is(err, ErrLook) {
		ns, err = host.UnseenNamespace(r.PID, r.EnteredInode), nil
	}
	if err != nil {
		return hostError(err)
	}
	if at.byCaller && r.EnteredInode != ns.Inode() {
		ns.Close() //nolint:errcheck // nothing was done in it
		return api.Errorf(api.CodeNotFound, "%s: the agent sees another network namespace there than its caller", at.describePlace())
	}
	at.namespace, at.row.NetnsInode = ns, ns.Inode()
	return nil
}

// describePlace names the interface for messages and claims.
func (at *attachment) describePlace() string {
	switch e := at.row; {
	case e.Kind == datapath.TAP:
		return "TAP interface " + e.Device
	case e.Netns != "":
		return fmt.Sprintf("interface %s of network namespace %s", e.IfName, e.Netns)
	default:
		return fmt.Sprintf("interface %s of process %d", e.IfName, e.PID)
	}
}

// defaultName is the name of an endpoint that was given none: that of its
// namespace or TAP if it can be one.
// endpointClaim is for the one who attaches or detaches an endpoint of that name.
func endpointClaim(name, network string) string {
	return fmt.Sprintf("endpoint %s of network %s", strings.ToLower(name), network)
}

func defaultName(r api.AttachRequest, id string) string {
	for _, n := range []string{r.NetNS, r.TAP} {
		if n != "" && !strings.Contains(n, "/") && name.ValidateAnswered("endpoint", n) == nil {
			return n
		}
	}
	return "ep-" + id[:8]
}

// checkUnique refuses a name or MAC that the network has, and an interface
// that is an endpoint already.
func (at *attachment) checkUnique(t *reconcile.Tables) error {
	for _, e := range t.Endpoints {
		here := e.Node == at.row.Node
		sameTAP := at.row.Kind == datapath.TAP && e.Kind == datapath.TAP && e.Device == at.row.Device
		sameIf := at.row.Kind == datapath.Veth && e.Kind == datapath.Veth &&
			e.NetnsInode == at.row.NetnsInode && e.IfName == at.row.IfName
		if here && sameTAP {
			return api.Errorf(api.CodeExists, "%s is already endpoint %s of network %s", at.describePlace(), e.Name, networkName(t, e.Network))
		}
		if here && sameIf {
			return api.Errorf(api.CodeExists, "%s is already endpoint %s of network %s: name another with --ifname",
				at.describePlace(), e.Name, networkName(t, e.Network))
		}
		if e.Network != at.network.ID {
			continue
		}
		if strings.EqualFold(e.Name, at.row.Name) { // they are one to DNS
			return api.Errorf(api.CodeExists, "endpoint %s exists already on network %s, on node %s", e.Name, at.network.Name, nodeName(t, e.Node))
		}
		if e.MAC == at.row.MAC {
			return api.Errorf(api.CodeTaken, "MAC %v belongs to endpoint %s on node %s", e.MAC, e.Name, nodeName(t, e.Node))
		}
	}
	return nil
}

// checkInterface refuses a name that an interface in the namespace has which
// is no endpoint. Where the agent may not look, the kernel refuses it later.
func (at *attachment) checkInterface() error {
	if at.namespace == nil || at.byCaller {
		return nil
	}
	there, err := at.namespace.HasInterface(at.row.IfName)
	if err != nil {
		return hostError(err)
	}
	if there {
		return at.interfaceExists()
	}
	return nil
}

func (at *attachment) interfaceExists() error {
	return api.Errorf(api.CodeExists, "%s exists already: name another with --ifname", at.describePlace())
}
