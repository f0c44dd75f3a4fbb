package userspace

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/datapath/link"
	"github.com/ovlnet/ovl/datapath/link/linktest"
	"github.com/ovlnet/ovl/encap"
)

// bed is a host with two endpoints of one network, A and B, and a datapath.
type bed struct {
	*linktest.Host
	a, b  *linktest.Namespace
	dir   string
	held  *fakeHolder
	dp    *Datapath
	state datapath.State
}

const (
	portA, portB = "port-a", "port-b"
	macA, macB   = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
	addrA, addrB = "10.0.0.10", "10.0.0.11"
)

func newBed(t testing.TB) *bed {
	t.Helper()
	linktest.NeedRoot(t)
	lab := linktest.New(t, linktest.Options{Hosts: 2})
	b := &bed{Host: lab.Hosts[0], dir: t.TempDir(), held: newFakeHolder(t)}
	b.a = b.endpoint(t, lab, portA, macA, addrA)
	b.b = b.endpoint(t, lab, portB, macB, addrB)
	b.state = datapath.State{Networks: []datapath.Network{{
		VNI: 4096, MTU: 1450,
		Ports: []datapath.Port{
			{Device: portA, MAC: mac(macA), Addrs: []netip.Addr{netip.MustParseAddr(addrA)}},
			{Device: portB, MAC: mac(macB), Addrs: []netip.Addr{netip.MustParseAddr(addrB)}},
		},
		Remotes: []datapath.Remote{{MAC: mac("02:00:00:00:00:0c"), Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.12")}, VTEP: lab.Hosts[1].Addr}},
	}}}
	b.open(t)
	t.Cleanup(func() {
		b.on(t, func() error { return b.dp.Close() })
		b.on(t, func() error { return Remove(b.options()) })
		if left := b.devices(t); left != "" {
			t.Errorf("left behind: %s", left)
		}
	})
	return b
}

func mac(s string) encap.MAC {
	m, err := encap.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

func (b *bed) endpoint(t testing.TB, lab *linktest.Lab, device, mac, addr string) *linktest.Namespace {
	t.Helper()
	ns := lab.Endpoint(device)
	// With IPv6 they would send reports and solicitations, whenever they like.
	in(t, ns, func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0) })
	open, err := link.OpenNamed(ns.NetnsPath)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = open.Close() }()
	m, err := encap.ParseMAC(mac)
	if err != nil {
		t.Fatal(err)
	}
	b.on(t, func() error {
		return link.CreateEndpoint(t.Context(), link.EndpointSpec{
			Host: device, Namespace: open, IfName: "eth0", MAC: m, MTU: 1450,
			Addrs: []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr(addr), 24)},
		})
	})
	return ns
}

func (b *bed) options() Options {
	return Options{VTEP: b.Addr, Underlay: linktest.UnderlayDevice, Port: encap.Port, Dir: b.dir, Flows: filepath.Join(b.dir, "flows"), Holder: b.held}
}

// open opens the datapath, as an agent that starts does.
func (b *bed) open(t testing.TB) {
	t.Helper()
	b.on(t, func() (err error) {
		b.dp, err = Open(t.Context(), b.options())
		return err
	})
}

func (b *bed) apply(t testing.TB) {
	t.Helper()
	b.on(t, func() error { return b.dp.Apply(t.Context(), dt.Clone(b.state)) })
}

func (b *bed) on(t testing.TB, fn func() error) {
	t.Helper()
	if err := b.Do(fn); err != nil {
		t.Fatal(err)
	}
}

func (b *bed) stats(t *testing.T) datapath.Stats {
	t.Helper()
	s, err := b.dp.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// devices lists our TAPs and the redirects there are.
func (b *bed) devices(t testing.TB) string {
	t.Helper()
	var out []string
	b.on(t, func() error {
		taps, err := link.List(tapPrefix)
		if err != nil {
			return err
		}
		out = append(out, taps...)
		ways, err := link.Redirects()
		for from, to := range ways {
			out = append(out, from+"→"+to)
		}
		return err
	})
	return strings.Join(out, " ")
}

func run(t *testing.T, ns *linktest.Namespace, name string, args ...string) {
	t.Helper()
	if out, err := ns.Command(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// ping sends echo requests from A to B, all of which have to be answered.
func (b *bed) ping(t *testing.T) {
	t.Helper()
	run(t, b.a, "ping", "-c", "3", "-l", "3", "-W", "2", addrB)
}

// fakeHolder holds in this process.
type fakeHolder struct{ files map[string]*os.File }

func newFakeHolder(t testing.TB) *fakeHolder {
	h := &fakeHolder{map[string]*os.File{}}
	t.Cleanup(func() {
		for _, f := range h.files {
			_ = f.Close()
		}
	})
	return h
}

func duplicate(f *os.File) (*os.File, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	var dupErr error
	err = conn.Control(func(old uintptr) {
		fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err == nil {
		err = dupErr
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

func (h *fakeHolder) Put(name string, f *os.File) error {
	d, err := duplicate(f)
	if err != nil {
		return err
	}
	if old := h.files[name]; old != nil {
		_ = old.Close()
	}
	h.files[name] = d
	return nil
}

func (h *fakeHolder) Drop(name string) error {
	if f := h.files[name]; f != nil {
		_ = f.Close()
		delete(h.files, name)
	}
	return nil
}

func (h *fakeHolder) All() (map[string]*os.File, error) {
	all := map[string]*os.File{}
	for name, f := range h.files {
		d, err := duplicate(f)
		if err != nil {
			return nil, err
		}
		all[name] = d
	}
	return all, nil
}
