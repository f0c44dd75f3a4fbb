package kernel

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/balance"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

var (
	vip4 = netip.MustParseAddr("10.0.0.100")
	vip6 = netip.MustParseAddr("fd00::100")
)

// serve gives every host's network a service of these backends, for any port.
func (b *bed) serve(backends ...*bedEndpoint) {
	b.t.Helper()
	v := datapath.Service{Name: "web", VIPs: []netip.Addr{vip4, vip6}, TableSize: balance.DefaultSize}
	for _, e := range backends {
		v.Backends = append(v.Backends, datapath.Backend{ID: e.Name, MAC: e.port.MAC, Addrs: e.port.Addrs, Weight: 1})
	}
	for _, h := range b.hosts {
		h.network(testVNI, b.mtu).Services = []datapath.Service{v}
		h.apply(b.t)
	}
}

// TestService: what applications send to a VIP arrives at a backend, here or
// elsewhere or the sender itself, and comes back, whole and at speed.
func TestService(t *testing.T) { onUnderlays(t, linktest.Options{Hosts: 2}, testService) }

func testService(t *testing.T, o linktest.Options) {
	needTool(t, "iperf3", "ping")
	f := newTrafficBed(t, o)
	for _, c := range []struct {
		name string
		to   *bedEndpoint
	}{{"two hosts", f.far}, {"one host", f.near}, {"itself", f.a}} {
		t.Run(c.name, func(t *testing.T) {
			f.serve(c.to)
			for _, addr := range []netip.Addr{vip4, vip6} {
				checkTCP(t, f.a.Namespace, c.to.Namespace, addr.String())
				checkPing(t, f.a.Namespace, addr.String())
				at := c.to.port.Addrs[0]
				if addr.Is6() {
					at = c.to.port.Addrs[1]
				}
				in := udpListen(t, c.to.Namespace, netip.AddrPortFrom(at, 4433))
				out := udpDial(t, f.a.Namespace, netip.AddrPortFrom(addr, 4433))
				checkSegments(t, out, in)
				_ = in.Close()
			}
		})
	}
}

// tcpDial connects a socket of a namespace.
func tcpDial(ns *linktest.Namespace, to netip.AddrPort) (c net.Conn, err error) {
	err = ns.Do(func() (err error) {
		c, err = net.DialTimeout("tcp", to.String(), 5*time.Second)
		return err
	})
	return c, err
}

// tcpEcho answers what it is sent on a port of a namespace.
func tcpEcho(t *testing.T, ns *linktest.Namespace, port int) {
	t.Helper()
	var l net.Listener
	err := ns.Do(func() (err error) {
		l, err = net.Listen("tcp", fmt.Sprintf(":%d", port))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			wg.Go(func() {
				_, _ = io.Copy(c, struct{ io.Reader }{c}) // by no pipe, which would be kept
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
}

// say sends a byte and wants it back.
func say(c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := c.Write([]byte{42}); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}

// TestServiceConnections: connections outlive the agent and the draining of their
// backend, and end at once with that, or where there is none.
func TestServiceConnections(t *testing.T) {
	onUnderlays(t, linktest.Options{Hosts: 2}, testServiceConnections)
}

func testServiceConnections(t *testing.T, o linktest.Options) {
	f := newTrafficBed(t, o)
	const port = 8000
	for _, e := range []*bedEndpoint{f.near, f.far} {
		tcpEcho(t, e.Namespace, port)
	}
	h := f.a.host
	for _, vip := range []netip.Addr{vip4, vip6} {
		at := netip.AddrPortFrom(vip, port)
		f.serve(f.near, f.far)
		to := map[string]net.Conn{} // by backend
		for range 200 {
			c, err := tcpDial(f.a.Namespace, at)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			if err := say(c); err != nil {
				t.Fatal(err)
			}
			flow := flowOf(t, h, c)
			if flow.State != datapath.FlowEstablished || flow.Sent.Packets < 3 || flow.Received.Packets < 2 {
				t.Errorf("flow %+v, want it established, with its packets", flow)
			}
			to[flow.BackendID] = c
			if len(to) == 2 {
				break
			}
		}
		if len(to) != 2 {
			t.Fatalf("connections go to %d backends, want 2", len(to))
		}
		all := func(when string) {
			t.Helper()
			for name, c := range to {
				if err := say(c); err != nil {
					t.Errorf("%s to %s, %s: %v", vip, name, when, err)
				}
			}
		}
		h.close(t)
		all("without an agent")
		h.open(t)
		h.apply(t)
		all("with another agent")
		time.Sleep(1100 * time.Millisecond) // until they are kept with those that last
		all("a second later")

		n := h.network(testVNI, f.mtu)
		n.Services[0].Backends = slices.Clone(n.Services[0].Backends)
		for i := range n.Services[0].Backends {
			n.Services[0].Backends[i].Draining = true
		}
		h.apply(t)
		all("draining")
		if c, err := tcpDial(f.a.Namespace, at); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("a connection to a service that drains: %v, %v, want it refused", c, err)
		}

		f.serve(f.near)
		if err := say(to[f.far.Name]); !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("a connection to a backend that is gone: %v, want a reset", err)
		}
		if err := say(to[f.near.Name]); err != nil {
			t.Errorf("the other backend is gone, and a connection ends: %v", err)
		}
		h.network(testVNI, f.mtu).Services = nil
		h.apply(t)
		if err := say(to[f.near.Name]); !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("a connection to a service that is gone: %v, want a reset", err)
		}
		f.serve()
		if c, err := tcpDial(f.a.Namespace, at); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("a connection to a service without backends: %v, %v, want it refused", c, err)
		}
		u := udpDial(t, f.a.Namespace, at)
		if err := say(u); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("a datagram to a service without backends: %v, want to be told", err)
		}
	}
}

// flowOf is the flow that a host has of a connection.
func flowOf(t *testing.T, h *bedHost, c net.Conn) datapath.Flow {
	t.Helper()
	flows, err := h.dp.Flows(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range flows {
		if f.Client.String() == c.LocalAddr().String() && f.VIP.String() == c.RemoteAddr().String() {
			return f
		}
	}
	t.Fatalf("no flow of %s among %+v", c.LocalAddr(), flows)
	return datapath.Flow{}
}

// TestServiceHash: the programs choose as package balance does.
func TestServiceHash(t *testing.T) {
	b := newBed(t, linktest.Options{Hosts: 1}, HookAuto)
	a := b.attach(0, testVNI, "10.0.0.2/24", "fd00::2/64")
	var backends []*bedEndpoint
	for i := range 3 {
		backends = append(backends, b.attach(0, testVNI, fmt.Sprintf("10.0.0.%d/24", 10+i), fmt.Sprintf("fd00::%d/64", 10+i)))
	}
	b.connect()
	for _, affinity := range []time.Duration{0, time.Hour} {
		b.serve(backends...)
		v := &b.hosts[0].network(testVNI, b.mtu).Services[0]
		v.Affinity = affinity
		b.hosts[0].apply(t)
		checkChoice(t, newTested(t, b.hosts[0], b.hosts[0].dp.objs.FromEndpoint, a.port.Device), a, *v)
	}
}

func checkChoice(t *testing.T, r tested, a *bedEndpoint, v datapath.Service) {
	t.Helper()
	names := make([]balance.Backend, len(v.Backends))
	for i, b := range v.Backends {
		names[i] = balance.Backend{Name: b.ID, Weight: b.Weight}
	}
	table := balance.Table(names, v.TableSize)
	chosen := map[int]bool{}
	for range 2000 {
		client, vip, ports := a.port.Addrs[0], vip4, 14+20
		frame := dt.UDP4(dt.Party{MAC: a.port.MAC, Addr: client}, dt.Party{MAC: datapath.ServiceMAC, Addr: vip}, "hello")
		if rand.IntN(2) == 0 {
			client, vip, ports = a.port.Addrs[1], vip6, 14+40
			frame = dt.UDP6(dt.Party{MAC: a.port.MAC, Addr: client}, dt.Party{MAC: datapath.ServiceMAC, Addr: vip}, "hello")
		}
		from, to := uint16(rand.Uint32()), uint16(rand.Uint32())
		frame = dt.Patch(frame, ports, byte(from>>8), byte(from), byte(to>>8), byte(to))
		flow := balance.Flow{Protocol: unix.IPPROTO_UDP, Client: netip.AddrPortFrom(client, from), VIP: netip.AddrPortFrom(vip, to)}
		if v.Affinity > 0 {
			flow = flow.Affine()
		}
		want := table[balance.Entry(flow.Hash(), len(table))]
		verdict, out := r.run(t, frame)
		if verdict != verdictRedirect || [6]byte(out[:6]) != v.Backends[want].MAC {
			t.Fatalf("%+v: verdict %d, to %x, want %d, to %s", flow, verdict, out[:6], verdictRedirect, v.Backends[want].MAC)
		}
		chosen[int(want)] = true
	}
	if v.Affinity == 0 && len(chosen) != len(v.Backends) {
		t.Errorf("%d of %d backends are chosen", len(chosen), len(v.Backends))
	}
}
