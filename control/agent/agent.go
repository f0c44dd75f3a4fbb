// Package agent is the composition root: one host's part in an overlay
// cluster, and what `ovlctl` asks it for.
//
// What flows through it, in order. At the start (Run, open.go):
//
//	validate ─▶ lock ─▶ store ─▶ admission ─▶ own endpoints ─▶ gateways ─▶ datapath
//	         ─▶ cluster ─▶ join ─▶ API socket ─▶ ready
//
// Nothing on the system is touched before the lock is held, and nothing is
// taken out of a datapath that an earlier agent left before the store's rows
// are loaded: the first State that is applied is whole.
//
// While it runs, a request (networks.go, attach.go, detach.go) changes a row,
// the row is on disk, the reconciler brings it into this host's datapath, and
// the cluster spreads it to the peers. Addresses come from each network's
// authority (addresses.go), and each network present here has its gateway
// (gateways.go). What the agent may not do inside of namespaces, its
// caller does (finish.go, caller.go). Devices that go away take their
// endpoints along (watch.go). It ends in one of two ways: stop, after which
// the host goes on forwarding, or Leave (down.go), after which nothing is left.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/cluster"
	"github.com/ovlnet/ovl/control/cluster/trust"
	"github.com/ovlnet/ovl/control/config"
	"github.com/ovlnet/ovl/control/ipam"
	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/link"
	"github.com/ovlnet/ovl/encap"
)

// Hooks are what Run is told beside its configuration.
type Hooks struct {
	// Version of the program, for peers and status.
	Version string
	// Ready is called once, when the agent answers its socket.
	Ready func(Ready)
	// Logger is slog.Default by default.
	Logger *slog.Logger
	// Host is Linux by default.
	Host Host
	// Wire is how peers are reached, the network by default.
	Wire cluster.Wire

	// afterStep is called between the steps of a change, for tests that cut
	// it off there.
	afterStep func(step string)
	// interval is that of anti-entropy and of upkeep, leaseGrace how long a
	// lease may be without an endpoint, and meetTime how long nodes may be
	// silent after the start: shorter in tests.
	interval, leaseGrace, meetTime time.Duration
	// nameServer is package dns's by default.
	nameServer nameServer
	// finishTime is api.FinishTime by default.
	finishTime time.Duration
}

// Ready is what there is to tell the operator when the agent is up.
type Ready struct {
	Name string
	// Founded: this is the first host of a new cluster.
	Founded bool
	// JoinAddress and Token are what other hosts join with.
	JoinAddress netip.AddrPort
	Token       string
	Datapath    datapath.Kind
	// Reason is why it is that datapath.
	Reason string
}

// Agent is a running one. It is the api.Backend of its host.
type Agent struct {
	cfg      config.Config
	hooks    Hooks
	log      *slog.Logger
	host     Host
	started  time.Time
	underlay link.Device
	// maxMTU is the largest inner IP packet that the underlay takes.
	maxMTU int

	store      *store.Store
	view       view
	self       store.Node
	local      reconcile.Local
	secret     trust.Secret
	datapath   OpenedDatapath
	reconciler *reconcile.Reconciler
	addresses  *ipam.Allocator
	cluster    *cluster.Cluster
	claims     claims
	gate       gate
	// loose is since when rows of services lead nowhere, and reviewed are the
	// tables in which they were looked for last; upkeep has both.
	loose      map[store.RowName]time.Time
	reviewed   *reconcile.Tables
	unfinished unfinished
	// resolvers are asked for names of the outside.
	resolvers *hostResolvers
	// holder keeps descriptors for the next agent; nil: nobody does.
	holder   Holder
	gateways gateways
	naming   naming // gateways.mu guards it
	zones    zones
	// resolv are the resolv.conf of endpoints, and resolvFor the gateways that upkeep has
	// last brought them to.
	resolv    *resolvFiles
	resolvFor *reconcile.Gateways
	// reviewing is held while leases and who their authority is may differ.
	reviewing sync.Mutex
	// hadRow holds the endpoints and services whose rows were there at the last review of
	// leases, or at the start. The holder of reviewing has it.
	hadRow map[string]bool
	// granting is held for reading while an address is handed out, and for
	// writing to end that for good: handingOver.
	granting    sync.RWMutex
	handingOver bool

	// ctx is over when the agent's own goroutines have to end; background
	// waits for them.
	ctx        context.Context
	cancel     context.CancelFunc
	background sync.WaitGroup
	closeOnce  sync.Once
	closeErr   error
	// left is closed when Leave has done its work.
	left chan struct{}
	// disowned receives why this host has to stop at once.
	disowned chan error
}

var _ api.Backend = (*Agent)(nil)

// Run is the life of an agent. It returns when ctx ends, leaving the host
// forwarding, or after a Leave, or with what kept it from starting.
func Run(ctx context.Context, cfg config.Config, hooks Hooks) (err error) {
	a, err := prepare(cfg, hooks)
	if err != nil {
		return err
	}

	// The line above which nothing touches the system.

	lock, err := config.Acquire(cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.RemoveRunDir(), lock.Release()) }()
	letGo, err := a.host.Hold()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, letGo()) }()
	founded, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	listener, err := api.Listen(lock)
	if err != nil {
		return err
	}
	serving, stop := context.WithCancel(ctx)
	defer stop()
	served := make(chan error, 1)
	go func() {
		server := api.NewServer(a, api.ServerOptions{Logger: a.log, Version: hooks.Version})
		served <- server.Serve(serving, listener)
	}()
	a.log.Info("agent is up", "name", a.self.Name, "node", a.self.ID, "vtep", a.self.VTEP, "underlay", a.underlay.Name,
		"datapath", a.datapath.Kind, "reason", a.datapath.Reason)
	if hooks.Ready != nil {
		hooks.Ready(Ready{
			Name: a.self.Name, Founded: founded, JoinAddress: a.joinAddress(), Token: a.secret.Token(),
			Datapath: a.datapath.Kind, Reason: a.datapath.Reason,
		})
	}
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
		if a.datapath.Kind == datapath.Userspace {
			a.log.Info("agent stops, packets wait for the next one")
		} else {
			a.log.Info("agent stops, the host goes on forwarding")
		}
	case <-a.left:
	case err := <-a.disowned:
		stop()
		what := "is a copy of another"
		if errors.Is(err, cluster.ErrOutdated) {
			what = "has an older copy of its state"
		}
		return errors.Join(fmt.Errorf("this host %s and stops, so that no address has two owners: %w", what, err), <-served)
	}
	stop()
	return <-served
}

// prepare checks all that can be checked without touching the system.
func prepare(cfg config.Config, hooks Hooks) (*Agent, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Token != "" {
		if _, err := trust.ParseToken(cfg.Token); err != nil {
			return nil, err
		}
	}
	if hooks.Logger == nil {
		hooks.Logger = slog.Default()
	}
	if hooks.Host == nil {
		hooks.Host = Linux{}
	}
	underlay, err := hooks.Host.Underlay(cfg.Advertise)
	if err != nil {
		return nil, fmt.Errorf("underlay: %w", err)
	}
	maxMTU, err := encap.InnerMTU(underlay.MTU, underlay.Addr)
	if err != nil {
		return nil, fmt.Errorf("underlay %s: %w", underlay.Name, err)
	}
	a := &Agent{
		cfg:      cfg,
		hooks:    hooks,
		log:      hooks.Logger,
		host:     hooks.Host,
		started:  time.Now(),
		underlay: underlay,
		maxMTU:   maxMTU,
		left:     make(chan struct{}),
		disowned: make(chan error, 1),
	}
	fixed, err := cfg.ResolverAddresses()
	if err != nil {
		return nil, err
	}
	a.resolv = newResolvFiles(cfg, a.host, a.log)
	a.resolvers = &hostResolvers{fixed: fixed, path: cfg.HostResolvConf(), isGateway: a.isGateway}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	return a, nil
}

// close ends everything that runs, the last opened first. The datapath's
// state in the kernel stays. It may be called twice.
func (a *Agent) close() error {
	a.closeOnce.Do(func() {
		a.gate.shut()
		a.dropUnfinished()
		var errs []error
		if a.cluster != nil {
			errs = append(errs, a.cluster.Close())
		}
		a.cancel()
		a.background.Wait()
		a.closeGateways()
		if a.datapath.Datapath != nil {
			errs = append(errs, a.datapath.Close())
		}
		if a.holder != nil {
			errs = append(errs, a.holder.Close())
		}
		if a.store != nil {
			errs = append(errs, a.store.Close())
		}
		a.closeErr = errors.Join(errs...)
	})
	return a.closeErr
}

// goDo runs f in a goroutine that close waits for.
func (a *Agent) goDo(f func()) {
	a.background.Add(1)
	go func() {
		defer a.background.Done()
		f()
	}()
}
