package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ovlnet/ovl/control/cluster/member"
	"github.com/ovlnet/ovl/control/cluster/rpc"
	"github.com/ovlnet/ovl/control/cluster/trust"
	"github.com/ovlnet/ovl/control/store"
)

// Protocol is the version of what hosts say to each other, gossip and sync
// together. Hosts of different versions refuse each other by name.
const Protocol = 1

// DefaultSyncPort is meant where an address to join has no port.
const DefaultSyncPort = 7947

// Options are for Start.
type Options struct {
	// Store holds the tables, and this host's node row before Start. It
	// stays open until after Close.
	Store *store.Store
	// Secret is the cluster's.
	Secret trust.Secret
	// Name is this host's, at most member.MaxNameLen bytes.
	Name string
	// Addr is the underlay address at which this host gossips, syncs and
	// takes VXLAN.
	Addr netip.Addr
	// GossipPort and SyncPort; zero picks a free one.
	GossipPort, SyncPort uint16

	// Applied returns when the datapath carries everything that was in the
	// store at the time of the call, or with ctx. Default: at once.
	Applied func(ctx context.Context) error
	// OnMembers is told, one call at a time, that Statuses may be others than
	// before. It must not block. Default: nobody is.
	OnMembers func()
	// OnConflict is told of each new Conflict, one call at a time. It must
	// not block. Default: conflicts are only logged and listed.
	OnConflict func(Conflict)
	// OnDisowned is told, once, that this host is no member and has to stop:
	// another host runs with its node ID and is the one that stays, this one
	// being most likely a copy of its disk; or ErrOutdated. It must not block.
	// Default: only logged.
	OnDisowned func(error)
	// Handlers answer Call from other hosts from the first moment on; see
	// Handle for more of them later.
	Handlers map[string]HandlerFunc
	// Interval is the mean time between two rounds of anti-entropy. Default 3 s.
	Interval time.Duration
	// Logger defaults to slog.Default.
	Logger *slog.Logger
	// Wire is how other hosts are reached. Default: Serf and HTTP/2 at Addr.
	Wire Wire
}

func (o Options) withDefaults() Options {
	if o.Applied == nil {
		o.Applied = func(context.Context) error { return nil }
	}
	if o.OnMembers == nil {
		o.OnMembers = func() {}
	}
	if o.OnConflict == nil {
		o.OnConflict = func(Conflict) {}
	}
	if o.OnDisowned == nil {
		o.OnDisowned = func(error) {}
	}
	if o.Interval == 0 {
		o.Interval = 3 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Wire == nil {
		o.Wire = network{o}
	}
	return o
}

// Cluster is this host's part in the cluster. All methods may be called
// concurrently.
type Cluster struct {
	opt       Options
	log       *slog.Logger
	store     *store.Store
	local     member.Local
	nonce     string // tells this process from another with the same node ID
	members   member.Membership
	transport rpc.Transport
	mux       *rpc.Mux

	peers     *peers
	outbox    *outbox
	inbox     *inbox
	syncer    *syncer
	conflicts *conflicts

	ctx    context.Context // over when Close begins
	cancel context.CancelFunc
	wg     sync.WaitGroup

	left      atomic.Bool // Leave has begun
	closeOnce sync.Once
	closeErr  error
}

// Start makes this host a member of a cluster of its own; Join makes it one of
// a larger cluster. Hosts that were known when the store was last open are
// looked for in the background. ctx bounds the start only.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	o = o.withDefaults()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	known, err := loadPeers(o.Store)
	if err != nil {
		return nil, err
	}
	c := &Cluster{
		opt:       o,
		log:       o.Logger,
		store:     o.Store,
		nonce:     rand.Text(),
		mux:       rpc.NewMux(o.Logger),
		peers:     newPeers(known),
		outbox:    newOutbox(),
		inbox:     newInbox(),
		syncer:    newSyncer(),
		conflicts: newConflicts(),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.register()

	if c.transport, err = o.Wire.Transport(o.Store.NodeID()); err != nil {
		c.cancel()
		return nil, err
	}
	c.local = member.Local{
		ID:          o.Store.NodeID(),
		Name:        o.Name,
		Addr:        o.Addr,
		GossipPort:  o.GossipPort,
		SyncPort:    c.transport.Addr().Port(),
		Incarnation: o.Store.Incarnation(),
		Protocol:    Protocol,
	}
	if c.members, err = o.Wire.Membership(c.local); err != nil {
		c.cancel()
		return nil, errors.Join(err, c.transport.Close())
	}
	for _, m := range c.members.Members() {
		if m.ID == c.local.ID {
			c.local.GossipPort = m.GossipPort
		}
	}
	c.transport.Serve(c.mux.Handle)
	for _, run := range []func(){c.runEvents, c.runInbox, c.runOutbox, c.runSyncer, c.runRejoin} {
		c.goDo(run)
	}
	return c, nil
}

// Local says how the others know this host, with the ports really taken.
func (c *Cluster) Local() member.Local { return c.local }

// goDo runs f in a goroutine that Close waits for.
func (c *Cluster) goDo(f func()) {
	c.wg.Add(1)
	go func() {
		defer c.wg.Done()
		f()
	}()
}

// Leave ends this host's membership for good. The caller has tombstoned the
// host's own rows; Leave brings them to every live peer, then says good-bye.
// What ctx cuts off costs the others only delay, or shows this host as failed.
// Close comes after it.
func (c *Cluster) Leave(ctx context.Context) error {
	c.left.Store(true)
	c.pushMissing(ctx)
	var errs []error
	if err := c.members.Leave(ctx); err != nil {
		errs = append(errs, err)
	}
	if err := savePeers(c.store, nil); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Close stops without a word, as for a restart: the others see a failure if it
// lasts. It may be called twice, and at any time.
func (c *Cluster) Close() error {
	c.closeOnce.Do(func() {
		c.cancel()
		// The gossip first: it feeds everything else, and its end closes the
		// channel of events.
		c.closeErr = c.members.Close()
		c.wg.Wait()
		c.keepPeers()
		if err := c.transport.Close(); err != nil {
			c.closeErr = errors.Join(c.closeErr, fmt.Errorf("close sync port: %w", err))
		}
	})
	return c.closeErr
}
