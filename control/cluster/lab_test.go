package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ovlnet/ovl/control/cluster/clustertest"
	"github.com/ovlnet/ovl/control/cluster/member"
	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/datapath"
)

// fataler is what a lab needs of *testing.T and of *rapid.T.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
}

// lab is hosts on a Hub, in the virtual time of its bubble.
type lab struct {
	t   fataler
	hub *clustertest.Hub
	dir string
	all []*node
}

// node is a host over all its starts.
type node struct {
	lab  *lab
	id   string
	addr netip.Addr
	path string
	opt  Options // what newNode does not set

	store *store.Store
	*Cluster
}

// inBubble runs f with a lab, and stops the lab's hosts after it.
func inBubble(t *testing.T, o clustertest.Options, f func(t *testing.T, l *lab)) {
	t.Helper()
	dir := memoryDir(t)
	synctest.Test(t, func(t *testing.T) {
		l := &lab{t: t, hub: clustertest.NewHub(o), dir: dir}
		defer l.close()
		f(t, l)
	})
}

// memoryDir is a folder whose files cost no disk time: hundreds of stores in
// one test are not about the disk.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "ovl-cluster-test-*")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (l *lab) close() {
	for _, n := range l.all {
		n.crash()
	}
	// Timers of the hub that still run find hosts that are gone.
	synctest.Wait()
}

// start adds a host that is alone.
func (l *lab) start(change ...func(*Options)) *node {
	l.t.Helper()
	i := len(l.all) + 1
	return l.startAt(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), change...)
}

// startAt is start with an address that the test picks.
func (l *lab) startAt(addr netip.Addr, change ...func(*Options)) *node {
	l.t.Helper()
	i := len(l.all) + 1
	n := &node{
		lab:  l,
		id:   fmt.Sprintf("%032x", i),
		addr: addr,
		path: filepath.Join(l.dir, fmt.Sprintf("%d.db", i)),
		opt:  Options{Name: fmt.Sprintf("host-%d", i)},
	}
	for _, f := range change {
		f(&n.opt)
	}
	l.all = append(l.all, n)
	n.up()
	return n
}

// cluster starts n hosts that join the first.
func (l *lab) cluster(n int) []*node {
	l.t.Helper()
	first := l.start()
	for range n - 1 {
		l.start().join(first)
	}
	return l.all
}

func (n *node) up() {
	n.lab.t.Helper()
	n.upWith(n.lab.hub.Wire(n.addr))
}

func (n *node) upWith(wire Wire) {
	n.lab.t.Helper()
	s, err := store.Open(n.path, store.Options{NodeID: n.id, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		n.lab.t.Fatalf("open store of %s: %v", n.opt.Name, err)
	}
	n.store = s
	row := store.Node{ID: n.id, Name: n.opt.Name, VTEP: n.addr, Datapath: datapath.Kernel, Version: "test", Started: time.Now()}
	if _, err := s.Put(store.TableNode, n.id, row); err != nil {
		n.lab.t.Fatalf("node row of %s: %v", n.opt.Name, err)
	}
	o := n.opt
	o.Store, o.Addr, o.Wire, o.Logger = s, n.addr, wire, slog.New(slog.DiscardHandler)
	if n.Cluster, err = Start(context.Background(), o); err != nil {
		n.lab.t.Fatalf("start %s: %v", n.opt.Name, err)
	}
}

// crash stops a host without a word; up starts it again from its disk.
func (n *node) crash() {
	if n.Cluster == nil {
		return
	}
	if err := errors.Join(n.Close(), n.store.Close()); err != nil {
		n.lab.t.Fatalf("stop %s: %v", n.opt.Name, err)
	}
	n.Cluster = nil
}

func (n *node) join(seed *node) {
	n.lab.t.Helper()
	if err := n.Join(context.Background(), []string{seed.addr.String()}); err != nil {
		n.lab.t.Fatalf("%s: %v", n.opt.Name, err)
	}
}

// write puts a row and spreads it, as the agent does.
func (n *node) write(key string, value any) {
	n.lab.t.Helper()
	row, err := n.store.Put(store.TableNetwork, key, value)
	if err != nil {
		n.lab.t.Fatalf("write at %s: %v", n.opt.Name, err)
	}
	n.Spread(context.Background(), []store.Row{row})
}

// table renders the rows of a host, for comparison.
func (n *node) table() string {
	var b strings.Builder
	for _, t := range []string{store.TableNode, store.TableNetwork} {
		for row := range n.store.Snapshot().All(t) {
			text, err := json.Marshal(row)
			if err != nil {
				n.lab.t.Fatalf("render: %v", err)
			}
			b.Write(append(text, '\n'))
		}
	}
	return b.String()
}

func (n *node) has(key string) bool {
	_, ok := n.store.Snapshot().Get(store.TableNetwork, key)
	return ok
}

func (n *node) status(of *node) member.Status {
	for _, p := range n.Peers() {
		if p.ID == of.id {
			return p.Status
		}
	}
	return ""
}

// eventually waits until ok, and returns after how long.
func (l *lab) eventually(limit time.Duration, what string, ok func() bool) time.Duration {
	l.t.Helper()
	begin := time.Now()
	for !ok() {
		if time.Since(begin) >= limit {
			l.t.Fatalf("not within %s: %s", limit, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(begin)
}

// alike reports whether hosts have the same tables.
func alike(nodes []*node) bool {
	for _, n := range nodes[1:] {
		if !n.store.Vector().Equal(nodes[0].store.Vector()) {
			return false
		}
	}
	first := nodes[0].table()
	return !slices.ContainsFunc(nodes[1:], func(n *node) bool { return n.table() != first })
}

func allHave(nodes []*node, key string) func() bool {
	return func() bool {
		for _, n := range nodes {
			if !n.has(key) {
				return false
			}
		}
		return true
	}
}

func ids(nodes []*node) []string {
	var out []string
	for _, n := range nodes {
		out = append(out, n.id)
	}
	return out
}
