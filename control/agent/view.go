package agent

import (
	"maps"
	"sync"
	"time"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/control/store"
)

// view keeps the newest snapshot decoded for all who read it, together with
// which nodes the gossip says have failed.
type view struct {
	store *store.Store

	mu     sync.Mutex
	reader reconcile.Reader
	last   *reconcile.Tables
	// failed says which of nodes are known not to be alive; nil while there is
	// no gossip. stale: it may say something else than it did last.
	failed func(nodes map[string]store.Node) map[string]bool
	stale  bool
}

func (v *view) tables() *reconcile.Tables {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.store.Snapshot()
	if v.last != nil && v.last.Version == s.Version() && !v.stale {
		return v.last
	}
	next := *v.reader.Read(s)
	if v.failed != nil {
		next.Failed = v.failed(next.Nodes)
	}
	v.stale = false
	if v.last == nil || v.last.Version != next.Version || !maps.Equal(v.last.Failed, next.Failed) {
		v.last = &next
	}
	return v.last
}

// listen begins to ask for the nodes that have failed.
func (v *view) listen(failed func(map[string]store.Node) map[string]bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.failed, v.stale = failed, true
}

// membersChanged says that other nodes may have failed than before.
func (v *view) membersChanged() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.stale = true
}

// tables returns what the store holds now. Inside update nobody else changes
// it.
func (a *Agent) tables() *reconcile.Tables { return a.view.tables() }

// update changes rows of this node's, durably, and returns them and a version
// that shows them.
func (a *Agent) update(change func(tx *store.Tx) error) ([]store.Row, uint64, error) {
	rows, err := a.store.Update(change)
	if err != nil {
		return nil, 0, err
	}
	return rows, a.store.Snapshot().Version(), nil
}

// now is the time that rows are created at: UTC and to the millisecond, so
// that it is the same after its way through JSON.
func (a *Agent) now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// gate lets requests that change something in until it is shut, and then
// waits for those that are inside.
type gate struct {
	mu     sync.Mutex
	closed bool
	inside sync.WaitGroup
}

// enter returns how to leave again; an error when the gate is shut.
func (g *gate) enter() (leave func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, api.Errorf(api.CodeUnreachable, "the agent is stopping")
	}
	g.inside.Add(1)
	return g.inside.Done, nil
}

// shut reports whether this call is the one that shut it.
func (g *gate) shut() bool {
	g.mu.Lock()
	first := !g.closed
	g.closed = true
	g.mu.Unlock()
	g.inside.Wait()
	return first
}
