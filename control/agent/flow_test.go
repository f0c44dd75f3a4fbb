package agent

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/encap"
)

func TestAttachEverywhere(t *testing.T) {
	l := newLab(t, 3)
	one, two, three := l.nodes[0], l.nodes[1], l.nodes[2]
	n := one.create(api.NetworkRequest{Name: "blue", Multicast: true})
	if n.IPAM.Config[0].Subnet.String() != "10.0.0.0/24" || n.Options[api.OptionVNI] != "4096" || n.Options[api.OptionMTU] != "1450" {
		t.Errorf("network is %+v", n)
	}
	for _, other := range l.nodes {
		if _, err := other.NetworkInspect(t.Context(), "blue"); err != nil {
			t.Errorf("right after its creation: %v", err)
		}
	}
	start := time.Now()
	a := one.attach("blue", "a")
	b := two.attach("blue", "b")
	c := three.attach("blue", "c")
	if took := time.Since(start); took > time.Second {
		t.Errorf("three attaches took %v", took)
	}
	// No waiting here: what attach promises holds when it returns.
	for _, pair := range []struct {
		e     api.Endpoint
		owner *node
	}{{a, one}, {b, two}, {c, three}} {
		for _, n := range l.nodes {
			if !n.carries(pair.e, pair.owner) {
				t.Errorf("%s does not carry endpoint %s", n.cfg.Name, pair.e.Name)
			}
		}
	}
	if a.Addresses[0] == b.Addresses[0] || b.Addresses[0] == c.Addresses[0] {
		t.Errorf("addresses are %v, %v, %v", a.Addresses, b.Addresses, c.Addresses)
	}
	if b.Name != "b" || b.Interface != "eth0" || b.Node != "host2" || b.Gateways[0].String() != "10.0.0.1" || b.MTU != 1450 {
		t.Errorf("endpoint is %+v", b)
	}
	n, err := three.NetworkInspect(t.Context(), "blue")
	if err != nil {
		t.Fatal(err)
	}
	if n.Options[api.OptionMulticast] != "true" {
		t.Errorf("network has the options %v, not multicast", n.Options)
	}
	if len(n.Containers) != 3 || n.Containers[a.ID].Node != "host1" || len(n.Peers) != 3 {
		t.Errorf("network is %+v", n)
	}
	err = one.NetworkRemove(t.Context(), "blue")
	wantCode(t, err, api.CodeInUse)
	for _, text := range []string{"3 endpoints", "a on node host1"} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q does not say %q", err, text)
		}
	}
	for _, d := range []struct {
		n    *node
		name string
	}{{one, "a"}, {two, "b"}, {three, "c"}} {
		if _, err := d.n.Detach(t.Context(), api.DetachRequest{Endpoint: d.name}); err != nil {
			t.Fatal(err)
		}
		_, err := d.n.Detach(t.Context(), api.DetachRequest{Endpoint: d.name})
		wantCode(t, err, api.CodeNotFound)
		if left := d.n.host.deviceNames(); len(left) > 0 {
			t.Errorf("devices left after the detach: %v", left)
		}
	}
	for _, n := range l.nodes {
		if s, _ := n.host.dp().Last(); len(s.Networks) > 0 {
			t.Errorf("%s still carries %+v", n.cfg.Name, s)
		}
	}
	if err := two.NetworkRemove(t.Context(), "blue"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, one.NetworkRemove(t.Context(), "blue"), api.CodeNotFound)
}

// What an underlay leaves is refused where it is too little: for this host at
// its start, for IPv6 (RFC 8200 section 5) when a network is created.
func TestSmallUnderlay(t *testing.T) {
	l := newLab(t, 0)
	n := l.machine()
	n.host.underlay.MTU = 600
	if err := n.start(); err == nil || !strings.Contains(err.Error(), "underlay eth0") || !strings.Contains(err.Error(), "626") {
		t.Errorf("an underlay of 600 bytes: %v", err)
	}
	n.host.underlay.MTU = 1300
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	_, err := n.NetworkCreate(t.Context(), api.NetworkRequest{Name: "six", Subnets: prefixes("fd00::/64")})
	wantCode(t, err, api.CodeInvalid)
	_, err = n.NetworkCreate(t.Context(), api.NetworkRequest{Name: "six", IPv6: true})
	wantCode(t, err, api.CodeInvalid)
	if four := n.create(api.NetworkRequest{Name: "four"}); four.Options[api.OptionMTU] != "1250" {
		t.Errorf("MTU is %s, want 1250", four.Options[api.OptionMTU])
	}
}

func TestNetworkCreateRefuses(t *testing.T) {
	l := newLab(t, 1)
	n := l.nodes[0]
	n.host.routes = prefixes("10.9.0.0/16")
	n.create(api.NetworkRequest{Name: "blue"})
	for _, c := range []struct {
		name string
		r    api.NetworkRequest
		code api.Code
		text string
	}{
		{"name taken", api.NetworkRequest{Name: "blue"}, api.CodeExists, "blue"},
		{"bad name", api.NetworkRequest{Name: "a b"}, api.CodeInvalid, "a b"},
		{"host route", api.NetworkRequest{Name: "x", Subnets: prefixes("10.9.1.0/24")}, api.CodeInvalid, "10.9.0.0/16 dev eth1"},
		{"host bits", api.NetworkRequest{Name: "x", Subnets: prefixes("10.8.0.1/24")}, api.CodeInvalid, "10.8.0.0/24"},
		{"MTU", api.NetworkRequest{Name: "x", MTU: 1451}, api.CodeInvalid, "576..1450"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := n.NetworkCreate(t.Context(), c.r)
			wantCode(t, err, c.code)
			if err != nil && !strings.Contains(err.Error(), c.text) {
				t.Errorf("%q does not say %q", err, c.text)
			}
		})
	}
	if list, _ := n.NetworkList(t.Context()); len(list) != 1 {
		t.Errorf("refusals have left %d networks", len(list))
	}
	n.create(api.NetworkRequest{Name: "forced", Subnets: prefixes("10.9.1.0/24"), Force: true})
	if got := n.create(api.NetworkRequest{Name: "green"}); got.IPAM.Config[0].Subnet.String() != "10.0.1.0/24" || got.Options[api.OptionVNI] != "4098" {
		t.Errorf("next network is %+v", got)
	}
	// Two networks may share a subnet.
	n.create(api.NetworkRequest{Name: "twin", Subnets: prefixes("10.0.0.0/24")})
}

func TestAttachRefuses(t *testing.T) {
	l := newLab(t, 2)
	one, two := l.nodes[0], l.nodes[1]
	one.create(api.NetworkRequest{Name: "blue"})
	one.create(api.NetworkRequest{Name: "red"})
	have := one.attach("blue", "a")
	for _, ns := range []string{"a", "b"} {
		two.host.addNamespace(ns)
	}
	one.host.addNamespace("b")
	one.host.addTAP("tap0")
	one.host.devices["veth7"] = fakeDevice{namespace: one.host.namespaces["b"], ifname: "lan0"}
	before := one.host.deviceNames()
	for _, c := range []struct {
		name string
		n    *node
		r    api.AttachRequest
		code api.Code
		text string
	}{
		{"no such network", one, api.AttachRequest{Network: "none", NetNS: "b"}, api.CodeNotFound, "none"},
		{"no such namespace", one, api.AttachRequest{Network: "blue", NetNS: "nowhere"}, api.CodeNotFound, "nowhere"},
		{"no such process", one, api.AttachRequest{Network: "blue", PID: 77}, api.CodeNotFound, "77"},
		{"no such TAP", one, api.AttachRequest{Network: "blue", TAP: "tap9"}, api.CodeNotFound, "tap9"},
		{"not a TAP", one, api.AttachRequest{Network: "blue", TAP: have.Device}, api.CodeInvalid, have.Device},
		{"attached twice", one, api.AttachRequest{Network: "red", NetNS: "a", Name: "other"}, api.CodeExists, "endpoint a of network blue"},
		{"interface is there", one, api.AttachRequest{Network: "red", NetNS: "b", IfName: "lan0"}, api.CodeExists, "--ifname"},
		{"name taken here", one, api.AttachRequest{Network: "blue", NetNS: "b", Name: "a"}, api.CodeExists, "node host1"},
		{"name taken elsewhere", two, api.AttachRequest{Network: "blue", NetNS: "a"}, api.CodeExists, "node host1"},
		{"MAC taken", two, api.AttachRequest{Network: "blue", NetNS: "b", MAC: have.MacAddress}, api.CodeTaken, "endpoint a"},
		{"group MAC", two, api.AttachRequest{Network: "blue", NetNS: "b", MAC: encap.MAC{1}}, api.CodeInvalid, "01:00"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := c.n.Attach(t.Context(), c.r)
			wantCode(t, err, c.code)
			if err != nil && !strings.Contains(err.Error(), c.text) {
				t.Errorf("%q does not say %q", err, c.text)
			}
		})
	}
	if got := one.host.deviceNames(); strings.Join(got, " ") != strings.Join(before, " ") {
		t.Errorf("refusals have changed the devices from %v to %v", before, got)
	}
	if list, _ := one.EndpointList(t.Context(), ""); len(list) != 1 {
		t.Errorf("refusals have left %d endpoints", len(list))
	}
	_, err := two.Detach(t.Context(), api.DetachRequest{Endpoint: "a"})
	wantCode(t, err, api.CodeElsewhere)
}

func TestAttachTAPAndPID(t *testing.T) {
	l := newLab(t, 1)
	n := l.nodes[0]
	n.create(api.NetworkRequest{Name: "blue"})
	n.host.addTAP("tap0")
	n.host.addNamespace("pid:42")
	tap, err := n.Attach(t.Context(), api.AttachRequest{Network: "blue", TAP: "tap0"})
	if err != nil {
		t.Fatal(err)
	}
	if tap.Kind != api.EndpointTAP || tap.Device != "tap0" || tap.Name != "tap0" || tap.MacAddress != derivedMAC(tap.ID) {
		t.Errorf("endpoint is %+v", tap)
	}
	s, _ := n.host.dp().Last()
	if len(s.Networks) != 1 || len(s.Networks[0].Ports) != 2 || s.Networks[0].Ports[1].Kind != datapath.TAP {
		t.Errorf("state is %+v", s)
	}
	_, err = n.Attach(t.Context(), api.AttachRequest{Network: "blue", TAP: "tap0", Name: "again"})
	wantCode(t, err, api.CodeExists)
	pid, err := n.Attach(t.Context(), api.AttachRequest{Network: "blue", PID: 42, IfName: "ovl0"})
	if err != nil {
		t.Fatal(err)
	}
	if pid.PID != 42 || pid.Interface != "ovl0" || pid.Name != "ep-"+pid.ID[:8] {
		t.Errorf("endpoint is %+v", pid)
	}
	if _, err := n.Detach(t.Context(), api.DetachRequest{Endpoint: "tap0"}); err != nil {
		t.Fatal(err)
	}
	if there, _ := n.host.DeviceExists("tap0"); !there {
		t.Error("detach has removed a TAP, which is not ours")
	}
}

func TestAuthorityAway(t *testing.T) {
	l := newLab(t, 2)
	one, two := l.nodes[0], l.nodes[1]
	one.create(api.NetworkRequest{Name: "blue"})
	two.attach("blue", "a")
	one.stop()
	l.eventually("host2 sees host1 fail", func() bool {
		peers, err := two.Peers(t.Context())
		return err == nil && len(peers) == 1 && peers[0].State == api.PeerFailed
	})
	two.host.addNamespace("b")
	start := time.Now()
	_, err := two.Attach(t.Context(), api.AttachRequest{Network: "blue", NetNS: "b"})
	wantCode(t, err, api.CodeUnreachable)
	if err != nil && !strings.Contains(err.Error(), "host1") {
		t.Errorf("%q does not name the node", err)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("the refusal took %v", took)
	}
	if n := len(two.host.deviceNames()); n != 1 {
		t.Errorf("%d devices, want that of a alone", n)
	}
	// What is there can be taken away without the authority.
	if _, err := two.Detach(t.Context(), api.DetachRequest{Endpoint: "a"}); err != nil {
		t.Error(err)
	}
}

func TestWithdrawn(t *testing.T) {
	l := newLab(t, 2)
	one, two := l.nodes[0], l.nodes[1]
	one.create(api.NetworkRequest{Name: "blue"})
	two.attach("blue", "b")
	one.attach("blue", "a")
	two.host.deleteNamespace("b")
	start := time.Now()
	l.eventually("the endpoint is withdrawn everywhere", func() bool {
		list, err := one.EndpointList(t.Context(), "blue")
		return err == nil && len(list) == 1 && list[0].Name == "a"
	})
	if took := time.Since(start); took > time.Second {
		t.Errorf("withdrawing took %v", took)
	}
	two.attach("blue", "b") // its name is free again
}

// A withdrawal that fails is made up for when its cause is gone.
func TestWithdrawnLater(t *testing.T) {
	l := newLab(t, 1)
	n := l.nodes[0]
	n.create(api.NetworkRequest{Name: "blue"})
	a := n.attach("blue", "a")
	n.host.fail("DeviceExists", errors.New("boom"))
	n.host.mu.Lock()
	delete(n.host.devices, a.Device)
	for w := range n.host.watchers {
		w <- "" // some removals were missed
	}
	n.host.mu.Unlock()
	time.Sleep(50 * time.Millisecond)
	if len(n.ownEndpoints()) != 1 {
		t.Error("withdrawn without a look at the devices")
	}
	n.host.fail("DeviceExists", nil)
	l.eventually("it is withdrawn", func() bool { return len(n.ownEndpoints()) == 0 })
}

// Namespaces that go together cost the host one change or a few, not one each,
// so that a peer that answers late holds up none of them.
func TestWithdrawnTogether(t *testing.T) {
	const many = 30
	l := newLab(t, 1)
	n := l.nodes[0]
	n.create(api.NetworkRequest{Name: "blue"})
	for i := range many {
		n.attach("blue", fmt.Sprintf("c%d", i))
	}
	before := n.store.Snapshot().Version()
	for i := range many {
		n.host.deleteNamespace(fmt.Sprintf("c%d", i))
	}
	l.eventually("all are withdrawn", func() bool { return len(n.ownEndpoints()) == 0 })
	if changes := n.store.Snapshot().Version() - before; changes > many/2 {
		t.Errorf("%d endpoints were withdrawn in %d changes", many, changes)
	}
	l.eventually("their addresses are free", func() bool {
		for _, id := range n.addresses.Networks() {
			if len(n.addresses.Leases(id)) > 0 {
				return false
			}
		}
		return true
	})
}

func TestTwoAtOnce(t *testing.T) {
	l := newLab(t, 1)
	n := l.nodes[0]
	n.create(api.NetworkRequest{Name: "blue"})
	n.host.addNamespace("a")
	errs := make(chan error, 8)
	for range cap(errs) {
		go func() {
			_, err := n.Attach(t.Context(), api.AttachRequest{Network: "blue", NetNS: "a"})
			errs <- err
		}()
	}
	done := 0
	for range cap(errs) {
		if err := <-errs; err != nil {
			wantCode(t, err, api.CodeExists)
		} else {
			done++
		}
	}
	if done != 1 || len(n.host.deviceNames()) != 1 {
		t.Errorf("%d of 8 attaches of one interface succeeded, devices are %v", done, n.host.deviceNames())
	}
}
