package cluster

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/cluster/clustertest"
	"github.com/ovlnet/ovl/control/cluster/member"
	"github.com/ovlnet/ovl/control/cluster/rpc"
)

// Two hosts took one name on the two sides of a partition.
func TestOneNameTwice(t *testing.T) {
	inBubble(t, clustertest.Options{Delay: time.Millisecond}, func(t *testing.T, l *lab) {
		var mu sync.Mutex
		var told []Conflict
		a := l.start(func(o *Options) {
			o.Name = "twin"
			o.OnConflict = func(c Conflict) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, c)
			}
		})
		b, c := l.start(), l.start()
		b.join(a)
		c.join(a)
		l.eventually(5*time.Second, "tables alike", func() bool { return alike(l.all) })
		l.hub.Partition([]string{a.id}, []string{b.id, c.id})
		l.eventually(10*time.Second, "a is seen to fail", func() bool { return b.status(a) == member.Failed })
		d := l.start(func(o *Options) { o.Name = "twin" })
		l.hub.Partition([]string{a.id}, []string{b.id, c.id, d.id})
		d.join(b)
		l.hub.Partition()
		want := Conflict{
			Kind: ConflictName, Value: "twin",
			Winner: Claimant{a.id, netip.AddrPortFrom(a.addr, 7947)}, Loser: Claimant{d.id, netip.AddrPortFrom(d.addr, 7947)},
		}
		l.eventually(time.Minute, "all name one winner", func() bool {
			for _, n := range l.all {
				if !slices.Equal(n.Conflicts(), []Conflict{want}) {
					return false
				}
			}
			return alike(l.all)
		})
		mu.Lock()
		if !slices.Equal(told, []Conflict{want}) {
			t.Errorf("a was told %+v", told)
		}
		mu.Unlock()

		// A newcomer with a name that is taken is turned away.
		e := l.start(func(o *Options) { o.Name = "host-2" })
		err := e.Join(t.Context(), []string{c.addr.String()})
		if !rpc.IsCode(err, CodeNameInUse) || !strings.Contains(err.Error(), b.addr.String()) {
			t.Errorf("second host-2: %v", err)
		}
	})
}

// clash puts a Clash into a host's events as the gossip would.
type clash struct {
	member.Membership
	events chan member.Event
}

func (c *clash) Events() <-chan member.Event { return c.events }

func (c *clash) Close() error {
	err := c.Membership.Close()
	close(c.events)
	return err
}

type clashWire struct {
	Wire
	membership *clash
}

func (w *clashWire) Membership(l member.Local) (member.Membership, error) {
	m, err := w.Wire.Membership(l)
	w.membership.Membership = m
	return w.membership, err
}

// An ID at two addresses is a conflict only if two hosts answer.
func TestOneIDTwice(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, l *lab) {
		a, b := l.start(), l.start()
		watch := &clash{events: make(chan member.Event)}
		c := l.start()
		c.crash()
		// c again, with events under this test's control.
		c.upWith(&clashWire{l.hub.Wire(c.addr), watch})

		at := func(n *node) netip.AddrPort { return netip.AddrPortFrom(n.addr, 7947) }
		claim := member.Member{Local: member.Local{ID: a.id, Addr: a.addr, SyncPort: 7947}, Status: member.Alive}
		moved := member.Event{Kind: member.Clash, Member: claim, Other: netip.MustParseAddrPort("10.9.9.9:7947")}
		watch.events <- moved
		other := member.Event{Kind: member.Clash, Member: claim, Other: at(b)}
		watch.events <- other // b answers, with another ID
		time.Sleep(10 * time.Second)
		if got := c.Conflicts(); len(got) != 0 {
			t.Errorf("a host that moved is a conflict: %+v", got)
		}

		clone := l.start(func(o *Options) { o.Name = "clone" })
		clone.crash()
		clone.id, clone.path = a.id, clone.path+"-clone"
		clone.up()
		watch.events <- member.Event{Kind: member.Clash, Member: claim, Other: at(clone)}
		want := Conflict{Kind: ConflictID, Value: a.id, Winner: Claimant{a.id, at(a)}, Loser: Claimant{a.id, at(clone)}}
		l.eventually(10*time.Second, "clone is reported", func() bool { return slices.Equal(c.Conflicts(), []Conflict{want}) })
		time.Sleep(2 * conflictMemory)
		if got := c.Conflicts(); len(got) != 0 {
			t.Errorf("not forgotten: %+v", got)
		}
		if err := clone.Join(context.Background(), []string{a.addr.String()}); !rpc.IsCode(err, CodeIDInUse) {
			t.Errorf("clone joins: %v", err)
		}
	})
}
