package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/control/config"
	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/control/resolvconf"
	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/link"
)

// resolvFiles keeps the resolv.conf of what is attached to this host as the tables
// say. Nothing is remembered of them but what is on disk, and so it is the same
// whatever has happened in between:
//
//	attach, detach, withdraw    review: the files of these endpoints' namespaces
//	start                       reviewAll: all that there should be, and all that there are
//	leave, purge                clear: all that there are
type resolvFiles struct {
	cfg   config.Config
	host  Host
	log   *slog.Logger
	named resolvconf.Named
	// one review at a time: the last one has the newest tables.
	mu sync.Mutex
}

func newResolvFiles(cfg config.Config, host Host, log *slog.Logger) *resolvFiles {
	return &resolvFiles{cfg: cfg, host: host, log: log, named: resolvconf.NewNamed(cfg.NetnsDir(), cfg.Instance)}
}

// resolvPlace is where a resolv.conf can be.
type resolvPlace struct {
	// netns is the name of a namespace; or else pid is a process, in the network
	// namespace of that inode as long as it is the one that was meant.
	netns string
	pid   int
	inode uint64
}

func (p resolvPlace) String() string {
	if p.netns != "" {
		return "network namespace " + p.netns
	}
	return fmt.Sprintf("process %d", p.pid)
}

// resolvPlaceOf returns where an endpoint wants one, if anywhere: a path is no name,
// and processes are only given one if that was asked for.
func resolvPlaceOf(e store.Endpoint) (resolvPlace, bool) {
	switch {
	case e.Kind == datapath.TAP:
	case e.PID != 0 && e.ResolvConf:
		return resolvPlace{pid: e.PID, inode: e.NetnsInode}, true
	case e.Netns != "" && !strings.Contains(e.Netns, "/") && !strings.HasPrefix(e.Netns, "."):
		return resolvPlace{netns: e.Netns}, true
	}
	return resolvPlace{}, false
}

// resolvFile is one as it should be.
type resolvFile struct {
	text    string
	replace bool
	// inodes are the network namespaces that it speaks of: one, but in the moment in which
	// another one has come by the name of one that is gone.
	inodes []uint64
}

// wantedResolvFiles returns all that endpoints of a node should have. answers says which
// networks are answered for here.
func wantedResolvFiles(t *reconcile.Tables, node, mark string, answers func(store.Network) bool) map[resolvPlace]resolvFile {
	own := t.EndpointsOf(node) // in the order in which they were attached
	networks := make(map[uint64][]resolvconf.Network)
	for _, e := range own {
		if n, there := t.Networks[e.Network]; there && e.Kind != datapath.TAP && answers(n) {
			networks[e.NetnsInode] = append(networks[e.NetnsInode], resolvconf.Network{Name: n.Name, Servers: gatewaysOf(n, e)})
		}
	}
	out := make(map[resolvPlace]resolvFile)
	for _, e := range own {
		if p, wanted := resolvPlaceOf(e); wanted {
			f := out[p]
			f.replace = f.replace || e.ResolvConf
			if !slices.Contains(f.inodes, e.NetnsInode) {
				f.inodes = append(f.inodes, e.NetnsInode)
			}
			out[p] = f
		}
	}
	for p, f := range out {
		var on []resolvconf.Network
		for _, inode := range f.inodes {
			on = append(on, networks[inode]...)
		}
		if f.text = resolvconf.Text(mark, on); f.text == "" {
			delete(out, p)
			continue
		}
		out[p] = f
	}
	return out
}

// gatewaysOf returns the gateways of the subnets that an endpoint has an address in, IPv4
// first.
func gatewaysOf(n store.Network, e store.Endpoint) []netip.Addr {
	var out []netip.Addr
	for _, s := range n.Subnets {
		has := func(p netip.Prefix) bool { return s.Prefix.Contains(p.Addr()) }
		if s.Gateway.IsValid() && slices.ContainsFunc(e.Addrs, has) {
			out = append(out, s.Gateway)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// review brings the files that speak of the namespaces of endpoints, which may be gone, to what
// wanted returns. It goes on past what fails, and returns what did by its place.
func (r *resolvFiles) review(wanted func() map[resolvPlace]resolvFile, endpoints ...store.Endpoint) map[resolvPlace]error {
	r.mu.Lock()
	defer r.mu.Unlock()
	files := wanted()
	about := make(map[resolvPlace]bool)
	inodes := make(map[uint64]bool)
	for _, e := range endpoints {
		if p, ok := resolvPlaceOf(e); ok {
			about[p] = true
		}
		if e.Kind != datapath.TAP {
			inodes[e.NetnsInode] = true
		}
	}
	for p, f := range files {
		if slices.ContainsFunc(f.inodes, func(inode uint64) bool { return inodes[inode] }) {
			about[p] = true
		}
	}
	return r.bring(about, files)
}

// reviewAll does so with all files, those included that an earlier agent has left.
func (r *resolvFiles) reviewAll(files map[resolvPlace]resolvFile) map[resolvPlace]error {
	r.mu.Lock()
	defer r.mu.Unlock()
	about := make(map[resolvPlace]bool)
	for p := range files {
		about[p] = true
	}
	there, err := r.list()
	if err != nil {
		r.log.Warn("resolv.conf of earlier endpoints cannot be found", "err", err)
	}
	for _, p := range there {
		about[p] = true
	}
	return r.bring(about, files)
}

// clear removes all files.
func (r *resolvFiles) clear() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	there, err := r.list()
	errs := []error{err}
	for _, p := range there {
		if err := r.remove(p); err != nil {
			errs = append(errs, fmt.Errorf("resolv.conf of %v: %w", p, err))
		}
	}
	return errors.Join(errs...)
}

func (r *resolvFiles) bring(about map[resolvPlace]bool, files map[resolvPlace]resolvFile) map[resolvPlace]error {
	failed := make(map[resolvPlace]error)
	for p := range about {
		f, wanted := files[p]
		var err error
		if wanted {
			err = r.write(p, f)
		} else {
			err = r.remove(p)
		}
		if errors.Is(err, resolvconf.ErrNotOurs) {
			r.log.Info("resolv.conf stays as it is", "place", p, "reason", err)
			err = nil
		}
		if err != nil {
			failed[p] = err
		}
	}
	return failed
}

func (r *resolvFiles) write(p resolvPlace, f resolvFile) error {
	if p.netns != "" {
		return r.named.Write(p.netns, f.text, f.replace)
	}
	return r.inProcess(p, func(file resolvconf.Process) error { return file.Write(f.text) })
}

func (r *resolvFiles) remove(p resolvPlace) error {
	if p.netns != "" {
		return r.named.Remove(p.netns)
	}
	err := r.inProcess(p, resolvconf.Process.Restore)
	if errors.Is(err, link.ErrNoNamespace) {
		err = os.Remove(r.kept(p)) // and its file may be gone, too
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	return err
}

// inProcess calls do with the file of a process. An error wraps link.ErrNoNamespace if that has ended,
// whatever process has its number now.
func (r *resolvFiles) inProcess(p resolvPlace, do func(resolvconf.Process) error) error {
	path := filepath.Join(r.cfg.ProcDir(), strconv.Itoa(p.pid), "root")
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("%w: process %d has ended", link.ErrNoNamespace, p.pid)
	}
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	root := os.NewFile(uintptr(fd), path)
	defer root.Close()
	// Looked at after its root was opened, so that it is its own.
	ns, err := r.host.OpenNamespace("", p.pid)
	if err != nil {
		return err
	}
	defer ns.Close()
	if ns.Inode() != p.inode {
		return fmt.Errorf("%w: process %d is another one", link.ErrNoNamespace, p.pid)
	}
	return do(resolvconf.Process{Root: root, Kept: r.kept(p), Mark: resolvconf.Mark(r.cfg.Instance)})
}

// kept is the file that keeps what a process had.
func (r *resolvFiles) kept(p resolvPlace) string {
	return filepath.Join(r.cfg.KeptDir(), fmt.Sprintf("%d-%d", p.pid, p.inode))
}

// list returns the places where there is something of ours.
func (r *resolvFiles) list() ([]resolvPlace, error) {
	var out []resolvPlace
	names, err := r.named.List()
	for _, name := range names {
		out = append(out, resolvPlace{netns: name})
	}
	files, keptErr := os.ReadDir(r.cfg.KeptDir())
	if errors.Is(keptErr, fs.ErrNotExist) {
		keptErr = nil
	}
	for _, f := range files {
		var p resolvPlace
		if n, _ := fmt.Sscanf(f.Name(), "%d-%d", &p.pid, &p.inode); n == 2 && filepath.Base(r.kept(p)) == f.Name() {
			out = append(out, p)
		}
	}
	return out, errors.Join(err, keptErr)
}

// answersFor reports whether this host answers for a network's names.
func (a *Agent) answersFor(n store.Network) bool {
	g := &a.gateways
	g.mu.Lock()
	defer g.mu.Unlock()
	have := g.made[n.VNI]
	return have != nil && have.network == n.ID && have.stop != nil
}

// wantedResolvFiles are those of this host's endpoints now.
func (a *Agent) wantedResolvFiles() map[resolvPlace]resolvFile {
	return wantedResolvFiles(a.tables(), a.self.ID, resolvconf.Mark(a.cfg.Instance), a.answersFor)
}

// reviewResolvConf brings the files of endpoints that have come or gone to what
// the tables say, and logs what it cannot.
func (a *Agent) reviewResolvConf(endpoints ...store.Endpoint) {
	a.logResolvConf(a.resolv.review(a.wantedResolvFiles, endpoints...))
}

// reviewAllResolvConf is for the start: endpoints may have gone while no agent ran.
func (a *Agent) reviewAllResolvConf() { a.logResolvConf(a.resolv.reviewAll(a.wantedResolvFiles())) }

// followGateways is for upkeep, which makes gateways that could not be made before.
func (a *Agent) followGateways() {
	if now := a.gateways.ports.Load(); now != a.resolvFor {
		a.resolvFor = now
		a.reviewAllResolvConf()
	}
}

func (a *Agent) logResolvConf(failed map[resolvPlace]error) {
	for p, err := range failed {
		a.log.Warn("resolv.conf not written", "place", p, "err", err)
	}
}

// writeResolvConf writes the file of a new endpoint. One that nobody has asked for
// need not be writable: an agent may run where /etc is not its own.
func (at *attachment) writeResolvConf(context.Context) error {
	failed := at.agent.resolv.review(at.agent.wantedResolvFiles, at.row)
	place, _ := resolvPlaceOf(at.row)
	err := failed[place]
	mayNot := errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS)
	if err == nil || mayNot && !at.row.ResolvConf {
		at.agent.logResolvConf(failed)
		return nil
	}
	return fmt.Errorf("endpoint %s: resolv.conf of %v: %w", at.row.Name, place, err)
}
