package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// startProcess runs something in a network namespace that has no name, as a
// container does, and returns its PID. It ends with the test, or before.
func startProcess(t tb) (pid int, end func()) {
	t.Helper()
	cmd := exec.Command("unshare", "--net", "sleep", "120")
	if err := cmd.Start(); err != nil {
		t.Fatalf("unshare: %v", err)
	}
	end = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	})
	t.Cleanup(end)
	pid = cmd.Process.Pid
	var here, there unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &here); err != nil {
		t.Fatalf("%v", err)
	}
	for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err == nil && string(comm) == "sleep\n" && unix.Stat(netnsOf(pid), &there) == nil && there.Ino != here.Ino {
			return pid, end
		}
		if time.Since(begin) > readyTime {
			t.Fatalf("process %d does not get a network namespace of its own: %v", pid, err)
		}
	}
}

func netnsOf(pid int) string { return fmt.Sprintf("/proc/%d/ns/net", pid) }

// attachProcess attaches the namespace of a process. It has all capabilities.
func attachProcess(t *testing.T, h *host, network, name string) *endpoint {
	t.Helper()
	pid, _ := startProcess(t)
	e := &endpoint{Namespace: &linktest.Namespace{NetnsPath: netnsOf(pid)}, host: h}
	h.query(&e.info, "attach", network, "--pid", strconv.Itoa(pid), "--name", name, "--ifname", "net1")
	if e.info.PID != pid || e.info.Interface != "net1" {
		t.Errorf("endpoint is %+v, want PID %d and interface net1", e.info, pid)
	}
	return e
}

// attachVM is attachTAP of a virtual machine called vm.
func attachVM(t *testing.T, h *host, network string) *endpoint {
	t.Helper()
	return attachTAP(t, h, network, "vm", "tap0")
}

// attachTAP attaches a TAP interface and puts behind it, where a virtual
// machine would be, a namespace whose eth0 is itself a TAP.
func attachTAP(t *testing.T, h *host, network, name, tap string) *endpoint {
	t.Helper()
	outer := newTAP(t, h.Namespace, tap)
	e := &endpoint{Namespace: h.c.lab.Endpoint(name), host: h}
	h.query(&e.info, "attach", network, "--tap", tap, "--name", name)

	inner := newTAP(t, e.Namespace, "eth0")
	mtu := strconv.Itoa(e.info.MTU)
	run(t, e.Namespace, "ip", "link", "set", "eth0", "address", e.info.MacAddress.String(), "mtu", mtu, "up")
	for _, a := range e.info.Addresses {
		add := []string{"ip", "address", "add", a.String(), "dev", "eth0"}
		if a.Addr().Is6() {
			run(t, e.Namespace, "sysctl", "-q", "net.ipv6.conf.eth0.disable_ipv6=0")
			add = append(add, "nodad") // the test waits for nothing
		}
		run(t, e.Namespace, add...)
	}

	var wg sync.WaitGroup
	pump := func(to, from *os.File) {
		buf := make([]byte, 1<<16)
		for {
			n, err := from.Read(buf)
			if err != nil {
				return // closed
			}
			_, _ = to.Write(buf[:n]) // a frame that is refused is lost
		}
	}
	wg.Go(func() { pump(inner, outer) })
	wg.Go(func() { pump(outer, inner) })
	t.Cleanup(func() {
		_ = inner.Close()
		_ = outer.Close()
		wg.Wait()
	})
	return e
}

// newTAP makes a TAP interface and opens it.
func newTAP(t *testing.T, ns *linktest.Namespace, name string) (f *os.File) {
	t.Helper()
	run(t, ns, "ip", "tuntap", "add", "dev", name, "mode", "tap")
	run(t, ns, "sysctl", "-q", "net.ipv6.conf."+name+".disable_ipv6=1")
	err := ns.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		ifr, err := unix.NewIfreq(name)
		if err == nil {
			ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
		}
		if err != nil {
			_ = unix.Close(fd)
			return err
		}
		f = os.NewFile(uintptr(fd), name)
		return nil
	})
	if err != nil {
		t.Fatalf("open TAP %s: %v", name, err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// run runs a command in a namespace that has to succeed.
func run(t tb, ns *linktest.Namespace, command ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	out, err := ns.Command(ctx, command[0], command[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v in %s: %v: %s", command, ns.NetnsPath, err, out)
	}
	return string(out)
}
