package agent

import (
	"sync"
	"time"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/control/store"
)

// view keeps the newest snapshot decoded for all who read it.
type view struct {
	store *store.Store

	mu     sync.Mutex
	reader reconcile.Reader
	last   *reconcile.Tables
}

func (v *view) tables() *reconcile.Tables {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.store.Snapshot()
	if v.last == nil || v.last.Version != s.Version() {
		v.last = v.reader.Read(s)
	}
	return v.last
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
