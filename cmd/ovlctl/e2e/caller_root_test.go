package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/config"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// Ways to run a command with less than all capabilities.
var (
	netAdminAlone   = []string{"setpriv", "--bounding-set=-all,+net_admin", "--inh-caps=-all"}
	withoutEntering = []string{"setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"}
	enteringAlone   = []string{"setpriv", "--bounding-set=-all,+sys_admin", "--inh-caps=-all"}
)

// newNarrow is a cluster of two agents with CAP_NET_ADMIN alone, and an
// endpoint on the first.
func newNarrow(t *testing.T) (h1, h2 *host, peer *endpoint) {
	linktest.NeedRoot(t)
	c := newCluster(t, linktest.Options{Hosts: 2})
	for _, h := range c.hosts {
		h.under = netAdminAlone
	}
	c.upAll()
	h1, h2 = c.hosts[0], c.hosts[1]
	h1.must("network", "create", "shop", "--ipv6")
	return h1, h2, h1.attach("shop", "peer")
}

// ctlUnder is ctl of an ovlctl that is run by another command.
func (h *host) ctlUnder(under []string, args ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	cmd := h.command(ctx, args...)
	return capture(exec.CommandContext(ctx, under[0], append(under[1:], cmd.Args...)...))
}

// wantNoEndpoint wants a host to have none, neither in its lists nor as a
// device, and nothing in a namespace.
func (h *host) wantNoEndpoint(ns *linktest.Namespace) error {
	devices, err := h.devices()
	if err != nil || len(devices) > 0 {
		return fmt.Errorf("%s has the devices %v: %w", h.name, devices, err)
	}
	for _, at := range h.c.hosts {
		var list []api.Endpoint
		at.query(&list, "endpoint", "ls")
		for _, e := range list {
			if e.Node == h.name {
				return fmt.Errorf("%s lists %+v", at.name, e)
			}
		}
	}
	if links := run(h.c.tb, ns, "ip", "-o", "link"); strings.Count(links, "\n") != 1 {
		return fmt.Errorf("the namespace has\n%s", links)
	}
	return nil
}

// TestCallerRefused: where the one who calls cannot do the rest, he is told in a
// line what is missing, and nothing is left.
func TestCallerRefused(t *testing.T) {
	_, h2, peer := newNarrow(t)
	ns := h2.c.lab.Endpoint("c1")
	pid, _ := startProcess(t)
	for _, tt := range []struct {
		name  string
		under []string
		args  []string
		says  string
	}{
		{"no CAP_SYS_ADMIN", withoutEntering, []string{"--netns", ns.Name}, "neither the agent nor this ovlctl may: entering a network namespace takes CAP_SYS_ADMIN"},
		{"no CAP_SYS_ADMIN, process", withoutEntering, []string{"--pid", strconv.Itoa(pid)}, "takes CAP_SYS_ADMIN"},
		{"no CAP_SYS_PTRACE", netAdminAlone, []string{"--pid", strconv.Itoa(pid)}, "takes CAP_SYS_PTRACE"},
		{"no CAP_NET_ADMIN", enteringAlone, []string{"--netns", ns.Name}, "takes CAP_NET_ADMIN"},
		{"not root", []string{"setpriv", "--reuid=65534", "--clear-groups"}, []string{"--netns", ns.Name}, "run ovlctl as root"},
		{"taken name", []string{"env"}, []string{"--netns", ns.Name, "--ifname", "lo"},
			"ovlctl: interface lo of network namespace " + ns.Name + " exists already: name another with --ifname\n"},
		{"no namespace", []string{"env"}, []string{"--netns", "ovl-nix"}, "network namespace ovl-nix"},
		{"no process", []string{"env"}, []string{"--pid", "4194303"}, "process 4194303"},
	} {
		_, stderr, err := h2.ctlUnder(tt.under, append([]string{"attach", "shop", "--name", "c1"}, tt.args...)...)
		if err == nil || !strings.Contains(stderr, tt.says) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: attach is told, with %v:\n%swant one line with %q", tt.name, err, stderr, tt.says)
		}
		if err := h2.wantNoEndpoint(ns); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	e := &endpoint{Namespace: ns, host: h2}
	h2.query(&e.info, "attach", "shop", "--netns", ns.Name, "--name", "c1")
	checkPings(t, peer, e)
}

// TestCallerDies leaves an attach between its halves, or cuts it off anywhere:
// what was not finished is taken back, by the agent itself or the next one.
func TestCallerDies(t *testing.T) {
	_, h2, peer := newNarrow(t)
	ns := h2.c.lab.Endpoint("c1")
	var inode unix.Stat_t
	if err := unix.Stat(ns.NetnsPath, &inode); err != nil {
		t.Fatal(err)
	}
	begin := func() {
		t.Helper()
		var e api.Endpoint
		// Of the one before the name goes last.
		within(t, "the name can be had", time.Now(), 5*time.Second, func() (err error) {
			e, err = api.NewClient(config.Config{Instance: h2.instance}).Attach(t.Context(),
				api.AttachRequest{Network: "shop", NetNS: ns.Name, Name: "c1", EnteredInode: inode.Ino})
			return err
		})
		if devices, err := h2.devices(); err != nil || len(devices) != 1 || devices[0] != e.Device {
			t.Errorf("devices are %v, want %s: %v", devices, e.Device, err)
		}
		if list := h2.must("endpoint", "ls"); strings.Contains(list, "\nc1 ") {
			t.Errorf("what is not finished is listed:\n%s", list)
		}
	}
	gone := func(limit time.Duration, how string) {
		t.Helper()
		within(t, "nothing is left when "+how, time.Now(), limit, func() error { return h2.wantNoEndpoint(ns) })
	}

	begin()
	_, stderr, err := h2.ctl("attach", "shop", "--netns", ns.Name, "--name", "c1")
	if err == nil || !strings.Contains(stderr, "is being attached") {
		t.Errorf("another attach meanwhile: %v: %s", err, stderr)
	}
	gone(api.FinishTime+5*time.Second, "the caller is not heard of again")

	begin()
	h2.kill()
	h2.up()
	gone(5*time.Second, "the agent is killed")

	begin()
	h2.stop()
	if devices, err := h2.devices(); err != nil || len(devices) > 0 {
		t.Errorf("an agent that was stopped has left the devices %v: %v", devices, err)
	}
	h2.up()
	gone(5*time.Second, "the agent is stopped")

	begin()
	if err := ns.Delete(); err != nil {
		t.Fatal(err)
	}
	within(t, "a namespace that is deleted takes it along", time.Now(), api.FinishTime+5*time.Second, func() error {
		if devices, err := h2.devices(); err != nil || len(devices) > 0 {
			return fmt.Errorf("devices %v: %w", devices, err)
		}
		return nil
	})

	killed := killCallers(t, h2)
	checkPings(t, append(killed, peer)...)
}

// killCallers kills ovlctl, or interrupts it, at every moment of an attach,
// and returns the endpoints that it came to.
func killCallers(t *testing.T, h *host) (whole []*endpoint) {
	t.Helper()
	var all []*endpoint
	for i := range 24 {
		e := &endpoint{Namespace: h.c.lab.Endpoint(fmt.Sprintf("killed%d", i)), host: h}
		all = append(all, e)
		cmd := h.command(t.Context(), "attach", "shop", "--netns", e.Name, "--name", e.Name)
		var out bytes.Buffer
		cmd.Stderr = &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(i) * 2 * time.Millisecond)
		how := []syscall.Signal{unix.SIGKILL, unix.SIGINT}[i%2] // 4 ms apart
		_ = cmd.Process.Signal(how)                             // it may have ended
		if exit := (*exec.ExitError)(nil); errors.As(cmd.Wait(), &exit) && how == unix.SIGINT && strings.Count(out.String(), "\n") > 1 {
			t.Errorf("interrupted after %d ms: %s", i*2, out.String())
		}
	}
	within(t, "what was cut off is whole or gone", time.Now(), api.FinishTime+5*time.Second, func() error {
		var list []api.Endpoint
		h.query(&list, "endpoint", "ls")
		there := map[string]api.Endpoint{}
		for _, e := range list {
			there[e.Name] = e
		}
		devices, err := h.devices()
		if err != nil {
			return err
		}
		whole = nil
		for _, e := range all {
			info, listed := there[e.Name]
			addresses := run(t, e.Namespace, "ip", "-o", "address", "show", "up")
			if listed != strings.Contains(addresses, "eth0") {
				return fmt.Errorf("%s is listed: %v; its namespace has\n%s", e.Name, listed, addresses)
			}
			if listed {
				e.info = info
				whole = append(whole, e)
			}
		}
		if len(devices) != len(whole) {
			return fmt.Errorf("%d endpoints have the devices %v", len(whole), devices)
		}
		return nil
	})
	t.Logf("%d of %d were whole", len(whole), len(all))
	return whole
}
