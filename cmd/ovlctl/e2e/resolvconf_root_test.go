package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// startContainer runs a process with network and mounts of its own, and resolv.conf
// as a mount of the file at path, as containers have it.
func startContainer(t *testing.T, path string) (pid int) {
	t.Helper()
	cmd := exec.Command("unshare", "--net", "--mount", "--propagation", "private",
		"sh", "-c", `mount --bind "$0" /etc/resolv.conf && exec sleep 120`, path)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	})
	pid = cmd.Process.Pid
	for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err == nil && string(comm) == "sleep\n" {
			return pid
		}
		if time.Since(begin) > readyTime {
			t.Fatalf("process %d has no mounts of its own: %v", pid, err)
		}
	}
}

// TestContainerResolvConf: a container's resolv.conf, a mount, names the gateway while
// it is attached, over a restart of the agent; the host's own is not touched.
func TestContainerResolvConf(t *testing.T) {
	linktest.NeedRoot(t)
	c := newCluster(t, linktest.Options{Hosts: 1})
	c.upAll()
	h := c.hosts[0]
	h.must("network", "create", "shop", "--ipv6")
	const before = "nameserver 192.0.2.53\nsearch a.search.list.that.is.longer.than.ours example\n"
	outside, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(path, []byte(before), 0o644); err != nil {
		t.Fatal(err)
	}
	pid := startContainer(t, path)
	seen := func(when, want string) {
		t.Helper()
		for _, at := range []string{path, fmt.Sprintf("/proc/%d/root/etc/resolv.conf", pid)} {
			if got, err := os.ReadFile(at); err != nil || string(got) != want {
				t.Errorf("%s %s is %q, %v; want %q", when, at, got, err, want)
			}
		}
		if now, err := os.ReadFile("/etc/resolv.conf"); err != nil || string(now) != string(outside) {
			t.Errorf("%s the host's own is %q, %v", when, now, err)
		}
	}
	e := &endpoint{Namespace: &linktest.Namespace{NetnsPath: netnsOf(pid)}, host: h}
	h.query(&e.info, "attach", "shop", "--pid", strconv.Itoa(pid), "--name", "c1", "--resolv-conf")
	ours := fmt.Sprintf("# by ovl, instance %s: written anew at each attach and detach\nnameserver %v\nnameserver %v\nsearch shop\noptions ndots:0\n",
		h.instance, e.info.Gateways[0], e.info.Gateways[1])
	seen("attached,", ours)
	h.kill()
	h.up()
	seen("after kill -9 of the agent,", ours)
	h.must("detach", "c1")
	seen("detached,", before)

	// Not asked for, it is left alone; down brings it back as detach does.
	h.must("attach", "shop", "--pid", strconv.Itoa(pid), "--name", "c1")
	seen("attached without,", before)
	h.must("detach", "c1")
	h.must("attach", "shop", "--pid", strconv.Itoa(pid), "--name", "c1", "--resolv-conf")
	seen("attached again,", ours)
	h.must("down")
	seen("after down,", before)
}

// TestNamedResolvConf: `ip netns exec` shows the file to programs, and to those that
// run what has changed. What they are answered, `ovlctl dns` says too, and status
// counts what was asked.
func TestNamedResolvConf(t *testing.T) {
	linktest.NeedRoot(t)
	c := newCluster(t, linktest.Options{Hosts: 1})
	c.upAll()
	h := c.hosts[0]
	h.must("network", "create", "front")
	h.must("network", "create", "back")
	e := h.attach("front", "c1")
	runs := exec.Command("ip", "netns", "exec", e.Name, "sh", "-c", `cat /etc/resolv.conf; read line; cat /etc/resolv.conf`)
	tell, err := runs.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out lockedBuffer
	runs.Stdout, runs.Stderr = &out, &out
	if err := runs.Start(); err != nil {
		t.Fatal(err)
	}
	for begin := time.Now(); !strings.Contains(out.String(), "ndots:0"); time.Sleep(5 * time.Millisecond) {
		if time.Since(begin) > readyTime {
			_ = runs.Process.Kill()
			t.Fatalf("the namespace's resolv.conf is\n%s", out.String())
		}
	}
	if got := out.String(); !strings.Contains(got, "nameserver "+e.info.Gateways[0].String()+"\nsearch front\n") {
		t.Errorf("the namespace's resolv.conf is\n%s", got)
	}
	// The C library asks for both families, once each.
	if got := run(t, e.Namespace, "ip", "netns", "exec", e.Name, "getent", "ahostsv4", "c1"); !strings.HasPrefix(got, e.addr()+" ") {
		t.Errorf("the C library finds %q", got)
	}
	var d api.DNSReport
	h.query(&d, "dns", "c1", "--network", "front", "--type", "A")
	if len(d.Questions) != 1 || len(d.Questions[0].Records) != 1 || d.Questions[0].Records[0].Data != e.addr() || len(d.Sources) != 1 || !d.Sources[0].Answered {
		t.Errorf("ovlctl dns says %+v", d)
	}
	var s api.Status
	h.query(&s, "status")
	if s.DNS == nil || s.DNS.Results["answered"].Queries == 0 || s.DNS.Results["negative"].Queries != 0 {
		t.Errorf("status counts %+v", s.DNS)
	}
	var second endpoint
	h.query(&second.info, "attach", "back", "--netns", e.Name, "--name", "c1", "--ifname", "eth1")
	fmt.Fprintln(tell)
	if err := runs.Wait(); err != nil || !strings.Contains(out.String(), "search front back\n") {
		t.Errorf("a program that runs sees (%v)\n%s", err, out.String())
	}
}
