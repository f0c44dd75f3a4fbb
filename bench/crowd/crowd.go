// Package crowd is a member of an ovl cluster that stands for a host with very
// many endpoints. It has the control plane of an agent and no datapath: it
// joins with the token, as any host does, and publishes a row for each
// endpoint that it pretends to have. Store, gossip, synchronisation and
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
	"github.com/ovlnet/ovl/encap"
)

// Options say which endpoints to pretend.
type Options struct {
	// Addr is the underlay address of the host that it runs on.
	Addr netip.Addr
	// Join is a host of the cluster.
	Join string
	// Token is the cluster's.
	Token string
	// Network is the name of the network that the endpoints are on. It has to
	// exist before the crowd joins.
	Network string
	// Endpoints is how many there are. They take the highest addresses of the
	// network's first subnet, which must be theirs to take: the authority
	// hands out the lowest first.
	Endpoints int
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
	all, err := endpoints(s.NodeID(), network, o.Endpoints)
	if err != nil {
		return err
	}
	for some := range slices.Chunk(all, endpointsPerChange) {
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

// endpointsPerChange is how many rows are written at once: an agent writes one
// at a time, and the others begin to take rows in before the last is written.
const endpointsPerChange = 1000

// publish writes the rows of endpoints, as one change.
func publish(s *store.Store, endpoints []store.Endpoint) ([]store.Row, error) {
	return s.Update(func(tx *store.Tx) error {
		for _, e := range endpoints {
			if err := tx.Put(store.TableEndpoint, e.ID, e); err != nil {
				return err
			}
		}
		return nil
	})
}

// endpoints are rows like those that an agent writes for veth pairs.
func endpoints(node string, n store.Network, count int) ([]store.Endpoint, error) {
	if len(n.Subnets) == 0 || !n.Subnets[0].Prefix.Addr().Is4() {
		return nil, fmt.Errorf("network %s has no IPv4 subnet", n.Name)
	}
	prefix := n.Subnets[0].Prefix
	// Half of it is left to those that ask for an address.
	if room := 1 << (32 - prefix.Bits()) / 2; count > room {
		return nil, fmt.Errorf("%d endpoints do not fit into half of %s", count, prefix)
	}
	created := time.Now().UTC().Truncate(time.Millisecond)
	addr := last(prefix) // the broadcast address
	out := make([]store.Endpoint, 0, count)
	for i := range count {
		addr = addr.Prev()
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", node, i))
		id := hex.EncodeToString(sum[:16])
		name := fmt.Sprintf("crowd-%d", i)
		out = append(out, store.Endpoint{
			ID:         id,
			Name:       name,
			Network:    n.ID,
			Node:       node,
			MAC:        encap.MAC{2, sum[16], sum[17], sum[18], sum[19], sum[20]},
			Addrs:      []netip.Prefix{netip.PrefixFrom(addr, prefix.Bits())},
			MTU:        n.MTU,
			Kind:       datapath.Veth,
			Device:     "ovl" + id[:10],
			Netns:      name,
			NetnsInode: 4026532000 + uint64(i),
			IfName:     "eth0",
			Created:    created,
		})
	}
	return out, nil
}

// last returns the highest address of an IPv4 prefix.
func last(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		a[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(a)
}
