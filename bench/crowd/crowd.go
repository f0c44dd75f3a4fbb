// Package crowd is a member of an ovl cluster that stands for a host with very
// many endpoints, or for people who make very many services. It has the control plane of an agent and no datapath: it
// joins with the token, as any host does, and publishes a row for each
// endpoint that it pretends to have, and two for each service. Store, gossip, synchronisation and
// everything at the other hosts are the real thing, so what their tables hold,
// and what that costs, is what a cluster of that size brings about.
//
//	bench ── token ──▶ crowd ── join, sync ──▶ agents of the measured hosts
//	      ◀─ "publishing", "published" ─┘
//
// It is a process of its own (process.go), because a network namespace is that
// of a process's sockets.
package crowd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"github.com/ovlnet/ovl/control/cluster"
	"github.com/ovlnet/ovl/control/cluster/trust"
	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/balance"
	"github.com/ovlnet/ovl/encap"
)

// Options say which endpoints and services to pretend.
type Options struct {
	// Addr is the underlay address of the host that it runs on.
	Addr netip.Addr
	// Join is a host of the cluster.
	Join string
	// Token is the cluster's.
	Token string
	// Network is the name of the network that they are on. It has to exist
	// before the crowd joins.
	Network string
	// Endpoints is how many there are. They take the highest addresses of the
	// network's first subnet, which must be theirs to take: the authority
	// hands out the lowest first.
	Endpoints int
	// Services is how many there are, called ServiceName. Their VIPs are below
	// the endpoints' addresses.
	Services int
	// Backend is the name of the one endpoint that all of them lead to. It has
	// to exist before the crowd joins.
	Backend string
	// Dir is a folder for its state.
	Dir string
	// Log gets the cluster's warnings.
	Log io.Writer
}

// What Run tells while it goes on.
const (
	// Publishing: it is a member, and begins to write the rows.
	Publishing = "publishing"
	// Published: the rows are on disk, and the others have been told.
	Published = "published"
)

// Run is a member until ctx ends, which is without a word, as for a host that
// lost its power.
func Run(ctx context.Context, o Options, tell func(string)) (err error) {
	secret, err := trust.ParseToken(o.Token)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(o.Log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := store.Open(filepath.Join(o.Dir, "crowd.db"), store.Options{Owner: store.OwnerOf, Logger: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	name := "crowd-" + s.NodeID()[:8]
	if _, err := s.Put(store.TableNode, s.NodeID(), store.Node{
		ID:        s.NodeID(),
		Name:      name,
		VTEP:      o.Addr,
		VXLANPort: vxlanPort,
		MTU:       underlayMTU,
		Datapath:  datapath.Kernel,
		Version:   "crowd",
		Started:   time.Now().UTC(),
	}); err != nil {
		return fmt.Errorf("row of this node: %w", err)
	}
	c, err := cluster.Start(ctx, cluster.Options{Store: s, Secret: secret, Name: name, Addr: o.Addr, Logger: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := c.Join(ctx, []string{o.Join}); err != nil {
		return err
	}
	network, err := find(s.Snapshot(), o.Network)
	if err != nil {
		return err
	}
	tell(Publishing)
	free, err := addresses(network, o.Endpoints+o.Services)
	if err != nil {
		return err
	}
	all := endpoints(s.NodeID(), network, free[:o.Endpoints])
	if o.Services > 0 {
		backend, err := findEndpoint(s.Snapshot(), network.ID, o.Backend)
		if err != nil {
			return err
		}
		all = append(all, services(s.NodeID(), network, backend, free[o.Endpoints:])...)
	}
	for some := range slices.Chunk(all, rowsPerChange) {
		rows, err := publish(s, some)
		if err != nil {
			return err
		}
		c.Spread(ctx, rows)
	}
	tell(Published)
	<-ctx.Done()
	return nil
}

const (
	vxlanPort   = 4789
	underlayMTU = 1500
)

// find returns the network of that name.
func find(snap *store.Snapshot, name string) (store.Network, error) {
	for row := range snap.All(store.TableNetwork) {
		var n store.Network
		if err := row.Decode(&n); err != nil {
			return store.Network{}, err
		}
		if n.Name == name {
			return n, nil
		}
	}
	return store.Network{}, fmt.Errorf("there is no network %s", name)
}

// findEndpoint returns the endpoint of that name on a network.
func findEndpoint(snap *store.Snapshot, network, name string) (store.Endpoint, error) {
	for row := range snap.All(store.TableEndpoint) {
		var e store.Endpoint
		if err := row.Decode(&e); err != nil {
			return store.Endpoint{}, err
		}
		if e.Network == network && e.Name == name {
			return e, nil
		}
	}
	return store.Endpoint{}, fmt.Errorf("there is no endpoint %s", name)
}

// rowsPerChange is how many rows are written at once: an agent writes one or
// two at a time, and the others begin to take rows in before the last is
// written.
const rowsPerChange = 1000

// row is what is to be written.
type row struct {
	table, key string
	value      any
}

// publish writes rows, as one change.
func publish(s *store.Store, rows []row) ([]store.Row, error) {
	return s.Update(func(tx *store.Tx) error {
		for _, r := range rows {
			if err := tx.Put(r.table, r.key, r.value); err != nil {
				return err
			}
		}
		return nil
	})
}

// addresses returns the highest ones of the network's first subnet, the last
// one first.
func addresses(n store.Network, count int) ([]netip.Addr, error) {
	if len(n.Subnets) == 0 || !n.Subnets[0].Prefix.Addr().Is4() {
		return nil, fmt.Errorf("network %s has no IPv4 subnet", n.Name)
	}
	prefix := n.Subnets[0].Prefix
	// Half of it is left to those that ask for an address.
	if room := 1 << (32 - prefix.Bits()) / 2; count > room {
		return nil, fmt.Errorf("%d addresses do not fit into half of %s", count, prefix)
	}
	addr := last(prefix) // the broadcast address
	out := make([]netip.Addr, 0, count)
	for range count {
		addr = addr.Prev()
		out = append(out, addr)
	}
	return out, nil
}

// endpoints are rows like those that an agent writes for veth pairs.
func endpoints(node string, n store.Network, addrs []netip.Addr) []row {
	created := time.Now().UTC().Truncate(time.Millisecond)
	out := make([]row, 0, len(addrs))
	for i, addr := range addrs {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", node, i))
		id := hex.EncodeToString(sum[:16])
		name := EndpointName(i)
		out = append(out, row{store.TableEndpoint, id, store.Endpoint{
			ID:         id,
			Name:       name,
			Network:    n.ID,
			Node:       node,
			MAC:        encap.MAC{2, sum[16], sum[17], sum[18], sum[19], sum[20]},
			Addrs:      []netip.Prefix{netip.PrefixFrom(addr, n.Subnets[0].Prefix.Bits())},
			MTU:        n.MTU,
			Kind:       datapath.Veth,
			Device:     "ovl" + id[:10],
			Netns:      name,
			NetnsInode: 4026532000 + uint64(i),
			IfName:     "eth0",
			Created:    created,
		}})
	}
	return out
}

// EndpointName is what the i-th endpoint is called, from 0.
func EndpointName(i int) string { return fmt.Sprintf("crowd-%d", i) }

// ServiceName is what the i-th service is called, from 0.
func ServiceName(i int) string { return fmt.Sprintf("crowd-%d", i) }

// services are rows like those that an agent writes for a service for every
// port, and for its backend.
func services(node string, n store.Network, backend store.Endpoint, vips []netip.Addr) []row {
	created := time.Now().UTC().Truncate(time.Millisecond)
	out := make([]row, 0, 2*len(vips))
	for i, vip := range vips {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s service %d", node, i))
		id := hex.EncodeToString(sum[:16])
		out = append(out,
			row{store.TableService, id, store.Service{
				ID:        id,
				Name:      ServiceName(i),
				Network:   n.ID,
				Created:   created,
				VIPs:      []netip.Addr{vip},
				TableSize: balance.DefaultSize,
			}},
			row{store.TableBackend, store.BackendKey(id, backend.ID), store.Backend{Node: backend.Node, Weight: 1}},
		)
	}
	return out
}

// last returns the highest address of an IPv4 prefix.
func last(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		a[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(a)
}
