package link_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/ovlnet/ovl/datapath/link"
	"github.com/ovlnet/ovl/datapath/link/linktest"
	"github.com/ovlnet/ovl/encap"
)

// stage is a host and an endpoint's namespace to create interfaces in.
type stage struct {
	lab  *linktest.Lab
	host *linktest.Host
	ep   *linktest.Namespace
	ns   *link.Namespace
}

func newStage(t testing.TB) *stage {
	t.Helper()
	lab := linktest.New(t, linktest.Options{Hosts: 1})
	s := &stage{lab: lab, host: lab.Hosts[0], ep: lab.Endpoint("a")}
	var err error
	if s.ns, err = link.OpenNamed(s.ep.Name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.ns.Close() })
	return s
}

func (s *stage) spec() link.EndpointSpec {
	return link.EndpointSpec{
		Host: "ovl0123456789", Namespace: s.ns, IfName: "eth0", MTU: 1450,
		MAC:   encap.MAC{2, 0, 0, 0, 0, 7},
		Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.7/24"), netip.MustParsePrefix("fd07::7/64")},
	}
}

// create runs CreateEndpoint on the host.
func (s *stage) create(ctx context.Context, spec link.EndpointSpec) error {
	return s.host.Do(func() error { return link.CreateEndpoint(ctx, spec) })
}

// devices returns the names of the devices on the host and in the endpoint's
// namespace.
func (s *stage) devices(t testing.TB) string {
	t.Helper()
	var host, inner []string
	if err := s.host.Do(func() (err error) { host, err = link.List(""); return err }); err != nil {
		t.Fatal(err)
	}
	if err := s.ns.Do(func() (err error) { inner, err = link.List(""); return err }); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(host, inner)
}

func output(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}

func wantIn(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("want %q in:\n%s", p, text)
		}
	}
}

func TestCreateEndpoint(t *testing.T) {
	linktest.NeedRoot(t)
	s := newStage(t)
	output(t, s.ep.Command(t.Context(), "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")) // as container engines do
	s.setLoDown(t)
	start := time.Now()
	if err := s.create(t.Context(), s.spec()); err != nil {
		t.Fatal(err)
	}
	t.Logf("took %v", time.Since(start))
	s.checkLo(t, true)

	inner := output(t, s.ep.Command(t.Context(), "ip", "-d", "addr", "show", "dev", "eth0"))
	wantIn(t, inner, "state UP", "LOWER_UP", "mtu 1450", "link/ether 02:00:00:00:00:07", "inet 10.0.0.7/24", "inet6 fd07::7/64")
	if _, six, _ := strings.Cut(inner, "fd07::7"); strings.Contains(strings.SplitN(six, "\n", 2)[0], "tentative") {
		t.Errorf("its address waits for duplicate address detection:\n%s", inner)
	}
	for _, key := range []string{"accept_dad", "dad_transmits"} {
		if v := output(t, s.ep.Command(t.Context(), "sysctl", "-n", "net.ipv6.conf.eth0."+key)); v != "0\n" {
			t.Errorf("%s = %s", key, v)
		}
	}
	host := output(t, s.host.Command(t.Context(), "ip", "-d", "link", "show", "dev", "ovl0123456789")) +
		output(t, s.host.Command(t.Context(), "ip", "addr", "show", "dev", "ovl0123456789"))
	wantIn(t, host, "state UP", "LOWER_UP", "mtu 1450", "addrgenmode none")
	if strings.Contains(host, "inet") {
		t.Errorf("the host's end has an address:\n%s", host)
	}

	err := s.create(t.Context(), s.spec())
	if err == nil || errors.Is(err, link.ErrExists) {
		t.Errorf("host name taken: %v; want an error that is not ErrExists, the inner name's", err)
	}
	spec := s.spec()
	spec.Host = "ovlother"
	if err := s.create(t.Context(), spec); !errors.Is(err, link.ErrExists) {
		t.Errorf("inner name taken: %v; want ErrExists", err)
	}
	if got, want := s.devices(t), "[eth0 lo ovl0123456789] [eth0 lo]"; got != want {
		t.Errorf("devices %s, want %s: the refused ones must leave nothing, and not harm the first", got, want)
	}
	if err := s.host.Do(func() error { return errors.Join(link.Remove("ovl0123456789"), link.Remove("ovl0123456789")) }); err != nil {
		t.Errorf("remove, twice: %v", err)
	}
	if got, want := s.devices(t), "[eth0 lo] [lo]"; got != want {
		t.Errorf("devices after remove %s, want %s", got, want)
	}
}

func TestCreateEndpointRefusesSpec(t *testing.T) {
	linktest.NeedRoot(t)
	s := newStage(t)
	for name, change := range map[string]func(*link.EndpointSpec){
		"host name":  func(e *link.EndpointSpec) { e.Host = "far-too-long-a-name" },
		"inner name": func(e *link.EndpointSpec) { e.IfName = "eth%d" },
		"namespace":  func(e *link.EndpointSpec) { e.Namespace = nil },
		"group MAC":  func(e *link.EndpointSpec) { e.MAC[0] = 3 },
		"zero MAC":   func(e *link.EndpointSpec) { e.MAC = encap.MAC{} },
		"MTU 0":      func(e *link.EndpointSpec) { e.MTU = 0 },
		"MTU 65536":  func(e *link.EndpointSpec) { e.MTU = 65536 },
		"no address": func(e *link.EndpointSpec) { e.Addrs = append(e.Addrs, netip.Prefix{}) },
		"4 in 6":     func(e *link.EndpointSpec) { e.Addrs = []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.1/120")} },
		"twice":      func(e *link.EndpointSpec) { e.Addrs = append(e.Addrs, e.Addrs[0]) }, // the kernel's refusal, half-way
	} {
		t.Run(name, func(t *testing.T) {
			spec := s.spec()
			change(&spec)
			if err := s.create(t.Context(), spec); err == nil {
				t.Error("created")
			}
			if got, want := s.devices(t), "[eth0 lo] [lo]"; got != want {
				t.Errorf("devices %s, want %s", got, want)
			}
		})
	}
}

// TestCreateEndpointRollsBack lets each kind of misfortune happen after each
// step.
func TestCreateEndpointRollsBack(t *testing.T) {
	linktest.NeedRoot(t)
	for _, step := range []string{"create", "inner", "host"} {
		for name, happen := range map[string]func(s *stage, cancel func()) error{
			"namespace deleted": func(s *stage, _ func()) error { return s.ep.Delete() },
			"context ended":     func(_ *stage, cancel func()) error { cancel(); return nil },
			"inner end removed": func(s *stage, _ func()) error {
				return s.ep.Do(func() error { return link.Remove("eth0") })
			},
		} {
			if step == "host" && name == "inner end removed" {
				continue // done by then: it is for WatchRemovals to tell
			}
			t.Run(step+"/"+name, func(t *testing.T) {
				s := newStage(t)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				err := s.create(ctx, s.spec().After(func(at string) {
					if at != step {
						return
					}
					if err := happen(s, cancel); err != nil {
						t.Error(err)
					}
				}))
				want := map[string]error{
					"namespace deleted": link.ErrNoNamespace,
					"context ended":     context.Canceled,
					"inner end removed": link.ErrNoDevice,
				}[name]
				if !errors.Is(err, want) {
					t.Errorf("error %v, want %v", err, want)
				}
				if got, want := s.devices(t), "[eth0 lo] [lo]"; got != want {
					t.Errorf("devices %s, want %s", got, want)
				}
			})
		}
	}
}

// TestCreateEndpointRaces deletes the namespace at a random moment. Whether
// that is before or after the end, no device may stay on the host.
func TestCreateEndpointRaces(t *testing.T) {
	linktest.NeedRoot(t)
	lab := linktest.New(t, linktest.Options{Hosts: 1})
	results := map[bool]int{}
	for i := range 20 {
		s := &stage{lab: lab, host: lab.Hosts[0], ep: lab.Endpoint(fmt.Sprint("race", i))}
		var err error
		if s.ns, err = link.OpenNamed(s.ep.NetnsPath); err != nil {
			t.Fatal(err)
		}
		deleted := make(chan error, 1)
		go func() {
			time.Sleep(time.Duration(i) * 100 * time.Microsecond)
			deleted <- s.ep.Delete()
		}()
		err = s.create(t.Context(), s.spec())
		if err != nil && !errors.Is(err, link.ErrNoNamespace) {
			t.Errorf("round %d: %v", i, err)
		}
		results[err == nil]++
		if err := errors.Join(<-deleted, s.ns.Close()); err != nil {
			t.Error(err)
		}
		eventually(t, "the host's end goes with the namespace", func() bool {
			var there bool
			err := s.host.Do(func() (err error) { there, err = link.Exists("ovl0123456789"); return err })
			return err == nil && !there
		})
	}
	t.Logf("created before the deletion: %d, refused: %d", results[true], results[false])
}

// TestEndpointOfProcess puts the interface into the namespace of a process
// and lets that end half-way.
func TestEndpointOfProcess(t *testing.T) {
	linktest.NeedRoot(t)
	s := newStage(t)
	start := func() *exec.Cmd {
		cmd := s.ep.Command(t.Context(), "sleep", "60")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		want := s.ns.Inode()
		eventually(t, "the process is in its namespace", func() bool {
			ns, err := link.OpenPID(cmd.Process.Pid)
			return err == nil && errors.Join(ns.Close()) == nil && ns.Inode() == want
		})
		return cmd
	}
	stop := func(cmd *exec.Cmd) {
		cmd.Process.Kill() //nolint:errcheck // waited for below
		cmd.Wait()         //nolint:errcheck // killed
	}
	for _, dies := range []bool{true, false} {
		cmd := start()
		ns, err := link.OpenPID(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		spec := s.spec()
		spec.Namespace = ns
		err = s.create(t.Context(), spec.After(func(step string) {
			if dies && step == "inner" {
				stop(cmd)
			}
		}))
		if dies != errors.Is(err, link.ErrNoNamespace) || (!dies && err != nil) {
			t.Errorf("process ends half-way: %v; error %v", dies, err)
		}
		want := "[eth0 lo ovl0123456789] [eth0 lo]"
		if dies {
			want = "[eth0 lo] [lo]"
		} else {
			stop(cmd)
		}
		if got := s.devices(t); got != want {
			t.Errorf("devices %s, want %s", got, want)
		}
		if err := ns.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestManyEndpoints(t *testing.T) {
	linktest.NeedRoot(t)
	s := newStage(t)
	var want []string
	var slowest time.Duration
	for i := range 50 {
		spec := s.spec()
		spec.Host, spec.IfName = fmt.Sprintf("ovl%02d", i), fmt.Sprintf("net%d", i)
		spec.MAC[5] = byte(i)
		spec.Addrs = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), 2}), 24)}
		start := time.Now()
		if err := s.create(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
		slowest = max(slowest, time.Since(start))
		want = append(want, spec.Host)
	}
	t.Logf("slowest %v", slowest)
	err := s.host.Do(func() error {
		got, err := link.List("ovl")
		if !slices.Equal(got, want) {
			t.Errorf("List = %v, want %v", got, want)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func BenchmarkCreateEndpoint(b *testing.B) {
	linktest.NeedRoot(b)
	s := newStage(b)
	spec := s.spec()
	for b.Loop() {
		if err := s.create(b.Context(), spec); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := s.host.Do(func() error { return link.Remove(spec.Host) }); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// eventually waits up to five seconds for what the kernel does in its own
// time.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 5 s: %s", what)
		}
	}
}

// onHost runs fn on the first host of a fresh lab.
func onHost(t *testing.T, fn func(h *linktest.Host) error) {
	t.Helper()
	linktest.NeedRoot(t)
	h := linktest.New(t, linktest.Options{Hosts: 1}).Hosts[0]
	if err := h.Do(func() error { return fn(h) }); err != nil {
		t.Error(err)
	}
}

// add makes a device on the calling thread's host.
func add(t *testing.T, d netlink.Link) netlink.Link {
	t.Helper()
	if err := netlink.LinkAdd(d); err != nil {
		t.Fatalf("add %s: %v", d.Attrs().Name, err)
	}
	return d
}
