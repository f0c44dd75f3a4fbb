package agent

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/ipam"
)

// The refusals of an authority reach the host that asked, with their meaning.
func TestWantedAddresses(t *testing.T) {
	l := newLab(t, 2)
	one, two := l.nodes[0], l.nodes[1]
	one.create(api.NetworkRequest{
		Name: "blue", Subnets: prefixes("10.1.0.0/29"),
		AuxAddresses: map[string]netip.Addr{"router": netip.MustParseAddr("10.1.0.6")},
	})
	one.attach("blue", "a")
	two.host.addNamespace("b")
	ask := func(ip string) error {
		_, err := two.Attach(t.Context(), api.AttachRequest{Network: "blue", NetNS: "b", IPs: []netip.Addr{netip.MustParseAddr(ip)}})
		return err
	}
	for _, c := range []struct {
		ip   string
		code api.Code
		text string
	}{
		{"10.1.0.2", api.CodeTaken, "address is taken: endpoint a on node host1 has 10.1.0.2"},
		{"10.1.0.1", api.CodeTaken, "gateway"},
		{"10.1.0.6", api.CodeTaken, "router"},
		{"10.1.0.7", api.CodeInvalid, "broadcast"},
		{"10.2.0.2", api.CodeInvalid, "10.1.0.0/29"},
		{"fd00::2", api.CodeInvalid, "fd00::2"},
	} {
		err := ask(c.ip)
		wantCode(t, err, c.code)
		if err != nil && (!strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%s: %q is not one line that says %q", c.ip, err, c.text)
		}
	}
	if err := ask("10.1.0.5"); err != nil {
		t.Error(err)
	}
	for _, ns := range []string{"c", "d"} {
		two.attach("blue", ns)
	}
	two.host.addNamespace("e")
	_, err := two.Attach(t.Context(), api.AttachRequest{Network: "blue", NetNS: "e"})
	wantCode(t, err, api.CodeExhausted)
}

// An endpoint that was deleted while the authority was away leaves its address
// as soon as the authority hears of it: a host that rebooted attaches again.
func TestLeaseOfDeletedEndpoint(t *testing.T) {
	l := newLab(t, 0)
	l.leaseGrace = time.Hour
	one, two := l.add(), l.add()
	one.create(api.NetworkRequest{Name: "blue"})
	b := two.attach("blue", "b")
	one.stop()
	if _, err := two.Detach(t.Context(), api.DetachRequest{Endpoint: "b"}); err != nil {
		t.Fatal(err)
	}
	if err := one.start(); err != nil {
		t.Fatal(err)
	}
	l.eventually("its address can be had again", func() bool {
		_, err := two.Attach(t.Context(), api.AttachRequest{Network: "blue", NetNS: "b", IPs: []netip.Addr{b.Addresses[0].Addr()}})
		return err == nil
	})
}

// Leases that never got an endpoint are freed, but not those of a host that
// cannot be heard.
func TestLeasesWithoutEndpoint(t *testing.T) {
	l := newLab(t, 2)
	one, two := l.nodes[0], l.nodes[1]
	blue := one.create(api.NetworkRequest{Name: "blue"})
	one.attach("blue", "a")
	n := one.tables().Networks[blue.ID]
	lease := func(endpoint, node string) {
		if _, err := one.addresses.Allocate(n.ID, ipamSubnets(n), ipam.Request{Endpoint: endpoint, Node: node}); err != nil {
			t.Fatal(err)
		}
	}
	leases := func() string {
		var has []string
		for _, l := range one.addresses.Leases(n.ID) {
			if _, ok := one.tables().Endpoints[l.Endpoint]; !ok {
				has = append(has, l.Endpoint)
			}
		}
		return strings.Join(has, " ")
	}
	l.hub.Partition([]string{one.self.ID}, []string{two.self.ID})
	l.eventually("host1 sees host2 fail", func() bool {
		peers, err := one.Peers(t.Context())
		return err == nil && peers[0].State == api.PeerFailed
	})
	lease("here", one.self.ID)
	lease("gone", "00000000000000000000000000000000")
	lease("there", two.self.ID)
	l.eventually("those without a node to wait for are freed", func() bool { return leases() == "there" })
	time.Sleep(600 * time.Millisecond)
	if got := leases(); got != "there" {
		t.Errorf("leases are %q, want that of the host behind the partition to stay", got)
	}
	l.hub.Partition()
	l.eventually("its lease is freed, since it has no such endpoint", func() bool { return leases() == "" })
	if err := one.NetworkRemove(t.Context(), "blue"); err == nil {
		t.Error("a network with an endpoint was removed")
	}
	if _, err := one.Detach(t.Context(), api.DetachRequest{Endpoint: "a"}); err != nil {
		t.Fatal(err)
	}
	if err := one.NetworkRemove(t.Context(), "blue"); err != nil {
		t.Fatal(err)
	}
	l.eventually("nothing is kept of a network that was removed", func() bool { return len(one.addresses.Networks()) == 0 })
}

// An authority whose leases know less than the cluster, as after a hand-over
// whose answer was lost, hands out no address that an endpoint has.
func TestAddressWithoutLease(t *testing.T) {
	l := newLab(t, 2)
	one, two := l.nodes[0], l.nodes[1]
	blue := one.create(api.NetworkRequest{Name: "blue", Subnets: prefixes("10.1.0.0/29")})
	b := two.attach("blue", "b")
	if err := one.addresses.DropNetwork(blue.ID); err != nil {
		t.Fatal(err)
	}
	one.host.addNamespace("c")
	_, err := one.Attach(t.Context(), api.AttachRequest{Network: "blue", NetNS: "c", IPs: []netip.Addr{b.Addresses[0].Addr()}})
	wantCode(t, err, api.CodeTaken)
	if err != nil && !strings.Contains(err.Error(), "endpoint b on node host2") {
		t.Errorf("%q does not say who has it", err)
	}
	if c := one.attach("blue", "c"); c.Addresses[0] == b.Addresses[0] {
		t.Errorf("address %v was handed out twice", c.Addresses[0])
	}
}
