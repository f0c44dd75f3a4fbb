package e2e

import (
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// TestStory is what docs/demo.sh tells, on three hosts none of which can have
// the kernel datapath: by themselves they take the other, and from then on there
// is no difference. Then an agent restarts, and all go down.
func TestStory(t *testing.T) {
	linktest.NeedRoot(t)
	for _, r := range withoutEBPF(t) {
		t.Run(r.name, func(t *testing.T) {
			c := newCluster(t, linktest.Options{Hosts: 3})
			endpoints := r.story(t, c)
			checkStatus(t, c, r)
			checkPeers(t, c)
			checkRestart(t, c.hosts[1], endpoints)
			checkEnds(t, c, endpoints)
			for _, h := range []*host{c.hosts[2], c.hosts[1], c.hosts[0]} {
				if out, stderr, err := h.ctl("down"); err != nil || out != "down\n" || strings.Contains(stderr, "passed over") {
					t.Errorf("%s: down: %v: %q %q", h.name, err, out, stderr)
				}
				<-h.agent.exited
				checkNothingLeft(t, h)
			}
		})
	}
}

// story goes from three hosts without anything to two endpoints on each, that
// have talked.
func (r restricted) story(t *testing.T, c *cluster) (endpoints []*endpoint) {
	h1, h3 := c.hosts[0], c.hosts[2]
	for _, h := range c.hosts {
		h.under = r.under
	}
	c.upAll()
	if token := h1.must("token", "create"); token != c.token+"\n" {
		t.Errorf("token create printed %q, the agent %q", token, c.token)
	}
	h1.must("network", "create", "shop", "--ipv6")
	if list := h3.must("network", "ls"); !strings.Contains(list, "shop") {
		t.Errorf("h3 lists the networks\n%s", list)
	}
	for _, h := range c.hosts {
		endpoints = append(endpoints, h.attach("shop", "web-"+h.name))
	}
	// At once, both families: the first packet is answered.
	checkPings(t, endpoints...)
	endpoints = append(endpoints,
		attachProcess(t, h1, "shop", "process-1"), attachProcess(t, c.hosts[1], "shop", "process-2"), attachTAP(t, h3, "shop", "vm-3", "tap0"))
	var list []api.Endpoint
	if h1.query(&list, "endpoint", "ls"); len(list) != len(endpoints) {
		t.Errorf("endpoints are %+v", list)
	}
	checkPings(t, endpoints...)
	for _, direction := range [][]string{nil, {"-R"}} {
		tcp := iperf(t, endpoints[0], endpoints[1], append([]string{"-t", "1"}, direction...)...)
		if rate := tcp.End.SumReceived.BitsPerSecond; rate < 10e6 {
			t.Errorf("TCP %s to %s %v: %.1f Mb/s", endpoints[0].info.Name, endpoints[1].info.Name, direction, rate/1e6)
		}
	}
	for family := range endpoints[0].info.Addresses {
		checkTransfer(t, endpoints[2], endpoints[0], family)
	}
	checkTransfer(t, endpoints[3], endpoints[4], 0) // of the later ones
	checkTransfer(t, endpoints[0], endpoints[3], 0) // on one host
	return endpoints
}

// checkStatus wants status to be about the userspace datapath, for people and for
// programs: the reason, what is in place for every endpoint, and what they have
// sent.
func checkStatus(t *testing.T, c *cluster, r restricted) {
	t.Helper()
	for _, h := range c.hosts {
		h.wantDatapath(datapath.Userspace, r.reason)
		var s api.Status
		h.query(&s, "status")
		nameless := len(s.Problems) == 1 && strings.HasPrefix(s.Problems[0], "gateways: names are not answered on this host: ")
		if nameless != r.nameless || len(s.Problems) > 0 && !nameless || s.Cluster.Alive != 3 {
			t.Errorf("%s: problems %q, cluster %+v", h.name, s.Problems, s.Cluster)
		}
		if s.Counters.Sent.Packets == 0 || s.Counters.Received.Bytes == 0 || len(s.Counters.Drops) == 0 {
			t.Errorf("%s: counters are %+v", h.name, s.Counters)
		}
		if len(s.Networks) != 1 || s.Networks[0].Local != 2 || s.Networks[0].Remote != 4 ||
			s.Networks[0].Counters.Sent.Packets == 0 || s.Networks[0].Counters.Received.Bytes == 0 || s.Networks[0].Counters.Answered.Packets == 0 {
			t.Errorf("%s: networks are %+v", h.name, s.Networks)
		}
		table := h.must("status")
		want := []string{
			"Datapath: userspace: " + s.Datapath.Reason,
			"PROGRAM DEVICE HOOK",
		}
		var list []api.Endpoint
		h.query(&list, "endpoint", "ls")
		for _, e := range list {
			if e.Node != h.name {
				continue
			}
			i := slices.IndexFunc(s.Attachments, func(a api.Attachment) bool { return a.Program == "port" && a.Device == e.Device })
			if i < 0 {
				t.Errorf("%s: nothing is in place for %s on %s: %+v", h.name, e.Name, e.Device, s.Attachments)
				continue
			}
			want = append(want, fmt.Sprintf("port %s %s", e.Device, s.Attachments[i].Hook))
		}
		for _, line := range want {
			if !hasRow(table, line) {
				t.Errorf("%s: status has no line %q:\n%s", h.name, line, table)
			}
		}
	}
	checkDrops(t, c.hosts)
}

// checkPeers wants every host to know which datapath the others run.
func checkPeers(t *testing.T, c *cluster) {
	t.Helper()
	for _, h := range c.hosts {
		within(t, h.name+" knows the datapath of its peers", time.Now(), peersTime, func() error {
			var peers []api.Peer
			h.query(&peers, "peers")
			if len(peers) != 2 || countAlive(peers) != 2 {
				return fmt.Errorf("peers are %+v", peers)
			}
			for _, p := range peers {
				if p.Datapath != datapath.Userspace || p.Sent.Packets == 0 || p.Received.Packets == 0 {
					return fmt.Errorf("peer is %+v", p)
				}
			}
			return nil
		})
		if table := h.must("peers"); strings.Count(table, " userspace ") != 2 || strings.Contains(table, " kernel ") {
			t.Errorf("%s: peers are\n%s", h.name, table)
		}
	}
}

// hasRow looks for cells at the beginning of a line of a table.
func hasRow(table, cells string) bool {
	for line := range strings.Lines(table) {
		if strings.HasPrefix(strings.Join(strings.Fields(line), " ")+" ", cells+" ") {
			return true
		}
	}
	return false
}

// checkRestart ends an agent and starts it anew: what is sent meanwhile arrives
// later.
func checkRestart(t *testing.T, h *host, endpoints []*endpoint) {
	t.Helper()
	i := slices.IndexFunc(endpoints, func(e *endpoint) bool { return e.host == h })
	w := startWatcher(t, endpoints[0], endpoints[i])
	time.Sleep(200 * time.Millisecond)
	h.stop()
	h.up()
	time.Sleep(200 * time.Millisecond)
	if g := w.stop(t); g.lost > 50*time.Millisecond {
		t.Errorf("%v of packets are lost in a restart", g.lost)
	}
	h.wantDatapath(datapath.Userspace, "no kernel datapath")
	checkPings(t, endpoints...)
}

// checkEnds ends two endpoints of the second host, one by a word and one by
// deleting its namespace: nothing is left of either, and what they had can be
// had again.
func checkEnds(t *testing.T, c *cluster, endpoints []*endpoint) {
	t.Helper()
	web, process, h := endpoints[1], endpoints[4], c.hosts[1]
	h.must("detach", process.info.Name)
	if err := web.Delete(); err != nil {
		t.Fatal(err)
	}
	within(t, "they are gone everywhere", time.Now(), 5*time.Second, func() error {
		for _, h := range c.hosts {
			var list []api.Endpoint
			if h.query(&list, "endpoint", "ls"); len(list) != len(endpoints)-2 {
				return fmt.Errorf("%s lists %d endpoints", h.name, len(list))
			}
		}
		if devices, err := h.devices(); err != nil || len(devices) > 0 {
			return fmt.Errorf("%s has the devices %v: %w", h.name, devices, err)
		}
		return nil
	})
	if links := run(t, process.Namespace, "ip", "-o", "link"); strings.Contains(links, "net1") {
		t.Errorf("left in the namespace of what was detached:\n%s", links)
	}
	again := h.attach("shop", "again", "--ip", web.info.Addresses[0].Addr().String())
	checkPings(t, again, endpoints[0], endpoints[3], endpoints[5])
}

// TestKernelRefuses: who insists on the kernel datapath is told in a line what it
// lacks, and nothing is left of the attempt.
func TestKernelRefuses(t *testing.T) {
	linktest.NeedRoot(t)
	c := newCluster(t, linktest.Options{Hosts: 1})
	h := c.hosts[0]
	for _, r := range withoutEBPF(t) {
		h.under = r.under
		said := len(h.log.String())
		h.mustNotCome(t, r.reason, "--datapath", "kernel")
		if exit := (*exec.ExitError)(nil); !errors.As(h.agent.err, &exit) || exit.ExitCode() != 1 {
			t.Errorf("%s: up ended with %v, want exit code 1", r.name, h.agent.err)
		}
		var lines []string
		for line := range strings.Lines(h.log.String()[said:]) {
			if strings.HasPrefix(line, "ovlctl: ") {
				lines = append(lines, line)
			}
		}
		if len(lines) != 1 || !strings.HasPrefix(lines[0], "ovlctl: kernel datapath: not supported on this host: ") || !strings.Contains(lines[0], r.reason) {
			t.Errorf("%s: up says %q, want one line with %q", r.name, lines, r.reason)
		}
		checkNothingLeft(t, h)
	}
}
