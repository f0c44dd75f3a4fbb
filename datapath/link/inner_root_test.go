package link_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link"
	"github.com/ovlnet/ovl/datapath/link/linktest"
	"github.com/ovlnet/ovl/encap"
)

func innerOf(s link.EndpointSpec) link.InnerSpec {
	return link.InnerSpec{Namespace: s.Namespace, IfName: s.IfName, MAC: s.MAC, Addrs: s.Addrs}
}

// narrow runs fn on a stage's host as a process does that has CAP_NET_ADMIN
// alone. It is the thread that has it, and ends with it.
func (s *stage) narrow(t *testing.T, fn func() error) {
	t.Helper()
	err := s.host.Do(func() error {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		caps := [2]unix.CapUserData{}
		caps[0].Permitted, caps[0].Effective = 1<<unix.CAP_NET_ADMIN, 1<<unix.CAP_NET_ADMIN
		if err := unix.Capset(&header, &caps[0]); err != nil {
			return err
		}
		return fn()
	})
	if err != nil {
		t.Error(err)
	}
}

// TestInnerLater: the pair is made by one who has CAP_NET_ADMIN alone, and the
// inner end configured by one who may enter the namespace. Together it is what CreateEndpoint makes alone.
func TestInnerLater(t *testing.T) {
	linktest.NeedRoot(t)
	for _, unseen := range []bool{false, true} {
		s := newStage(t)
		s.setLoDown(t)
		spec := s.spec()
		spec.InnerLater = true
		if unseen {
			spec.Namespace = link.UnseenPID(s.process(t), s.ns.Inode())
		}
		s.narrow(t, func() error {
			if ns, err := link.OpenPID(os.Getppid()); !errors.Is(err, os.ErrPermission) {
				t.Errorf("looking at a process with more capabilities: %v, %v", ns, err)
			}
			return link.CreateEndpoint(t.Context(), spec)
		})
		down := output(t, s.ep.Command(t.Context(), "ip", "addr", "show", "dev", "eth0"))
		wantIn(t, down, "state DOWN", "link/ether 02:00:00:00:00:07", "mtu 1450")
		if strings.Contains(down, "inet") {
			t.Errorf("it has addresses before it is configured:\n%s", down)
		}
		s.checkLo(t, false)
		other := s.spec()
		other.Host, other.InnerLater = "ovlother", true
		s.narrow(t, func() error {
			if err := link.CreateEndpoint(t.Context(), other); !errors.Is(err, link.ErrExists) {
				t.Errorf("inner name taken: %v; want ErrExists", err)
			}
			return nil
		})

		if err := link.ConfigureInner(t.Context(), innerOf(s.spec())); err != nil {
			t.Fatal(err)
		}
		up := output(t, s.ep.Command(t.Context(), "ip", "addr", "show", "dev", "eth0"))
		wantIn(t, up, "state UP", "LOWER_UP", "inet 10.0.0.7/24", "inet6 fd07::7/64")
		s.checkLo(t, true)
		if got, want := s.devices(t), "[eth0 lo ovl0123456789] [eth0 lo]"; got != want {
			t.Errorf("devices %s, want %s", got, want)
		}
	}
}

// setLoDown makes the endpoint's namespace as bare as ip netns add does.
func (s *stage) setLoDown(t *testing.T) {
	t.Helper()
	output(t, s.ep.Command(t.Context(), "ip", "link", "set", "lo", "down"))
}

// checkLo wants lo of the endpoint's namespace to be up, or down.
func (s *stage) checkLo(t *testing.T, up bool) {
	t.Helper()
	text := output(t, s.ep.Command(t.Context(), "ip", "addr", "show", "dev", "lo"))
	if strings.Contains(text, ",UP,") != up {
		t.Errorf("want lo up: %v, have\n%s", up, text)
	}
}

// process starts one in the endpoint's namespace.
func (s *stage) process(t *testing.T) (pid int) {
	t.Helper()
	cmd := s.ep.Command(t.Context(), "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // waited for below
		cmd.Wait()         //nolint:errcheck // killed
	})
	eventually(t, "the process is in its namespace", func() bool {
		ns, err := link.OpenPID(cmd.Process.Pid)
		return err == nil && errors.Join(ns.Close()) == nil && ns.Inode() == s.ns.Inode()
	})
	return cmd.Process.Pid
}

// TestConfigureInnerRefuses: what is not the endpoint's own interface is not
// touched.
func TestConfigureInnerRefuses(t *testing.T) {
	linktest.NeedRoot(t)
	s := newStage(t)
	spec := s.spec()
	spec.InnerLater = true
	if err := s.create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	s.setLoDown(t)
	before := output(t, s.ep.Command(t.Context(), "ip", "addr"))
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, tt := range map[string]struct {
		ctx    context.Context
		change func(*link.InnerSpec)
		want   error
	}{
		"another MAC":     {t.Context(), func(i *link.InnerSpec) { i.MAC = encap.MAC{2, 0, 0, 0, 0, 8} }, link.ErrNoDevice},
		"another name":    {t.Context(), func(i *link.InnerSpec) { i.IfName = "eth1" }, link.ErrNoDevice},
		"no namespace":    {t.Context(), func(i *link.InnerSpec) { i.Namespace = nil }, link.ErrNoNamespace},
		"unseen":          {t.Context(), func(i *link.InnerSpec) { i.Namespace = link.UnseenPID(1, 1) }, unix.EPERM},
		"context is over": {canceled, func(*link.InnerSpec) {}, context.Canceled},
	} {
		i := innerOf(spec)
		tt.change(&i)
		if err := link.ConfigureInner(tt.ctx, i); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	if after := output(t, s.ep.Command(t.Context(), "ip", "addr")); after != before {
		t.Errorf("changed from\n%sto\n%s", before, after)
	}
	if err := s.ep.Delete(); err != nil {
		t.Fatal(err)
	}
	if err := link.ConfigureInner(t.Context(), innerOf(spec)); !errors.Is(err, link.ErrNoNamespace) {
		t.Errorf("namespace deleted: %v, want ErrNoNamespace", err)
	}
}

// TestUnseenPID: that a process is gone is seen without looking into it.
func TestUnseenPID(t *testing.T) {
	ns := link.UnseenPID(os.Getpid(), 7)
	if err := errors.Join(ns.Present(), ns.Close(), ns.Close()); err != nil || ns.Inode() != 7 {
		t.Errorf("this process: inode %d, %v", ns.Inode(), err)
	}
	if err := link.UnseenPID(1<<22, 7).Present(); !errors.Is(err, link.ErrNoNamespace) {
		t.Errorf("no process: %v", err)
	}
}
