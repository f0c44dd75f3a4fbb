package agent

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/datapath/link"
)

// caller is the machine of an agent as somebody sees it who may enter
// namespaces.
type caller struct {
	*fakeHost
	mu         sync.Mutex
	cannot     error // to enter
	fails      error // of ConfigureInner
	configured []EndpointDevice
}

type callerNamespace struct {
	fakeNamespace
	caller *caller
}

func (c *caller) OpenNamespace(netns string, pid int) (Namespace, error) {
	c.fakeHost.mu.Lock()
	saved := c.failing["OpenNamespace"]
	delete(c.failing, "OpenNamespace")
	c.fakeHost.mu.Unlock()
	defer c.fail("OpenNamespace", saved)
	ns, err := c.fakeHost.OpenNamespace(netns, pid)
	if err != nil {
		return nil, err
	}
	return callerNamespace{ns.(fakeNamespace), c}, nil
}

func (n callerNamespace) HasInterface(string) (bool, error) { return false, n.caller.cannot }

func (n callerNamespace) ConfigureInner(_ context.Context, d EndpointDevice) error {
	n.caller.mu.Lock()
	defer n.caller.mu.Unlock()
	n.caller.configured = append(n.caller.configured, d)
	return n.caller.fails
}

// newNarrow is a node whose agent may not enter namespaces, on a network with
// one address beside the gateway's: a lease left behind shows. Its namespaces
// are "a", and that of process 7.
func newNarrow(t *testing.T) (*node, *caller) {
	l := newLab(t, 2)
	n := l.nodes[0]
	n.create(api.NetworkRequest{Name: "blue", Subnets: prefixes("10.0.0.0/30")})
	n.host.addNamespace("a")
	n.host.addNamespace("pid:7")
	n.host.fail("HasInterface", ErrEnter)
	n.host.fail("ConfigureInner", errors.New("the agent has entered the namespace"))
	return n, &caller{fakeHost: n.host}
}

func narrowRequest() api.AttachRequest {
	return api.AttachRequest{Network: "blue", NetNS: "a", IPs: []netip.Addr{netip.MustParseAddr("10.0.0.2")}}
}

// wantNothing wants neither device nor endpoint, and that both can be had.
func (n *node) wantNothing(t *testing.T, c *caller) {
	t.Helper()
	if left := n.host.deviceNames(); len(left) > 0 {
		t.Errorf("devices left behind: %v", left)
	}
	if list, _ := n.EndpointList(t.Context(), ""); len(list) > 0 {
		t.Errorf("endpoints left behind: %+v", list)
	}
	n.host.addNamespace("fresh")
	r := narrowRequest()
	r.NetNS, r.Name = "fresh", "a"
	e, err := attachFor(t.Context(), &caller{fakeHost: c.fakeHost}, n, r)
	if err != nil {
		t.Errorf("attach after it: %v", err)
	} else if _, err := n.Detach(t.Context(), api.DetachRequest{Endpoint: e.ID}); err != nil {
		t.Error(err)
	}
}

// The caller does inside what the agent would do, and nothing else differs.
func TestCallerConfigures(t *testing.T) {
	for name, place := range map[string]func(n *node, r *api.AttachRequest){
		"namespace": func(*node, *api.AttachRequest) {},
		"process":   func(_ *node, r *api.AttachRequest) { r.NetNS, r.PID = "", 7 },
		"process that the agent may not see": func(n *node, r *api.AttachRequest) {
			r.NetNS, r.PID = "", 7
			n.host.fail("OpenNamespace", ErrLook)
		},
	} {
		t.Run(name, func(t *testing.T) {
			n, c := newNarrow(t)
			r := narrowRequest()
			r.IfName = "net3"
			place(n, &r)
			e, err := attachFor(t.Context(), c, n, r)
			if err != nil {
				t.Fatal(err)
			}
			if len(c.configured) != 1 || c.configured[0].IfName != "net3" || c.configured[0].MAC != e.MacAddress ||
				len(c.configured[0].Addrs) != 1 || c.configured[0].Addrs[0] != e.Addresses[0] {
				t.Errorf("the caller has configured %+v, want what %+v says, once", c.configured, e)
			}
			if spec := n.host.devices[e.Device].spec; !spec.InnerLater || spec.IfName != "net3" {
				t.Errorf("the device is %+v", spec)
			}
			if list, _ := n.EndpointList(t.Context(), "blue"); len(list) != 1 || list[0].ID != e.ID {
				t.Errorf("endpoints are %+v", list)
			}
			want := n.host.devices[e.Device].namespace
			if row := n.tables().Endpoints[e.ID]; row.NetnsInode != want {
				t.Errorf("inode of the row is %d, want %d", row.NetnsInode, want)
			}
			other := n.lab.nodes[1]
			n.lab.eventually("the peer knows the endpoint", func() bool {
				_, err := other.EndpointInspect(t.Context(), e.ID)
				return err == nil
			})
			_, err = n.AttachFinish(t.Context(), e.ID)
			wantCode(t, err, api.CodeNotFound)
			if _, err := n.Detach(t.Context(), api.DetachRequest{Endpoint: e.ID}); err != nil {
				t.Fatal(err)
			}
			n.host.fail("OpenNamespace", nil)
			n.wantNothing(t, c)
		})
	}
}

// Whatever goes wrong, the caller is told and nothing is left.
func TestCallerFails(t *testing.T) {
	boom := errors.New("boom")
	for _, tt := range []struct {
		name   string
		break_ func(n *node, c *caller, r *api.AttachRequest)
		fix    func(n *node)
		code   api.Code
		says   string
	}{
		{"may not enter either", func(_ *node, c *caller, _ *api.AttachRequest) { c.cannot = ErrEnter }, nil, api.CodeCannotEnter, "CAP_SYS_ADMIN"},
		{"may not see it either", func(n *node, c *caller, r *api.AttachRequest) {
			n.host.fail("OpenNamespace", ErrLook)
			r.NetNS, r.PID, c.cannot = "", 7, ErrLook
		}, func(n *node) { n.host.fail("OpenNamespace", nil) }, api.CodeCannotEnter, "CAP_SYS_PTRACE"},
		{"cannot configure", func(_ *node, c *caller, _ *api.AttachRequest) { c.fails = boom }, nil, api.CodeInternal, "boom"},
		{"namespace gone", func(_ *node, c *caller, _ *api.AttachRequest) { c.fails = link.ErrNoNamespace }, nil, api.CodeNotFound, "no such network namespace"},
		{"interface name taken", func(n *node, _ *caller, _ *api.AttachRequest) {
			n.host.mu.Lock()
			defer n.host.mu.Unlock()
			n.host.devices["foreign"] = fakeDevice{namespace: n.host.namespaces["a"], ifname: "eth0"}
		}, func(n *node) { n.host.deleteNamespace("a") }, api.CodeExists, "interface eth0 of network namespace a exists already: name another with --ifname"},
		{"device", func(n *node, _ *caller, _ *api.AttachRequest) { n.host.fail("CreateEndpoint", boom) },
			func(n *node) { n.host.fail("CreateEndpoint", nil) }, api.CodeInternal, "boom"},
		{"datapath", func(n *node, _ *caller, _ *api.AttachRequest) {
			n.hooksAfter("attach device", func() { n.host.dp().Break(boom) })
		}, func(n *node) { n.host.dp().Break(nil) }, api.CodeInternal, "boom"},
		{"namespace deleted before the row", func(n *node, _ *caller, _ *api.AttachRequest) {
			n.hooksAfter("attach device", func() { n.host.deleteNamespace("a") })
		}, nil, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, c := newNarrow(t)
			r := narrowRequest()
			tt.break_(n, c, &r)
			_, err := attachFor(t.Context(), c, n, r)
			if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error is %v, want one line with %q", err, tt.says)
			}
			if tt.code != "" {
				wantCode(t, err, tt.code)
			}
			if tt.fix != nil {
				tt.fix(n)
			}
			n.wantNothing(t, c)
		})
	}
}

// begin is the caller's first half.
func (c *caller) begin(t *testing.T, n *node) api.Endpoint {
	t.Helper()
	r := narrowRequest()
	r.EnteredInode = n.host.namespaces["a"]
	e, err := n.Attach(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if list, _ := n.EndpointList(t.Context(), ""); len(list) > 0 {
		t.Errorf("an endpoint that is not finished is listed: %+v", list)
	}
	if devices := n.host.deviceNames(); len(devices) != 1 || devices[0] != e.Device {
		t.Errorf("devices are %v, want %s", devices, e.Device)
	}
	_, err = n.Attach(t.Context(), r) // it holds name and interface
	wantCode(t, err, api.CodeExists)
	return e
}

// A caller that is not heard of again has attached nothing.
func TestCallerDies(t *testing.T) {
	n, c := newNarrow(t)
	n.Agent.hooks.finishTime = 50 * time.Millisecond
	e := c.begin(t, n)
	n.lab.eventually("the device is taken back", func() bool { return len(n.host.deviceNames()) == 0 })
	n.lab.eventually("the name can be had again", func() bool {
		release, err := n.claims.claim("endpoint a of network blue")
		if err == nil {
			release()
		}
		return err == nil
	})
	_, err := n.AttachFinish(t.Context(), e.ID)
	wantCode(t, err, api.CodeNotFound)
	n.Agent.hooks.finishTime = 0
	n.wantNothing(t, c)
}

// An agent that ends takes back what nobody can finish.
func TestAgentEndsBeforeFinish(t *testing.T) {
	n, c := newNarrow(t)
	c.begin(t, n)
	n.stop()
	if left := n.host.deviceNames(); len(left) > 0 {
		t.Errorf("devices left behind by an agent that was stopped: %v", left)
	}
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	n.wantNothing(t, c)
	n.host.addNamespace("a")
	c.begin(t, n)
	if report, err := n.Leave(t.Context(), api.LeaveRequest{}); err != nil || len(report.Problems) > 0 {
		t.Errorf("leave: %v, %v", report, err)
	}
	if left := n.host.deviceNames(); len(left) > 0 {
		t.Errorf("devices left behind by an agent that left: %v", left)
	}
	heir := n.lab.nodes[1]
	heir.host.addNamespace("b")
	r := narrowRequest()
	r.NetNS = "b"
	if _, err := heir.Attach(t.Context(), r); err != nil {
		t.Errorf("the address that it held, from who took the network over: %v", err)
	}
}

// Two that do not mean the same namespace do not get one.
func TestCallerElsewhere(t *testing.T) {
	n, c := newNarrow(t)
	r := narrowRequest()
	r.EnteredInode = 1
	_, err := n.Attach(t.Context(), r)
	wantCode(t, err, api.CodeNotFound)
	n.wantNothing(t, c)
}
