package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/datapathtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a Reconciler over a Fake, in virtual time.
type rig struct {
	*Reconciler
	fake    *datapathtest.Fake
	tables  atomic.Pointer[Tables]
	changes chan struct{}
	// gateways are those of the host, none at first.
	gateways atomic.Pointer[Gateways]
	stop     func()
}

// newRig starts one with endpoint "a" on this host. Call it in a bubble, and
// stop before its end.
func newRig(wrap func(datapath.Datapath) datapath.Datapath) *rig {
	w := newWorld()
	w.node("1", "192.0.2.1")
	w.network("blue", 4096, 1450)
	w.endpoint("a", "blue", "1", "02:00:00:00:00:0a", "10.0.0.2/24")
	r := &rig{fake: datapathtest.NewFake(), changes: make(chan struct{}, 1)}
	r.tables.Store(&w.Tables)
	r.Reconciler = New(Options{
		Datapath: wrap(r.fake),
		Tables:   func() *Tables { return r.tables.Load() },
		Changes:  r.changes,
		Local:    Local{Node: "1", VTEP: netip.MustParseAddr("192.0.2.1"), Port: 4789},
		Gateways: r.gateways.Load,
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx)
	}()
	r.stop = func() {
		cancel()
		<-done
	}
	return r
}

func plain(d datapath.Datapath) datapath.Datapath { return d }

// change makes a snapshot of that version the newest.
func (r *rig) change(version uint64) {
	t := *r.tables.Load()
	t.Version = version
	r.tables.Store(&t)
	select {
	case r.changes <- struct{}{}:
	default:
	}
}

func TestReconcilerRepairs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(plain)
		defer r.stop()
		if err := r.Wait(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if !r.Status().Converged() {
			t.Errorf("status is %+v, want converged", r.Status())
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		states := r.fake.States()
		if len(states) != 3 {
			t.Errorf("applied %d times in 11 s, want 3: at once and every 5 s", len(states))
		}
		for _, s := range states {
			if !s.Equal(states[0]) {
				t.Error("a repair applied another state")
			}
			if &s.Networks[0] != &states[0].Networks[0] {
				t.Error("a repair has built the state again, of the same tables")
			}
		}
	})
}

func TestReconcilerAppliesWhatIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(plain)
		defer r.stop()
		if err := r.Wait(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		w := world{Tables: *r.tables.Load()}
		w.Endpoints = maps.Clone(w.Endpoints)
		w.endpoint("b", "blue", "1", "02:00:00:00:00:0b", "10.0.0.3/24")
		r.tables.Store(&w.Tables)
		r.change(2)
		if err := r.Wait(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		if s, _ := r.fake.Last(); len(s.Networks[0].Ports) != 2 {
			t.Errorf("applied ports %v, want 2", s.Networks[0].Ports)
		}
	})
}

func TestReconcilerWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(plain)
		defer r.stop()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Wait(ctx, 2); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("wait for a version that does not come: %v", err)
		}
		go r.change(2)
		if err := r.Wait(t.Context(), 2); err != nil {
			t.Error(err)
		}
		if v := r.Status().Version; v != 2 {
			t.Errorf("version is %d after the wait, want 2", v)
		}
		r.fake.Break(errors.New("no bpffs"))
		r.change(3)
		if err := r.Wait(t.Context(), 3); err == nil || err.Error() != "no bpffs" {
			t.Errorf("wait returned %v, want the reason of the failure", err)
		}
	})
}

func TestReconcilerRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(plain)
		defer r.stop()
		if err := r.Wait(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		object := datapath.PortObject("ovla")
		r.fake.Fail(object, datapath.ErrNoDevice)
		r.change(2)
		if err := r.Wait(t.Context(), 2); err != nil {
			t.Errorf("one failed object fails the wait: %v", err)
		}
		if err := r.Status().Objects[object]; !errors.Is(err, datapath.ErrNoDevice) {
			t.Errorf("error of %s is %v", object, err)
		}
		before := len(r.fake.States())
		// 100, 200, 400, 800 ms after the failure.
		time.Sleep(1600 * time.Millisecond)
		synctest.Wait()
		if n := len(r.fake.States()) - before; n != 4 {
			t.Errorf("%d retries in 1.6 s, want 4", n)
		}
		r.fake.Fail(object, nil)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if s := r.Status(); !s.Converged() {
			t.Errorf("not converged after the object healed: %v", s.Objects)
		}
	})
}

// slow is a datapath whose Apply takes a second.
type slow struct{ datapath.Datapath }

func (s slow) Apply(ctx context.Context, state datapath.State) error {
	time.Sleep(time.Second)
	return s.Datapath.Apply(ctx, state)
}

func TestReconcilerCoalesces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(func(d datapath.Datapath) datapath.Datapath { return slow{d} })
		defer r.stop()
		synctest.Wait()
		before := len(r.fake.States())
		for v := range uint64(100) {
			r.change(v + 2)
			time.Sleep(time.Millisecond)
		}
		if err := r.Wait(t.Context(), 101); err != nil {
			t.Fatal(err)
		}
		if n := len(r.fake.States()) - before; n > 3 {
			t.Errorf("100 changes in 100 ms made %d passes", n)
		}
	})
}

func TestSplit(t *testing.T) {
	a := &datapath.ObjectError{Object: "port a", Err: errors.New("gone")}
	b := &datapath.ObjectError{Object: "port b", Err: errors.New("busy")}
	whole := errors.New("no memory")
	for _, c := range []struct {
		err     error
		objects int
		rest    bool
	}{
		{nil, 0, false},
		{a, 1, false},
		{whole, 0, true},
		{errors.Join(a, b), 2, false},
		{errors.Join(a, errors.Join(whole, b)), 2, true},
		{fmt.Errorf("apply: %w", errors.Join(a, b)), 2, false},
		{fmt.Errorf("apply: %w", whole), 0, true},
	} {
		objects, rest := split(c.err)
		if len(objects) != c.objects || (rest != nil) != c.rest {
			t.Errorf("split(%v) = %v, %v", c.err, objects, rest)
		}
	}
}

// A pass that only repairs applies the State of before: building it again
// would be most of what an agent does in a large cluster.
func TestReconcilerBuildsOncePerSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(plain)
		defer r.stop()
		synctest.Wait()
		first := r.Status()
		time.Sleep(12 * time.Second)
		again := r.Status()
		if again.At.Equal(first.At) {
			t.Fatal("nothing was applied in between")
		}
		if &again.State.Networks[0] != &first.State.Networks[0] {
			t.Error("the State was built again, from the same tables")
		}
		r.change(2)
		synctest.Wait()
		if now := r.Status(); now.Version != 2 || &now.State.Networks[0] == &first.State.Networks[0] {
			t.Errorf("the State of version %d is still that of version 1", now.Version)
		}
	})
}
