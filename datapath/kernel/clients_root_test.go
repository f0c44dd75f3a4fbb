package kernel

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/ovlnet/ovl/bpf"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// TestClientLeaves: it takes its flows along, at once or while there is no agent,
// and nobody else's.
func TestClientLeaves(t *testing.T) {
	f := newTrafficBed(t, linktest.Options{Hosts: 2})
	const port = 8000
	tcpEcho(t, f.near.Namespace, port)
	f.serve(f.near)
	h := f.a.host
	connect := func(e *bedEndpoint, vip netip.Addr) net.Conn {
		t.Helper()
		c, err := tcpDial(e.Namespace, netip.AddrPortFrom(vip, port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if err := say(c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	// end ends a connection without a word that would be said again later.
	end := func(c net.Conn) {
		t.Helper()
		if err := errors.Join(c.(*net.TCPConn).SetLinger(0), c.Close()); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when string, want int) {
		t.Helper()
		flows, err := h.dp.Flows(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		entries := 0
		for _, m := range []*ebpf.Map{h.dp.objs.OvlFlows, h.dp.objs.OvlFlowsYoung} {
			part, err := readAll[bpf.OvlFlowKey, bpf.OvlFlowEntry](m)
			if err != nil {
				t.Fatal(err)
			}
			entries += len(part)
		}
		if len(flows) != want || entries != 2*want {
			t.Errorf("%s: %d entries, want %d; flows %+v, want %d", when, entries, 2*want, flows, want)
		}
	}
	setPorts := func(ports ...datapath.Port) { h.network(testVNI, f.mtu).Ports = ports }

	over4, over6 := connect(f.a, vip4), connect(f.a, vip6)
	stays := connect(f.near, vip4)      // which is its own backend
	time.Sleep(1100 * time.Millisecond) // until some are kept with those that last
	for _, c := range []net.Conn{over4, stays} {
		if err := say(c); err != nil {
			t.Fatal(err)
		}
	}
	check("before", 3)
	setPorts(f.near.port)
	h.apply(t)
	check("the client has left", 1)
	end(over4)
	end(over6)
	if err := say(stays); err != nil {
		t.Errorf("another client's connection: %v", err)
	}
	setPorts(f.a.port, f.near.port)
	h.apply(t)
	check("somebody else has its address", 1)
	connect(f.a, vip4)
	check("and a connection", 2)

	h.close(t)
	setPorts(f.near.port)
	h.open(t)
	h.apply(t)
	check("it has left without an agent", 1)
	if err := say(stays); err != nil {
		t.Errorf("another client's connection: %v", err)
	}
	check("it goes on", 1)
	setPorts(f.a.port)
	h.apply(t)
	check("all have left", 0)
}
