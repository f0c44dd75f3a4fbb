// Package apitest has a Backend in memory, for tests of what stands in front
// of an agent: the API's two ends and the command line. It is one host with
// one live and one failed peer, keeps networks and endpoints by the rules of
// the Backend contract, moves no packet, and is deterministic: fixed times,
// IDs that count up.
package apitest

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

// Names of the hosts.
const (
	Node       = "host-a"
	AlivePeer  = "host-b"
	FailedPeer = "host-c"
)

// JoinToken is what TokenCreate returns.
const JoinToken = "ovl1.c2VjcmV0"

// Epoch is when everything was made.
var Epoch = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// Counters are those of every endpoint and network of a Fake.
var Counters = api.EndpointCounters{
	Sent:     api.Traffic{Packets: 12, Bytes: 1100},
	Received: api.Traffic{Packets: 8, Bytes: 800},
	Answered: api.Traffic{Packets: 1, Bytes: 42},
	Dropped:  api.Traffic{Packets: 3, Bytes: 180},
}

// Fake is the backend. Its zero value is ready.
type Fake struct {
	// OnLeave, if set, is called by Leave; its error is Leave's.
	OnLeave func(api.LeaveRequest) (api.LeaveReport, error)

	mu         sync.Mutex
	made       int
	networks   []network
	endpoints  []api.Endpoint
	unfinished []api.Endpoint
	services   []*api.Service
}

var _ api.Backend = (*Fake)(nil)

type network struct {
	api.NetworkRequest
	id  string
	vni encap.VNI
}

// Status implements api.Backend.
func (f *Fake) Status(context.Context) (api.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := api.Status{
		Name: Node, ID: id("a", 0), Version: "v0.1.0", PID: 4242,
		Started: Epoch, Uptime: 93784,
		Datapath:    api.DatapathStatus{Kind: datapath.Kernel, Reason: "eBPF programs loaded and attached"},
		VTEP:        netip.MustParseAddrPort("192.0.2.1:4789"),
		Underlay:    "eth0",
		UnderlayMTU: 1500,
		JoinAddress: netip.MustParseAddrPort("192.0.2.1:7947"),
		Cluster: api.ClusterStatus{
			Size: 3, Alive: 2, Failed: 1, LastSync: Epoch,
			Reason: "host-c is failed: what it wrote last may be missing",
		},
		Attachments: []api.Attachment{{Program: "ovl_from_underlay", Device: "eth0", Hook: "tcx/ingress"}},
		Counters: api.Counters{
			Sent: api.Traffic{Packets: 10, Bytes: 1000}, Received: api.Traffic{Packets: 9, Bytes: 900},
			Drops: map[string]api.Traffic{},
		},
		DNS: &api.DNSStatus{
			Networks: []string{"red"}, Resolvers: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53")},
			Results: map[string]api.DNSResult{
				"answered": {Queries: 7, Microseconds: 350, Buckets: []uint64{4, 3, 0}},
				"negative": {Queries: 2, Microseconds: 90, Buckets: []uint64{2, 0, 0}},
				"failed":   {Buckets: []uint64{0, 0, 0}},
			},
			Bounds: []int64{50, 100}, Cached: 3,
		},
		Problems: []string{"port ovl0000000001: no such interface"},
	}
	for _, r := range datapath.DropReasons() {
		s.Counters.Drops[r.String()] = api.Traffic{}
	}
	s.Counters.Drops[datapath.DropSourceIP.String()] = api.Traffic{Packets: 3, Bytes: 180}
	for _, n := range f.networks {
		if here := f.on(n.id); len(here) > 0 {
			s.Networks = append(s.Networks, api.LocalNetwork{
				Name: n.Name, ID: n.id, VNI: uint32(n.vni), MTU: n.MTU, Local: len(here), Counters: Counters,
			})
		}
	}
	return s, nil
}

// Peers implements api.Backend.
func (f *Fake) Peers(context.Context) ([]api.Peer, error) {
	return []api.Peer{
		{
			Name: AlivePeer, ID: id("b", 0), VTEP: netip.MustParseAddrPort("192.0.2.2:4789"), State: api.PeerAlive,
			Since: Epoch, Datapath: datapath.Kernel, Version: "v0.1.0", MTU: 1500, PathMTU: 1400, LastSync: Epoch,
			Sent: api.Traffic{Packets: 10, Bytes: 1000}, Received: api.Traffic{Packets: 9, Bytes: 900},
		},
		{
			Name: FailedPeer, ID: id("c", 0), VTEP: netip.MustParseAddrPort("192.0.2.3:4789"), State: api.PeerFailed,
			Since: Epoch, Datapath: datapath.Userspace, Version: "v0.1.0", MTU: 9000,
		},
	}, nil
}

// TokenCreate implements api.Backend.
func (f *Fake) TokenCreate(context.Context, api.TokenRequest) (api.Token, error) {
	return api.Token{Token: JoinToken, JoinAddress: netip.MustParseAddrPort("192.0.2.1:7947")}, nil
}

// Leave implements api.Backend.
func (f *Fake) Leave(_ context.Context, r api.LeaveRequest) (api.LeaveReport, error) {
	if f.OnLeave != nil {
		return f.OnLeave(r)
	}
	return api.LeaveReport{}, nil
}

// on returns the endpoints of the network with this ID.
func (f *Fake) on(networkID string) []api.Endpoint {
	return slices.DeleteFunc(slices.Clone(f.endpoints), func(e api.Endpoint) bool { return e.NetworkID != networkID })
}

// id returns the n-th ID of a kind, which has 32 digits like a real one.
func id(kind string, n int) string { return fmt.Sprintf("%s%07d%s", kind, n, strings.Repeat("0", 24)) }

// find returns what ref refers to, by the rule of Backend: names win over the
// beginning of IDs.
func find[T any](all []T, ref string, key func(T) (name, id string)) []T {
	var named, begun []T
	for _, v := range all {
		name, id := key(v)
		switch {
		case name == ref:
			named = append(named, v)
		case len(ref) >= api.MinRef && strings.HasPrefix(id, ref):
			begun = append(begun, v)
		}
	}
	if len(named) > 0 {
		return named
	}
	return begun
}
