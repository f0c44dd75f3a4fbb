package agent

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/cluster"
	"github.com/ovlnet/ovl/control/cluster/member"
	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/encap"
)

// Status describes this host.
func (a *Agent) Status(ctx context.Context) (api.Status, error) {
	t, applied := a.tables(), a.reconciler.Status()
	s := api.Status{
		Name:        a.self.Name,
		ID:          a.self.ID,
		Instance:    a.cfg.Instance,
		Version:     a.hooks.Version,
		PID:         os.Getpid(),
		Started:     a.started,
		Uptime:      int64(time.Since(a.started).Seconds()),
		Datapath:    api.DatapathStatus{Kind: a.datapath.Kind, Reason: a.datapath.Reason},
		VTEP:        netip.AddrPortFrom(a.self.VTEP, a.self.VXLANPort),
		Underlay:    a.underlay.Name,
		UnderlayMTU: a.underlay.MTU,
		JoinAddress: a.joinAddress(),
		Cluster:     a.clusterStatus(applied),
		Networks:    localNetworks(t, a.self.ID),
		Attachments: []api.Attachment{},
		Problems:    a.problems(applied),
	}
	stats, err := a.datapath.Stats(ctx)
	if err != nil {
		s.Problems = append(s.Problems, fmt.Sprintf("counters of the datapath cannot be read: %v", err))
	}
	for _, at := range stats.Attachments {
		s.Attachments = append(s.Attachments, api.Attachment{Program: at.Program, Device: at.Device, Hook: at.Hook})
	}
	s.Counters = counters(stats)
	s.DNS = a.dnsStatus(t)
	for i := range s.Networks {
		n := &s.Networks[i]
		n.Counters = endpointCounters(stats.Networks[encap.VNI(n.VNI)])
	}
	return s, nil
}

// clusterStatus counts members, and says what is missing from convergence.
func (a *Agent) clusterStatus(applied reconcile.Status) api.ClusterStatus {
	s := api.ClusterStatus{Size: 1, Alive: 1}
	for _, p := range a.cluster.Peers() {
		switch p.Status {
		case member.Alive:
			s.Alive++
		case member.Failed:
			s.Failed++
		}
		if p.LastSync.After(s.LastSync) {
			s.LastSync = p.LastSync
		}
	}
	s.Size = s.Alive + s.Failed
	s.RefusedRows = a.store.Alarms()[store.AlarmForeign]
	s.Converged = true
	switch {
	case !a.cluster.Converged():
		s.Converged, s.Reason = false, "rows that live peers have written are still missing here"
	case !applied.Converged():
		s.Converged, s.Reason = false, "the datapath does not carry all of it yet"
	case applied.Version < a.store.Snapshot().Version():
		s.Converged, s.Reason = false, "the datapath is being changed"
	}
	return s
}

// localNetworks are those with an endpoint on the node.
func localNetworks(t *reconcile.Tables, node string) []api.LocalNetwork {
	counted := make(map[string]api.LocalNetwork)
	for _, e := range t.Endpoints {
		n := counted[e.Network]
		if e.Node == node {
			n.Local++
		} else {
			n.Remote++
		}
		counted[e.Network] = n
	}
	out := []api.LocalNetwork{}
	for id, c := range counted {
		n, ok := t.Networks[id]
		if !ok || c.Local == 0 {
			continue
		}
		c.Name, c.ID, c.VNI, c.MTU = n.Name, n.ID, uint32(n.VNI), n.MTU
		out = append(out, c)
	}
	slices.SortFunc(out, func(x, y api.LocalNetwork) int {
		return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.ID, y.ID))
	})
	return out
}

// problems are lines for the operator, in an order that stays the same.
func (a *Agent) problems(applied reconcile.Status) []string {
	out := []string{}
	if applied.Err != nil {
		out = append(out, fmt.Sprintf("datapath: %v", applied.Err))
	}
	for _, object := range slices.Sorted(maps.Keys(applied.Objects)) {
		out = append(out, fmt.Sprintf("%s: %v", object, applied.Objects[object]))
	}
	for _, alarm := range applied.Alarms {
		out = append(out, alarm.Object+": "+alarm.Text)
	}
	out = append(out, a.gatewayProblems()...)
	out = append(out, nameProblems(a.tables(), a.self.ID)...)
	// Two nodes with one name are among the alarms, failed ones too.
	for _, c := range a.cluster.Conflicts() {
		if c.Kind == cluster.ConflictID {
			out = append(out, fmt.Sprintf("node ID %s runs on two hosts, %v and %v, most likely from a cloned disk: run `ovlctl down` on %v and join it again",
				c.Value, c.Winner.Sync, c.Loser.Sync, c.Loser.Sync))
		}
	}
	raised := a.store.Alarms()
	for _, reason := range slices.Sorted(maps.Keys(raised)) {
		if n := raised[reason]; n > 0 {
			out = append(out, fmt.Sprintf("rows of peers: %s, %d times since the start: see the log", reason, n))
		}
	}
	return out
}

// Peers describes the other hosts.
func (a *Agent) Peers(ctx context.Context) ([]api.Peer, error) {
	stats, err := a.datapath.Stats(ctx)
	if err != nil {
		return nil, fmt.Errorf("counters of the datapath: %w", err)
	}
	t := a.tables()
	out := []api.Peer{}
	for _, p := range a.cluster.Peers() {
		counted := stats.Peers[p.VTEP]
		port, mtu := a.self.VXLANPort, 0
		if row, ok := t.Nodes[p.ID]; ok {
			port, mtu = row.VXLANPort, row.MTU
		}
		out = append(out, api.Peer{
			Name:     p.Name,
			ID:       p.ID,
			VTEP:     netip.AddrPortFrom(p.VTEP, port),
			State:    peerState(p.Status),
			Since:    p.Since,
			Datapath: p.Datapath,
			Version:  p.Version,
			MTU:      mtu,
			PathMTU:  counted.PathMTU,
			LastSync: p.LastSync,
			Sent:     traffic(counted.Sent),
			Received: traffic(counted.Received),
		})
	}
	return out, nil
}

func peerState(s member.Status) api.PeerState {
	switch s {
	case member.Failed:
		return api.PeerFailed
	case member.Left:
		return api.PeerLeft
	}
	return api.PeerAlive
}

// EndpointList returns the endpoints of one network, or of all.
func (a *Agent) EndpointList(_ context.Context, network string) ([]api.Endpoint, error) {
	t := a.tables()
	id := ""
	if network != "" {
		n, err := findNetwork(t, network)
		if err != nil {
			return nil, err
		}
		id = n.ID
	}
	states := a.nodeStates()
	out := []api.Endpoint{}
	for _, e := range t.EndpointsByAge(id) {
		out = append(out, endpointObject(t, e, states(e.Node)))
	}
	slices.SortFunc(out, func(x, y api.Endpoint) int {
		return cmp.Or(cmp.Compare(x.Network, y.Network), cmp.Compare(x.Name, y.Name), cmp.Compare(x.ID, y.ID))
	})
	return out, nil
}

// EndpointInspect returns one endpoint, with its counters if it is on this
// host.
func (a *Agent) EndpointInspect(ctx context.Context, ref string) (api.Endpoint, error) {
	t := a.tables()
	e, err := findEndpoint(t, "", ref)
	if err != nil {
		return api.Endpoint{}, err
	}
	out := endpointObject(t, e, a.nodeStates()(e.Node))
	if e.Node == a.self.ID {
		stats, err := a.datapath.Stats(ctx)
		if err != nil {
			return api.Endpoint{}, fmt.Errorf("counters of the datapath: %w", err)
		}
		c := endpointCounters(stats.Ports[e.Device])
		out.Counters = &c
	}
	return out, nil
}

// nodeStates returns how to look up the state of a node: one that is not in
// the cluster any more has left.
func (a *Agent) nodeStates() func(node string) api.PeerState {
	states := map[string]api.PeerState{a.self.ID: api.PeerAlive}
	for _, p := range a.cluster.Peers() {
		states[p.ID] = peerState(p.Status)
	}
	return func(node string) api.PeerState { return cmp.Or(states[node], api.PeerLeft) }
}

// TokenCreate returns the token of the cluster.
func (a *Agent) TokenCreate(context.Context, api.TokenRequest) (api.Token, error) {
	return api.Token{Token: a.secret.Token(), JoinAddress: a.joinAddress()}, nil
}

// joinAddress is what other hosts give to --join.
func (a *Agent) joinAddress() netip.AddrPort {
	return netip.AddrPortFrom(a.underlay.Addr, a.cluster.Local().SyncPort)
}
