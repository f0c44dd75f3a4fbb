package kernel

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ovlnet/ovl/datapath"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/datapath/link"
	"github.com/ovlnet/ovl/datapath/link/linktest"
	"github.com/ovlnet/ovl/encap"
)

// bed is a lab whose hosts run the kernel datapath.
type bed struct {
	t     testing.TB
	lab   *linktest.Lab
	hosts []*bedHost
	mtu   int // of networks: what the underlay leaves
	made  int // endpoints, for their names
}

type bedHost struct {
	*linktest.Host
	opts  Options
	dp    *Datapath
	state datapath.State
}

// bedEndpoint is an endpoint of the bed: what runs in its namespace sees eth0.
type bedEndpoint struct {
	*linktest.Namespace
	host *bedHost
	vni  encap.VNI
	port datapath.Port
}

// addr returns the endpoint's first address.
func (e *bedEndpoint) addr() netip.Addr { return e.port.Addrs[0] }

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		skip(t, "needs root: makes network namespaces and loads eBPF programs")
	}
}

// needTool leaves a test out on a machine without one of these programs.
func needTool(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			skip(t, "needs "+name+" to be installed")
		}
	}
}

// skip leaves a test out, but in CI, which must have what every test needs.
func skip(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// onUnderlays runs a test in labs with an underlay of each family.
func onUnderlays(t *testing.T, o linktest.Options, test func(t *testing.T, o linktest.Options)) {
	t.Helper()
	t.Run("IPv4 underlay", func(t *testing.T) { test(t, o) })
	o.IPv6 = true
	t.Run("IPv6 underlay", func(t *testing.T) { test(t, o) })
}

// newBed builds hosts with an open datapath and no network yet.
func newBed(t testing.TB, o linktest.Options, hook Hook) *bed {
	t.Helper()
	needRoot(t)
	if supported, err := tcxSupported(); err == nil && !supported && hook == HookTCX {
		skip(t, "needs tcx, Linux 6.6 and later")
	}
	b := &bed{t: t, lab: linktest.New(t, o), mtu: 1450}
	if o.MTU != 0 {
		b.mtu = o.MTU - 50
	}
	if o.IPv6 {
		b.mtu -= encap.OverheadIPv6 - encap.OverheadIPv4
	}
	for _, h := range b.lab.Hosts {
		bh := &bedHost{Host: h, opts: Options{
			VTEP: h.Addr, Underlay: linktest.UnderlayDevice, Port: 4789,
			Dir:    filepath.Join("/sys/fs/bpf", "ovl-"+h.Name),
			Hook:   hook,
			Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		}}
		b.hosts = append(b.hosts, bh)
		t.Cleanup(func() {
			bh.close(t)
			if err := bh.Do(func() error { return Remove(bh.opts.Dir) }); err != nil {
				t.Errorf("remove datapath of %s: %v", bh.Name, err)
			}
		})
		bh.open(t)
	}
	t.Cleanup(b.logStats)
	return b
}

// logStats tells, after a failure, what the hosts have counted.
func (b *bed) logStats() {
	if !b.t.Failed() {
		return
	}
	for _, h := range b.hosts {
		s := h.stats(b.t)
		b.t.Logf("%s: attached %v", h.Name, s.Attachments)
		for vtep, p := range s.Peers {
			if p.Sent.Packets+p.Received.Packets > 0 {
				b.t.Logf("%s: peer %s: %+v", h.Name, vtep, p)
			}
		}
		for reason, c := range s.Drops {
			if c.Packets > 0 {
				b.t.Logf("%s: dropped %s: %+v", h.Name, reason, c)
			}
		}
	}
}

func (h *bedHost) open(t testing.TB) {
	t.Helper()
	err := h.Do(func() (err error) {
		h.dp, err = Open(context.Background(), h.opts)
		return err
	})
	if err != nil {
		t.Fatalf("open datapath of %s: %v", h.Name, err)
	}
}

func (h *bedHost) close(t testing.TB) {
	t.Helper()
	if h.dp == nil {
		return
	}
	if err := h.dp.Close(); err != nil {
		t.Errorf("close datapath of %s: %v", h.Name, err)
	}
}

func (h *bedHost) apply(t testing.TB) {
	t.Helper()
	if err := h.tryApply(); err != nil {
		t.Fatalf("apply on %s: %v", h.Name, err)
	}
}

// tryApply hands over a copy: the bed goes on changing its own.
func (h *bedHost) tryApply() error {
	s := dt.Clone(h.state)
	s.Sort()
	return h.Do(func() error { return h.dp.Apply(context.Background(), s) })
}

func (h *bedHost) stats(t testing.TB) datapath.Stats {
	t.Helper()
	s, err := h.dp.Stats(context.Background())
	if err != nil {
		t.Fatalf("stats of %s: %v", h.Name, err)
	}
	return s
}

// network returns the host's view of a network, made if it is new.
func (h *bedHost) network(vni encap.VNI, mtu int) *datapath.Network {
	for i := range h.state.Networks {
		if h.state.Networks[i].VNI == vni {
			return &h.state.Networks[i]
		}
	}
	h.state.Networks = append(h.state.Networks, datapath.Network{VNI: vni, MTU: mtu})
	return &h.state.Networks[len(h.state.Networks)-1]
}

// attach puts an endpoint with these addresses on a host's network. Call
// connect when all are there.
func (b *bed) attach(host int, vni encap.VNI, addrs ...string) *bedEndpoint {
	b.t.Helper()
	n := len(b.hosts[host].network(vni, b.mtu).Ports) + 1
	mac := encap.MAC{2, byte(vni >> 8), byte(vni), 0, byte(host + 1), byte(n)}
	return b.attachMAC(host, vni, mac, addrs...)
}

// attachMAC is attach for an endpoint that wants to have that MAC.
func (b *bed) attachMAC(host int, vni encap.VNI, mac encap.MAC, addrs ...string) *bedEndpoint {
	b.t.Helper()
	h := b.hosts[host]
	b.made++
	name := fmt.Sprintf("%d-%d-%d", host+1, vni, b.made)
	e := &bedEndpoint{Namespace: b.lab.Endpoint(name), host: h, vni: vni}
	e.port = datapath.Port{Device: "p" + name, MAC: mac}
	spec := link.EndpointSpec{Host: e.port.Device, IfName: "eth0", MAC: e.port.MAC, MTU: b.mtu}
	for _, a := range addrs {
		p := netip.MustParsePrefix(a)
		spec.Addrs = append(spec.Addrs, p)
		e.port.Addrs = append(e.port.Addrs, p.Addr())
	}
	ns, err := link.OpenNamed(e.NetnsPath)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = ns.Close() }()
	spec.Namespace = ns
	if err := h.Do(func() error { return link.CreateEndpoint(context.Background(), spec) }); err != nil {
		b.t.Fatal(err)
	}
	n := h.network(vni, b.mtu)
	n.Ports = append(n.Ports, e.port)
	return e
}

// connect tells every host of the ports of the others, and applies.
func (b *bed) connect() {
	b.t.Helper()
	for _, h := range b.hosts {
		for i := range h.state.Networks {
			n := &h.state.Networks[i]
			n.Remotes = nil
			for _, other := range b.hosts {
				if other == h {
					continue
				}
				for _, on := range other.state.Networks {
					if on.VNI != n.VNI {
						continue
					}
					for _, p := range on.Ports {
						n.Remotes = append(n.Remotes, datapath.Remote{MAC: p.MAC, Addrs: p.Addrs, VTEP: other.Addr})
					}
				}
			}
		}
	}
	for _, h := range b.hosts {
		h.apply(b.t)
	}
}

// run runs a command in a namespace and returns what it printed.
func run(t testing.TB, ns *linktest.Namespace, command ...string) string {
	t.Helper()
	out, err := tryRun(ns, command...)
	if err != nil {
		t.Fatalf("%s in %s: %v\n%s", strings.Join(command, " "), ns.Name, err, out)
	}
	return out
}

func tryRun(ns *linktest.Namespace, command ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	out, err := ns.Command(ctx, command[0], command[1:]...).CombinedOutput()
	return string(out), err
}
