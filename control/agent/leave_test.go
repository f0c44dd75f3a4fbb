package agent

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/ipam"
)

func TestLeaveHandsOver(t *testing.T) {
	l := newLab(t, 3)
	one, two, three := l.nodes[0], l.nodes[1], l.nodes[2]
	one.create(api.NetworkRequest{Name: "blue"})
	a := one.attach("blue", "a")
	c := three.attach("blue", "c")
	report, err := one.Leave(t.Context(), api.LeaveRequest{})
	if err != nil || len(report.Problems) > 0 {
		t.Fatalf("leave: %v, %v", err, report.Problems)
	}
	select {
	case <-one.left:
	default:
		t.Error("the agent does not know that it has left")
	}
	if left := one.host.deviceNames(); len(left) > 0 || one.host.pinned {
		t.Errorf("left behind: devices %v, datapath %v", left, one.host.pinned)
	}
	if _, err := os.Stat(one.cfg.DataDir()); !os.IsNotExist(err) {
		t.Errorf("data folder is still there: %v", err)
	}
	l.eventually("the others have let go of it", func() bool {
		for _, n := range []*node{two, three} {
			peers, err := n.Peers(t.Context())
			if err != nil || len(peers) != 1 || n.carries(a, one) {
				return false
			}
		}
		return true
	})
	// host3 has an endpoint on it, so it is the heir.
	if n, _ := findNetwork(two.tables(), "blue"); n.Authority != three.self.ID {
		t.Errorf("authority is %s, want host3 %s", n.Authority, three.self.ID)
	}
	d := two.attach("blue", "d")
	if d.Addresses[0] == c.Addresses[0] {
		t.Errorf("address %v was handed out twice", d.Addresses[0])
	}
}

// An address that is being handed out when the hand-over begins is in it.
func TestHandOverWaits(t *testing.T) {
	l := newLab(t, 0)
	l.leaseGrace = time.Hour
	one, two := l.add(), l.add()
	blue := one.create(api.NetworkRequest{Name: "blue"})
	n := one.tables().Networks[blue.ID]
	one.granting.RLock()
	done := make(chan error)
	go func() { done <- one.handOver(t.Context()) }()
	time.Sleep(50 * time.Millisecond)
	if _, err := one.addresses.Allocate(n.ID, ipamSubnets(n), ipam.Request{Endpoint: "late", Node: one.self.ID}); err != nil {
		t.Error(err)
	}
	one.granting.RUnlock()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if leases := two.addresses.Leases(n.ID); len(leases) != 1 || leases[0].Endpoint != "late" {
		t.Errorf("the heir has leases %+v", leases)
	}
	_, err := one.serveTake(t.Context(), takeRequest{Network: n.ID, Endpoint: "later", Node: two.self.ID})
	if err == nil {
		t.Error("one that hands over goes on handing out")
	}
}

// A hand-over that comes late, or from one who is not the authority, changes
// nothing.
func TestTakeOverRefused(t *testing.T) {
	l := newLab(t, 2)
	one, two := l.nodes[0], l.nodes[1]
	blue := one.create(api.NetworkRequest{Name: "blue"})
	a := one.attach("blue", "a")
	leases, err := two.addresses.Export(blue.ID)
	if err != nil {
		t.Fatal(err)
	}
	_, err = two.serveTakeOver(t.Context(), takeOverRequest{Network: blue.ID, From: newID(), Leases: leases})
	wantCode(t, err, api.CodeElsewhere)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := two.serveTakeOver(over, takeOverRequest{Network: blue.ID, From: one.self.ID, Leases: leases}); err == nil {
		t.Error("took over from one that has given up waiting")
	}
	if n := two.tables().Networks[blue.ID]; n.Authority != one.self.ID {
		t.Errorf("authority is %s now", n.Authority)
	}
	if b := two.attach("blue", "b"); b.Addresses[0] == a.Addresses[0] {
		t.Errorf("address %v was handed out twice", b.Addresses[0])
	}
}

func TestLeaveAlone(t *testing.T) {
	l := newLab(t, 1)
	n := l.nodes[0]
	n.create(api.NetworkRequest{Name: "blue"})
	if report, err := n.Leave(t.Context(), api.LeaveRequest{}); err != nil || len(report.Problems) > 0 {
		t.Errorf("leave: %v, %v", err, report.Problems)
	}
}

// With nobody to take over, a host leaves all the same, and says what that
// costs the others.
func TestLeaveWithoutHeir(t *testing.T) {
	l := newLab(t, 2)
	one, two := l.nodes[0], l.nodes[1]
	one.create(api.NetworkRequest{Name: "blue"})
	one.create(api.NetworkRequest{Name: "unused"})
	one.attach("blue", "a")
	two.attach("blue", "b")
	two.stop()
	l.eventually("host1 sees host2 fail", func() bool {
		s, err := one.Status(t.Context())
		return err == nil && s.Cluster.Failed == 1
	})
	report, err := one.Leave(t.Context(), api.LeaveRequest{})
	if err != nil || len(report.Problems) != 1 || !strings.Contains(report.Problems[0], "network blue") {
		t.Errorf("leave: %v, %q", err, report.Problems)
	}
	if left := one.host.deviceNames(); len(left) > 0 || one.host.pinned {
		t.Errorf("left behind: devices %v, datapath %v", left, one.host.pinned)
	}
	// Back again, host2 can say why it has no addresses, and let go of b.
	if err := two.start(); err != nil {
		t.Fatal(err)
	}
	two.host.addNamespace("c")
	_, err = two.Attach(t.Context(), api.AttachRequest{Network: "blue", NetNS: "c"})
	wantCode(t, err, api.CodeUnreachable)
	if _, err := two.Detach(t.Context(), api.DetachRequest{Endpoint: "b"}); err != nil {
		t.Error(err)
	}
}

func TestPurge(t *testing.T) {
	l := newLab(t, 1)
	n := l.nodes[0]
	n.create(api.NetworkRequest{Name: "blue"})
	n.attach("blue", "a")
	n.host.addTAP("tap0")
	n.stop()
	letGo, err := n.host.Hold()
	if err != nil {
		t.Fatal(err)
	}
	if err := purge(n.cfg, n.host); !errors.Is(err, ErrHeld) {
		t.Errorf("purge beside another agent: %v", err)
	}
	if err := letGo(); err != nil {
		t.Fatal(err)
	}
	if err := purge(n.cfg, n.host); err != nil {
		t.Fatal(err)
	}
	if left := n.host.deviceNames(); len(left) != 1 || left[0] != "tap0" || n.host.pinned {
		t.Errorf("left behind: devices %v, datapath %v", left, n.host.pinned)
	}
	for _, dir := range []string{n.cfg.DataDir(), n.cfg.RunDir()} {
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", dir, err)
		}
	}
	if err := purge(n.cfg, n.host); err != nil {
		t.Errorf("a second purge: %v", err)
	}
}
