package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/resolvconf"
	"github.com/ovlnet/ovl/control/store"
)

const (
	onBlue = "nameserver 10.0.0.1\nsearch blue\noptions ndots:0\n"
	onRed  = "nameserver 10.0.1.1\nnameserver fd00:1::1\nsearch red\noptions ndots:0\n"
	onBoth = "nameserver 10.0.0.1\nnameserver 10.0.1.1\nnameserver fd00:1::1\nsearch blue red\noptions ndots:0\n"
)

func (n *node) netnsFile(netns string) string {
	return filepath.Join(n.cfg.NetnsDir(), netns, "resolv.conf")
}

// wantFile wants text behind the mark, other text for a file that is not ours, or "" for none.
func (n *node) wantFile(t *testing.T, path, text string) {
	t.Helper()
	b, err := os.ReadFile(path)
	got, ours := strings.CutPrefix(string(b), resolvconf.Mark(n.cfg.Instance))
	switch {
	case text == "" && !os.IsNotExist(err):
		t.Errorf("%s is there: %q, %v", path, b, err)
	case text != "" && (err != nil || got != text || ours != strings.HasPrefix(text, "nameserver 10.")):
		t.Errorf("%s is %q, %v; want %q", path, b, err, text)
	}
}

// wantNoFiles wants nothing of ours left.
func (n *node) wantNoFiles(t *testing.T) {
	t.Helper()
	if _, err := os.Lstat(n.cfg.NetnsDir()); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", n.cfg.NetnsDir(), err)
	}
	if kept, err := os.ReadDir(n.cfg.KeptDir()); len(kept) > 0 {
		t.Errorf("kept are still %v, %v", kept, err)
	}
}

func (n *node) attachAs(t *testing.T, r api.AttachRequest) api.Endpoint {
	t.Helper()
	e, err := n.Attach(t.Context(), r)
	if err != nil {
		t.Fatalf("attach %+v: %v", r, err)
	}
	return e
}

func (n *node) detach(t *testing.T, e api.Endpoint) {
	t.Helper()
	if _, err := n.Detach(t.Context(), api.DetachRequest{Endpoint: e.ID}); err != nil {
		t.Fatalf("detach %s: %v", e.Name, err)
	}
}

// addProcess gives a process a namespace, and a root with a resolv.conf; "" for none.
func (n *node) addProcess(t *testing.T, pid int, text string) (path string) {
	t.Helper()
	n.host.addNamespace(fmt.Sprintf("pid:%d", pid))
	path = filepath.Join(n.cfg.ProcDir(), fmt.Sprint(pid), "root/etc/resolv.conf")
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil && text != "" {
		err = os.WriteFile(path, []byte(text), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestResolvConfNamed(t *testing.T) {
	n := twoNetworks(t)
	path := n.netnsFile("c1")
	first := n.attach("blue", "c1")
	n.wantFile(t, path, onBlue)
	second := n.attachAs(t, api.AttachRequest{Network: "red", NetNS: "c1", IfName: "eth1"})
	n.wantFile(t, path, onBoth)
	other := n.attach("red", "c2")
	n.wantFile(t, n.netnsFile("c2"), onRed)

	n.stop()
	n.wantFile(t, path, onBoth)
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	n.wantFile(t, path, onBoth)
	n.detach(t, first)
	n.wantFile(t, path, onRed)
	n.detach(t, second)
	n.wantFile(t, path, "")
	n.wantFile(t, n.netnsFile("c2"), onRed)
	n.detach(t, other)
	n.wantNoFiles(t)
}

// The order is that in which endpoints were attached, not that of their names.
func TestResolvConfOrder(t *testing.T) {
	n := twoNetworks(t)
	n.attach("red", "c1")
	n.attachAs(t, api.AttachRequest{Network: "blue", NetNS: "c1", IfName: "eth1"})
	n.wantFile(t, n.netnsFile("c1"), "nameserver 10.0.1.1\nnameserver 10.0.0.1\nnameserver fd00:1::1\nsearch red blue\noptions ndots:0\n")
}

// A network that was attached by a path, or by a process, is in the namespace all
// the same.
func TestResolvConfOneNamespace(t *testing.T) {
	n := twoNetworks(t)
	n.attach("blue", "c1")
	n.host.mu.Lock()
	for _, alias := range []string{"/run/netns/c1", "pid:7"} {
		n.host.namespaces[alias] = n.host.namespaces["c1"]
	}
	n.host.mu.Unlock()
	for _, r := range []api.AttachRequest{{NetNS: "/run/netns/c1"}, {PID: 7}} {
		r.Network, r.IfName = "red", "eth1"
		e := n.attachAs(t, r)
		n.wantFile(t, n.netnsFile("c1"), onBoth)
		n.detach(t, e)
		n.wantFile(t, n.netnsFile("c1"), onBlue)
	}
}

// Who gets none.
func TestResolvConfNone(t *testing.T) {
	n := twoNetworks(t)
	n.host.addNamespace("/run/netns/c1")
	n.host.addNamespace(".hidden")
	n.host.addTAP("tap0")
	path := n.addProcess(t, 7, "nameserver 192.0.2.53\n")
	for _, r := range []api.AttachRequest{{NetNS: "/run/netns/c1"}, {NetNS: ".hidden"}, {TAP: "tap0"}, {PID: 7}} {
		r.Network = "blue"
		n.attachAs(t, r)
	}
	n.wantFile(t, path, "nameserver 192.0.2.53\n")
	n.wantNoFiles(t)
	for _, r := range []api.AttachRequest{{NetNS: "/run/netns/c1"}, {TAP: "tap0"}} {
		r.Network, r.ResolvConf = "blue", true
		_, err := n.Attach(t.Context(), r)
		wantCode(t, err, api.CodeInvalid)
	}
}

func TestResolvConfOperators(t *testing.T) {
	const operators = "nameserver 192.0.2.53\n"
	n := twoNetworks(t)
	path := n.netnsFile("c1")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(operators), 0o644); err != nil {
		t.Fatal(err)
	}
	first := n.attach("blue", "c1")
	n.wantFile(t, path, operators)
	second := n.attachAs(t, api.AttachRequest{Network: "red", NetNS: "c1", IfName: "eth1", ResolvConf: true})
	n.wantFile(t, path, onBoth)
	n.detach(t, second)
	n.wantFile(t, path, onBlue)
	n.stop()
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	n.wantFile(t, path, onBlue)
	n.detach(t, first)
	n.wantFile(t, path, operators)
}

func TestResolvConfProcess(t *testing.T) {
	const before = "nameserver 192.0.2.53\nsearch example\noptions timeout:1 attempts:1 rotate single-request\n"
	for _, was := range []string{before, ""} {
		n := twoNetworks(t)
		path := n.addProcess(t, 7, was)
		first := n.attachAs(t, api.AttachRequest{Network: "blue", PID: 7, ResolvConf: true})
		if e, err := n.EndpointInspect(t.Context(), first.ID); err != nil || !e.ResolvConf {
			t.Errorf("endpoint is %+v, %v", e, err)
		}
		n.wantFile(t, path, onBlue)
		second := n.attachAs(t, api.AttachRequest{Network: "red", PID: 7, IfName: "eth1"})
		n.wantFile(t, path, onBoth)
		n.stop()
		if err := n.start(); err != nil {
			t.Fatal(err)
		}
		n.detach(t, second)
		n.wantFile(t, path, onBlue)
		n.detach(t, first)
		n.wantFile(t, path, was)
		n.wantNoFiles(t)
	}
}

// A process that has ended, whatever has its number now, is left alone.
func TestResolvConfProcessEnded(t *testing.T) {
	n := twoNetworks(t)
	path := n.addProcess(t, 7, "nameserver 192.0.2.53\n")
	e := n.attachAs(t, api.AttachRequest{Network: "blue", PID: 7, ResolvConf: true})
	n.host.mu.Lock()
	n.host.inode++
	n.host.namespaces["pid:7"] = n.host.inode // another process
	n.host.mu.Unlock()
	n.detach(t, e)
	n.wantFile(t, path, onBlue)
	n.wantNoFiles(t)

	e = n.attachAs(t, api.AttachRequest{Network: "red", PID: 7, ResolvConf: true})
	n.wantFile(t, path, onRed)
	if err := os.RemoveAll(filepath.Join(n.cfg.ProcDir(), "7")); err != nil {
		t.Fatal(err)
	}
	n.detach(t, e)
	n.wantNoFiles(t)
}

// Endpoints that were withdrawn while no agent ran, or all with it: what they had
// goes, or comes back.
func TestResolvConfStart(t *testing.T) {
	n := twoNetworks(t)
	path := n.addProcess(t, 7, "nameserver 192.0.2.53\n")
	process := n.attachAs(t, api.AttachRequest{Network: "blue", PID: 7, ResolvConf: true})
	n.attach("blue", "c1")
	n.attach("blue", "c2")
	n.attach("blue", "c3")
	n.stop()
	n.host.deleteNamespace("c1")
	if err := n.host.RemoveDevice(process.Device); err != nil { // its process lives
		t.Fatal(err)
	}
	if err := os.WriteFile(n.netnsFile("c2"), []byte(resolvconf.Mark("")+"nameserver 10.9.9.9\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Dir(n.netnsFile("c3"))); err != nil {
		t.Fatal(err)
	}
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	n.wantFile(t, n.netnsFile("c1"), "")
	n.wantFile(t, n.netnsFile("c2"), onBlue)
	n.wantFile(t, n.netnsFile("c3"), onBlue)
	n.wantFile(t, path, "nameserver 192.0.2.53\n")
}

// A namespace that is deleted takes its file along.
func TestResolvConfWithdrawn(t *testing.T) {
	n := twoNetworks(t)
	n.attach("blue", "c1")
	n.host.deleteNamespace("c1")
	n.lab.eventually("the file is gone", func() bool {
		_, err := os.Lstat(n.netnsFile("c1"))
		return os.IsNotExist(err)
	})
	n.lab.eventually("the folders too", func() bool {
		_, err := os.Lstat(n.cfg.NetnsDir())
		return os.IsNotExist(err)
	})
}

func TestResolvConfDown(t *testing.T) {
	for name, down := range map[string]func(n *node) error{
		"leave": func(n *node) error {
			_, err := n.Leave(t.Context(), api.LeaveRequest{})
			return err
		},
		"purge": func(n *node) error {
			n.stop()
			return purge(n.cfg, n.host)
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := twoNetworks(t)
			path := n.addProcess(t, 7, "nameserver 192.0.2.53\n")
			n.attachAs(t, api.AttachRequest{Network: "blue", PID: 7, ResolvConf: true})
			n.attach("red", "c1")
			if err := down(n); err != nil {
				t.Fatal(err)
			}
			n.wantFile(t, path, "nameserver 192.0.2.53\n")
			n.wantNoFiles(t)
		})
	}
}

// A gateway that can only be made later is named then.
func TestResolvConfLateGateway(t *testing.T) {
	n := twoNetworks(t)
	n.attach("blue", "c1")
	n.stop()
	n.host.fail("EnsureGateway", errors.New("boom"))
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	n.wantFile(t, n.netnsFile("c1"), "")
	n.host.fail("EnsureGateway", nil)
	n.lab.eventually("the file is there", func() bool {
		_, err := os.Lstat(n.netnsFile("c1"))
		return err == nil
	})
	n.wantFile(t, n.netnsFile("c1"), onBlue)
}

// One endpoint that was attached with --resolv-conf asks for all of its namespace.
func TestResolvConfReplaces(t *testing.T) {
	n := twoNetworks(t)
	n.host.addNamespace("c1")
	n.attachAs(t, api.AttachRequest{Network: "blue", NetNS: "c1", ResolvConf: true})
	n.attachAs(t, api.AttachRequest{Network: "red", NetNS: "c1", IfName: "eth1"})
	if f := n.wantedResolvFiles()[resolvPlace{netns: "c1"}]; !f.replace {
		t.Errorf("the file is %+v", f)
	}
}

// What cannot be written fails the attach, which leaves nothing; where the agent may not
// write, only if it was asked to.
func TestResolvConfFails(t *testing.T) {
	n := twoNetworks(t)
	path := n.addProcess(t, 7, "")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := n.Attach(t.Context(), api.AttachRequest{Network: "blue", PID: 7, ResolvConf: true})
	if !errors.Is(err, resolvconf.ErrOdd) || !strings.Contains(err.Error(), "endpoint ep-") || !strings.Contains(err.Error(), "resolv.conf of process 7") {
		t.Errorf("error is %v", err)
	}
	// In the place of /etc/netns is a file.
	if err := os.MkdirAll(filepath.Dir(n.cfg.NetnsDir()), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(n.cfg.NetnsDir(), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	n.host.addNamespace("c1")
	if _, err := n.Attach(t.Context(), api.AttachRequest{Network: "blue", NetNS: "c1"}); err == nil {
		t.Error("attached without its resolv.conf")
	}
	if list, err := n.EndpointList(t.Context(), ""); err != nil || len(list) > 0 {
		t.Errorf("endpoints are %+v, %v", list, err)
	}
	if left := n.host.deviceNames(); len(left) > 0 {
		t.Errorf("devices left behind: %v", left)
	}
}

// A host without a gateway of the network has nobody to name.
func TestResolvConfWithoutGateway(t *testing.T) {
	n := twoNetworks(t)
	n.attach("blue", "c1")
	n.attachAs(t, api.AttachRequest{Network: "red", NetNS: "c1", IfName: "eth1"})
	for without, want := range map[string]string{"": onBoth, "blue": onRed, "red": onBlue, "blue red": ""} {
		files := wantedResolvFiles(n.tables(), n.self.ID, "", func(n store.Network) bool { return !strings.Contains(without, n.Name) })
		if got := files[resolvPlace{netns: "c1"}].text; got != want {
			t.Errorf("without gateways of %q it is %q, want %q", without, got, want)
		}
	}
}
