// Package datapathtest holds what tests of and around a datapath need: the
// conformance suite that every datapath passes (Run), a Fake that moves nothing,
// and what builds frames.
package datapathtest

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/ovlnet/ovl/datapath"
)

// Fake is a datapath that moves nothing and remembers what it was told. Its
// methods may be called from any goroutine.
type Fake struct {
	mu      sync.Mutex
	applied []datapath.State
	failing map[string]error
	broken  error
	stats   datapath.Stats
	flows   []datapath.Flow
	closed  bool
	calls   chan datapath.State
}

var _ datapath.Datapath = (*Fake)(nil)

// ErrClosed is what a Fake answers after Close.
var ErrClosed = errors.New("datapath is closed")

// applyBacklog is how many applied states wait in Applied before the oldest
// is forgotten.
const applyBacklog = 64

// NewFake returns a datapath that takes every State.
func NewFake() *Fake {
	return &Fake{
		failing: make(map[string]error),
		calls:   make(chan datapath.State, applyBacklog),
		stats: datapath.Stats{
			Drops: make(map[datapath.DropReason]datapath.Counter),
			Peers: make(map[netip.Addr]datapath.PeerCounter),
		},
	}
}

// Apply records s. It returns what Fail and Break asked for.
func (f *Fake) Apply(ctx context.Context, s datapath.State) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return ErrClosed
	}
	if f.broken != nil {
		return f.broken
	}
	f.applied = append(f.applied, s)
	f.announceLocked(s)
	var errs []error
	for object := range Objects(s) {
		if err := f.failing[object]; err != nil {
			errs = append(errs, &datapath.ObjectError{Object: object, Err: err})
		}
	}
	return errors.Join(errs...)
}

// announceLocked puts s into the channel of Applied and drops the oldest
// State rather than wait for a reader.
func (f *Fake) announceLocked(s datapath.State) {
	for {
		select {
		case f.calls <- s:
			return
		default:
		}
		select {
		case <-f.calls:
		default:
		}
	}
}

// Objects yields the names of the objects of s, as a Fake's ObjectErrors use
// them: "port DEVICE" and "remote MAC of VNI N".
func Objects(s datapath.State) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, n := range s.Networks {
			for _, p := range n.Ports {
				if !yield(datapath.PortObject(p.Device)) {
					return
				}
			}
			for _, r := range n.Remotes {
				if !yield(datapath.RemoteObject(r.MAC, n.VNI)) {
					return
				}
			}
		}
	}
}

// Fail makes every later Apply that wants object report err for it. A nil err
// heals it.
func (f *Fake) Fail(object string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		delete(f.failing, object)
		return
	}
	f.failing[object] = err
}

// Break makes every later Apply fail as a whole, recording nothing. A nil err
// heals it.
func (f *Fake) Break(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken = err
}

// Applied receives each State that Apply takes; the oldest are dropped when
// nobody reads.
func (f *Fake) Applied() <-chan datapath.State { return f.calls }

// States returns every State applied so far.
func (f *Fake) States() []datapath.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]datapath.State(nil), f.applied...)
}

// Last returns the State applied last, and false when there was none.
func (f *Fake) Last() (datapath.State, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.applied) == 0 {
		return datapath.State{}, false
	}
	return f.applied[len(f.applied)-1], true
}

// SetStats sets what Stats returns from now on.
func (f *Fake) SetStats(s datapath.Stats) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stats = s
}

// Stats returns what SetStats set.
func (f *Fake) Stats(ctx context.Context) (datapath.Stats, error) {
	if err := ctx.Err(); err != nil {
		return datapath.Stats{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return datapath.Stats{}, ErrClosed
	}
	s := f.stats
	s.Drops = maps.Clone(s.Drops)
	s.Peers = maps.Clone(s.Peers)
	s.Ports = maps.Clone(s.Ports)
	s.Networks = maps.Clone(s.Networks)
	return s, nil
}

// SetFlows sets what Flows returns from now on.
func (f *Fake) SetFlows(flows []datapath.Flow) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flows = slices.Clone(flows)
}

// Flows returns what SetFlows set.
func (f *Fake) Flows(ctx context.Context) ([]datapath.Flow, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, ErrClosed
	}
	return slices.Clone(f.flows), nil
}

// Close makes every later call but Close fail.
func (f *Fake) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return nil
}

// Closed reports whether Close was called.
func (f *Fake) Closed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}
