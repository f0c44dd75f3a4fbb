package agent

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/datapath"
)

// Every step of an attach fails once; nothing may be left of it.
func TestAttachRollsBack(t *testing.T) {
	boom := errors.New("boom")
	for _, c := range []struct {
		name        string
		break_, fix func(n *node)
	}{
		{
			"gateway",
			func(n *node) { n.host.fail("EnsureGateway", boom) },
			func(n *node) { n.host.fail("EnsureGateway", nil) },
		},
		{
			"sockets for names",
			func(n *node) { n.host.fail("Listen", boom) },
			func(n *node) { n.host.fail("Listen", nil) },
		},
		{
			"device",
			func(n *node) { n.host.fail("CreateEndpoint", boom) },
			func(n *node) { n.host.fail("CreateEndpoint", nil) },
		},
		{
			"datapath as a whole",
			func(n *node) { n.host.dp().Break(boom) },
			func(n *node) { n.host.dp().Break(nil) },
		},
		{
			"the port",
			func(n *node) {
				n.hooksAfter("attach device", func() {
					for _, d := range n.host.deviceNames() {
						n.host.dp().Fail(datapath.PortObject(d), boom)
					}
				})
			},
			func(n *node) { n.Agent.hooks.afterStep = nil },
		},
		{
			"namespace deleted half-way",
			func(n *node) { n.hooksAfter("attach device", func() { n.host.deleteNamespace("a") }) },
			func(n *node) { n.Agent.hooks.afterStep = nil; n.host.addNamespace("a") },
		},
		{
			"network removed half-way",
			func(n *node) {
				n.hooksAfter("attach device", func() {
					if err := n.NetworkRemove(n.lab.t.Context(), "blue"); err != nil {
						n.lab.t.Error(err)
					}
				})
			},
			func(n *node) {
				n.Agent.hooks.afterStep = nil
				n.create(api.NetworkRequest{Name: "blue", Subnets: prefixes("10.0.0.0/30")})
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, 2)
			n := l.nodes[0]
			// One address beside the gateway's: a lease left behind shows.
			n.create(api.NetworkRequest{Name: "blue", Subnets: prefixes("10.0.0.0/30")})
			n.host.addNamespace("a")
			c.break_(n)
			_, err := n.Attach(t.Context(), api.AttachRequest{Network: "blue", NetNS: "a", IPs: []netip.Addr{netip.MustParseAddr("10.0.0.2")}})
			if err == nil {
				t.Fatal("the attach was not refused")
			}
			if left := n.host.deviceNames(); len(left) > 0 {
				t.Errorf("devices left behind: %v", left)
			}
			if left := n.host.gatewayNames(); left != "" {
				t.Errorf("gateways left behind: %s", left)
			}
			if held := n.host.holder.names(); len(held) > 0 {
				t.Errorf("still held: %q", held)
			}
			if list, _ := n.EndpointList(t.Context(), ""); len(list) > 0 {
				t.Errorf("endpoints left behind: %+v", list)
			}
			c.fix(n)
			if _, err := n.Attach(t.Context(), api.AttachRequest{Network: "blue", NetNS: "a", IPs: []netip.Addr{netip.MustParseAddr("10.0.0.2")}}); err != nil {
				t.Errorf("after the cause is gone: %v", err)
			}
		})
	}
}

// An attach that its host holds up for longer than the authority keeps its
// addresses gets no row.
func TestAttachTooLate(t *testing.T) {
	l := newLab(t, 1)
	n := l.nodes[0]
	blue := n.create(api.NetworkRequest{Name: "blue"})
	at := &attachment{agent: n.Agent, network: n.tables().Networks[blue.ID], row: store.Endpoint{ID: newID(), Name: "a", Network: blue.ID, Node: n.self.ID}}
	wantCode(t, at.writeRow(t.Context()), api.CodeTimeout)
	at.leasedUntil = time.Now().Add(time.Minute)
	if err := at.writeRow(t.Context()); err != nil {
		t.Error(err)
	}
}

// hooksAfter runs f after a step, once.
func (n *node) hooksAfter(step string, f func()) {
	n.Agent.hooks.afterStep = func(s string) {
		if s == step {
			n.Agent.hooks.afterStep = nil
			f()
		}
	}
}
