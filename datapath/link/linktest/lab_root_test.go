package linktest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link"
)

// recorder is a TB whose cleanups run when the test says so.
type recorder struct {
	*testing.T
	cleanups []func()
	log      strings.Builder
}

func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Logf(format string, args ...any) {
	fmt.Fprintf(&r.log, format+"\n", args...)
}
func (r *recorder) Fatalf(format string, args ...any) {
	r.Logf(format, args...)
	runtime.Goexit()
}

func TestHostsReachEachOther(t *testing.T) {
	NeedRoot(t)
	for _, o := range []Options{
		{}, {Hosts: 2, Bridge: true, MTU: 9000}, {Hosts: 4}, {IPv6: true}, {Hosts: 3, IPv6: true},
		{Wire: true}, {Wire: true, IPv6: true},
	} {
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) {
			lab := New(t, o)
			if (lab.Underlay != nil) != (o.Bridge || o.Hosts > 2) {
				t.Errorf("underlay namespace: %v", lab.Underlay)
			}
			size := "1472" // 1500 less the IPv4 and ICMP headers
			if o.MTU == 9000 {
				size = "8972"
			}
			if o.IPv6 {
				size = "1452" // 1500 less the IPv6 and ICMPv6 headers
			}
			for _, from := range lab.Hosts {
				for _, to := range lab.Hosts {
					out, err := from.Command(t.Context(), "ping", "-c1", "-W2", "-Mdo", "-s"+size, to.Addr.String()).CombinedOutput()
					if err != nil {
						t.Errorf("%s to %s: %v\n%s", from.Name, to.Addr, err, out)
					}
				}
			}
			out, err := lab.Hosts[0].Command(t.Context(), "ip", "-o", "addr").CombinedOutput()
			if err != nil || strings.Contains(string(out), "fe80:") != o.IPv6 {
				t.Errorf("%v: link-local addresses, or none:\n%s", err, out)
			}
			if o.IPv6 == strings.Contains(string(out), "192.0.2.") || strings.Contains(string(out), "tentative") {
				t.Errorf("addresses of the other family, or not yet good:\n%s", out)
			}
			family, gateway := "-4", "192.0.2.254"
			if o.IPv6 {
				family, gateway = "-6", "2001:db8::fe"
			}
			out, err = lab.Hosts[0].Command(t.Context(), "ip", family, "route", "show", "default").CombinedOutput()
			if err != nil || !strings.Contains(string(out), "via "+gateway+" dev eth0") {
				t.Errorf("default route: %v %s", err, out)
			}
		})
	}
}

func TestDoIsInside(t *testing.T) {
	NeedRoot(t)
	lab := New(t, Options{Hosts: 1})
	ep := lab.Endpoint("a")
	inode := func() (uint64, error) {
		var st unix.Stat_t
		err := unix.Stat("/proc/thread-self/ns/net", &st)
		return st.Ino, err
	}
	here, err := inode()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[uint64]bool{here: true}
	for _, ns := range []*Namespace{lab.Hosts[0].Namespace, lab.Underlay, ep} {
		err := ns.Do(func() error {
			ino, err := inode()
			if seen[ino] {
				t.Errorf("%s is a namespace seen before", ns.Name)
			}
			seen[ino] = true
			lo, err2 := net.InterfaceByName("lo")
			if err2 == nil && lo.Flags&net.FlagUp == 0 {
				t.Errorf("%s: lo is down", ns.Name)
			}
			return errors.Join(err, err2)
		})
		if err != nil {
			t.Error(err)
		}
	}
	if after, err := inode(); err != nil || after != here {
		t.Errorf("the caller's thread moved: inode %d, was %d, %v", after, here, err)
	}
	wrong := errors.New("wrong")
	if err := ep.Do(func() error { return wrong }); !errors.Is(err, wrong) {
		t.Errorf("Do returned %v", err)
	}
	ended := make(chan bool, 1)
	go func() {
		defer func() { ended <- true }()
		ep.Do(func() error { runtime.Goexit(); return nil }) //nolint:errcheck // does not return
		ended <- false
	}()
	if !<-ended {
		t.Error("Do returned although fn ended its goroutine")
	}
}

func TestDeleteUnderTheFeet(t *testing.T) {
	NeedRoot(t)
	lab := New(t, Options{})
	ep := lab.Endpoint("a")
	if err := ep.Delete(); err != nil {
		t.Fatal(err)
	}
	if err := ep.Delete(); err != nil {
		t.Errorf("second delete: %v", err)
	}
	if err := ep.Do(func() error { return nil }); !errors.Is(err, link.ErrNoNamespace) {
		t.Errorf("Do in a deleted namespace: %v", err)
	}
}

func TestSegmentationOffload(t *testing.T) {
	NeedRoot(t)
	lab := New(t, Options{})
	for _, on := range []bool{false, true} {
		if err := lab.SetSegmentationOffload(t.Context(), on); err != nil {
			t.Fatal(err)
		}
		out, err := lab.Hosts[1].Command(t.Context(), "ethtool", "-k", UnderlayDevice).CombinedOutput()
		if err != nil {
			t.Fatalf("%v %s", err, out)
		}
		state, gro := "off", "on"
		if on {
			state, gro = "on", "off"
		}
		for _, want := range []string{
			"tcp-segmentation-offload: " + state, "generic-segmentation-offload: " + state,
			"tx-udp_tnl-segmentation: " + state, "tx-udp_tnl-csum-segmentation: " + state,
			"generic-receive-offload: " + gro,
		} {
			if !strings.Contains(string(out), want) {
				t.Errorf("want %q in:\n%s", want, out)
			}
		}
	}
}

func TestFailedLabLeavesNothing(t *testing.T) {
	NeedRoot(t)
	r := &recorder{T: t}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		New(r, Options{Hosts: 2, MTU: 1 << 20}) // the veth is refused, after the namespaces
		t.Error("New returned")
	}()
	<-ended
	if !strings.Contains(r.log.String(), "veth") {
		t.Errorf("log does not name what failed: %s", r.log.String())
	}
	if leaked := (holdings{}).leaked(held()); strings.Contains(strings.Join(leaked, " "), "network namespace") {
		t.Errorf("left behind: %q", leaked)
	}
	for _, f := range r.cleanups {
		f() // closing again is no error
	}
}

func TestCloseNamesProcesses(t *testing.T) {
	NeedRoot(t)
	r := &recorder{T: t}
	lab := New(r, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cmd := lab.Hosts[0].Command(ctx, "sleep", "60")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var st, want unix.Stat_t
	if err := unix.Stat(lab.Hosts[0].NetnsPath, &want); err != nil {
		t.Fatal(err)
	}
	for st.Ino != want.Ino { // until nsenter has entered
		if err := unix.Stat(fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid), &st); err != nil {
			t.Fatal(err)
		}
	}
	lab.Close()
	cancel()
	cmd.Wait() //nolint:errcheck // killed
	if want := fmt.Sprintf("(PID %d) still runs", cmd.Process.Pid); !strings.Contains(r.log.String(), want) {
		t.Errorf("log %q does not say %q", r.log.String(), want)
	}
}

func TestLeftovers(t *testing.T) {
	NeedRoot(t)
	lab := New(t, Options{Hosts: 1})
	cmd := lab.Hosts[0].Command(t.Context(), "true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	// A PID that is certainly dead, then a lab of that process.
	dead, err := newNamespace(fmt.Sprintf("%s%d-1-h1", namePrefix, cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dead.Delete(); err != nil {
			t.Error(err)
		}
	})
	found, err := Leftovers()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, ns := range found {
		names = append(names, ns.Name)
	}
	all := strings.Join(names, " ")
	if !strings.Contains(all, dead.Name) || strings.Contains(all, lab.Hosts[0].Name) {
		t.Errorf("leftovers %q: want %s and not the living lab's", names, dead.Name)
	}
}

// TestRouters: what is as long as the hosts' links take does not get across, and
// the sender is told what does.
func TestRouters(t *testing.T) {
	NeedRoot(t)
	for _, o := range []Options{{NarrowMTU: 1300}, {NarrowMTU: 1300, IPv6: true}} {
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) {
			lab := New(t, o)
			fits := 1300 - 28
			if o.IPv6 {
				fits = 1300 - 48
			}
			for i, from := range lab.Hosts {
				to := lab.Hosts[1-i].Addr.String()
				ping := func(size int) (string, error) {
					out, err := from.Command(t.Context(), "ping", "-c1", "-W1", "-Mdo", fmt.Sprint("-s", size), to).CombinedOutput()
					return string(out), err
				}
				// The first packets of all may be lost to neighbours that are unknown.
				out, err := ping(fits)
				for i := 0; i < 5 && err != nil; i++ {
					out, err = ping(fits)
				}
				if err != nil {
					t.Errorf("%s: %v\n%s", to, err, out)
				}
				out, err = ping(fits + 1)
				if err == nil || !strings.Contains(strings.ToLower(out), "mtu") || !strings.Contains(out, "1300") {
					t.Errorf("%s: want to be told of the MTU: %v\n%s", to, err, out)
				}
			}
		})
	}
}
