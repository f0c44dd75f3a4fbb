package userspace

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/balance"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

const (
	vip       = "10.0.0.200:80"
	vipTarget = "10.0.0.11:8080"
	// sooner or later: no test waits for so long unless it fails
	patience = 20 * time.Second
)

// newServiceBed has a service with B behind it, which sends back what it gets.
func newServiceBed(t *testing.T) *bed {
	t.Helper()
	b := newBed(t)
	b.serve(datapath.Backend{ID: "b", MAC: mac(macB), Addrs: []netip.Addr{netip.MustParseAddr(addrB)}, Weight: 1})
	b.apply(t)
	b.echo(t)
	return b
}

// serve sets what is behind the VIP.
func (b *bed) serve(backends ...datapath.Backend) {
	n := b.state.Networks[0]
	n.Services = []datapath.Service{{
		Name: "web", VIPs: []netip.Addr{netip.MustParseAddrPort(vip).Addr()}, TableSize: balance.Sizes[0], Backends: backends,
		Ports: []datapath.ServicePort{{Protocol: 6, Port: 80, Target: 8080}, {Protocol: 17, Port: 80, Target: 8080}},
	}}
	b.state.Networks = []datapath.Network{n}
}

// echo starts servers in B that send back what they get, until the test ends.
func (b *bed) echo(t *testing.T) {
	t.Helper()
	var tcp *net.TCPListener
	var udp *net.UDPConn
	in(t, b.b, func() (err error) {
		tcp, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.MustParseAddrPort(vipTarget)))
		return err
	})
	in(t, b.b, func() (err error) {
		udp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(vipTarget)))
		return err
	})
	var serving sync.WaitGroup
	ended := make(chan struct{})
	serving.Go(func() {
		for {
			conn, err := tcp.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				// Not by splice(2), whose pipes stay in a pool.
				_, _ = io.Copy(struct{ io.Writer }{conn}, struct{ io.Reader }{conn})
				_ = conn.Close()
			})
			serving.Go(func() { <-ended; _ = conn.Close() }) // whose client is cut off
		}
	})
	serving.Go(func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := udp.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = udp.WriteToUDPAddrPort(buf[:n], from)
		}
	})
	t.Cleanup(func() {
		_ = tcp.Close()
		_ = udp.Close()
		close(ended)
		serving.Wait()
	})
}

func in(t testing.TB, ns *linktest.Namespace, fn func() error) {
	t.Helper()
	if err := ns.Do(fn); err != nil {
		t.Fatal(err)
	}
}

// dial connects to the VIP from a namespace.
func dial(t *testing.T, ns *linktest.Namespace, network string) net.Conn {
	t.Helper()
	var conn net.Conn
	in(t, ns, func() (err error) {
		conn, err = net.DialTimeout(network, vip, patience)
		return err
	})
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// exchange sends so many bytes and wants them back.
func exchange(t *testing.T, conn net.Conn, n int) {
	t.Helper()
	data, got := make([]byte, n), make([]byte, n)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	sent := make(chan error, 1)
	go func() {
		_, err := conn.Write(data)
		sent <- err
	}()
	_, err := io.ReadFull(conn, got)
	if err := errors.Join(err, <-sent); err != nil {
		t.Fatalf("%s to %s: %v", conn.LocalAddr().Network(), conn.RemoteAddr(), err)
	}
	if !bytes.Equal(got, data) {
		t.Fatalf("%s: other bytes came back", conn.LocalAddr().Network())
	}
}

func (b *bed) flows(t *testing.T) []datapath.Flow {
	t.Helper()
	flows, err := b.dp.Flows(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return flows
}

// TestServiceTraffic: TCP in large pieces, UDP in fragments and in trains that the
// stack leaves uncut, and a backend that is its own client.
func TestServiceTraffic(t *testing.T) {
	b := newServiceBed(t)
	tcp, udp := dial(t, b.a, "tcp"), dial(t, b.a, "udp")
	exchange(t, tcp, 4<<20)
	exchange(t, udp, 100)
	exchange(t, udp, 6000) // fragments, both ways
	train(t, udp.(*net.UDPConn))
	flows := b.flows(t)
	if len(flows) != 2 {
		t.Fatalf("flows %+v", flows)
	}
	for _, f := range flows {
		if f.Client.Addr() != netip.MustParseAddr(addrA) || f.VIP.String() != vip || f.Backend.String() != vipTarget ||
			f.BackendID != "b" || f.State != datapath.FlowEstablished || f.Sent.Packets == 0 || f.Received.Packets == 0 {
			t.Errorf("flow %+v", f)
		}
		if f.Protocol == 6 && (f.Sent.Bytes < 4<<20 || f.Received.Bytes < 4<<20) {
			t.Errorf("flow %+v has carried 4 MiB", f)
		}
	}
	exchange(t, dial(t, b.b, "tcp"), 1<<20)
	exchange(t, dial(t, b.b, "udp"), 6000)
	if len(b.flows(t)) != 4 {
		t.Errorf("flows %+v", b.flows(t))
	}
	run(t, b.a, "ping", "-c", "1", "-W", "5", "10.0.0.200")
}

// train sends datagrams in one piece, for the device to cut (UDP_SEGMENT).
func train(t *testing.T, conn *net.UDPConn) {
	t.Helper()
	const size, count = 1000, 5
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	set := func(size int) {
		var setErr error
		err := raw.Control(func(fd uintptr) { setErr = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, size) })
		if err := errors.Join(err, setErr); err != nil {
			t.Fatal(err)
		}
	}
	set(size)
	defer set(0)
	if _, err := conn.Write(make([]byte, size*count)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2*size)
	for range count {
		if n, err := conn.Read(buf); err != nil || n != size {
			t.Fatalf("%d bytes came back: %v", n, err)
		}
	}
}

// TestServiceRestart: connections go on with the next process, also if their backend
// takes nothing new meanwhile.
func TestServiceRestart(t *testing.T) {
	b := newServiceBed(t)
	tcp, udp := dial(t, b.a, "tcp"), dial(t, b.a, "udp")
	exchange(t, tcp, 1000)
	exchange(t, udp, 1000)
	before := len(b.flows(t))
	b.on(t, func() error { return b.dp.Close() })
	b.open(t)
	if after := len(b.flows(t)); before != 2 || after != 2 {
		t.Errorf("%d flows, then %d", before, after)
	}
	// No table would lead them here.
	b.state.Networks[0].Services[0].Backends[0].Draining = true
	b.apply(t)
	exchange(t, tcp, 1000)
	exchange(t, udp, 1000)
}

// killed ends the datapath, and leaves its flows as they were before it knew.
func (b *bed) killed(t *testing.T) {
	t.Helper()
	flows := b.options().Flows
	left, err := os.ReadFile(flows)
	if err != nil {
		t.Fatal(err)
	}
	b.on(t, func() error { return b.dp.Close() })
	if err := os.WriteFile(flows, left, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestServiceKilled: connections go on with the next process also if the last one
// could do nothing for it.
func TestServiceKilled(t *testing.T) {
	b := newServiceBed(t)
	tcp, udp := dial(t, b.a, "tcp"), dial(t, b.a, "udp")
	exchange(t, tcp, 1000)
	exchange(t, udp, 1000)
	for range 2 {
		b.killed(t)
		b.open(t)
		if flows := b.flows(t); len(flows) != 2 {
			t.Errorf("flows %+v, want 2", flows)
		}
		b.state.Networks[0].Services[0].Backends[0].Draining = true // no table would lead them here
		b.apply(t)
		exchange(t, tcp, 1000)
		exchange(t, udp, 1000)
	}
}

// TestServiceClientLeaves: it takes its flows along, at once or while there is no
// process.
func TestServiceClientLeaves(t *testing.T) {
	b := newServiceBed(t)
	exchange(t, dial(t, b.a, "tcp"), 1000)
	stays := dial(t, b.b, "tcp")
	exchange(t, stays, 1000)
	all := b.state.Networks[0].Ports
	check := func(want int) {
		t.Helper()
		flows := b.flows(t)
		for _, f := range flows {
			if want == 1 && f.Client.Addr() != netip.MustParseAddr(addrB) {
				t.Errorf("flow %+v of a client that has left", f)
			}
		}
		if len(flows) != want {
			t.Errorf("%d flows, want %d: %+v", len(flows), want, flows)
		}
	}
	check(2)
	b.state.Networks[0].Ports = all[1:]
	b.apply(t)
	check(1)
	b.state.Networks[0].Ports = all
	b.apply(t)
	check(1)
	exchange(t, stays, 1000)
	exchange(t, dial(t, b.a, "tcp"), 1000)
	check(2)

	b.on(t, func() error { return b.dp.Close() })
	b.state.Networks[0].Ports = all[1:]
	b.open(t)
	check(2)
	b.apply(t)
	check(1)
	b.state.Networks[0].Ports = all
	b.apply(t)
	check(1)
	exchange(t, stays, 1000)
}

// TestServiceDamagedFlows: flows that cannot be read are lost, and nothing else.
func TestServiceDamagedFlows(t *testing.T) {
	b := newServiceBed(t)
	exchange(t, dial(t, b.a, "tcp"), 1000)
	b.on(t, func() error { return b.dp.Close() })
	if err := os.Truncate(b.options().Flows, 20); err != nil {
		t.Fatal(err)
	}
	b.open(t)
	b.apply(t)
	if flows := b.flows(t); len(flows) != 0 {
		t.Errorf("flows %+v of a file that is damaged", flows)
	}
	exchange(t, dial(t, b.a, "tcp"), 1000)
}

// TestServiceBackendGone: who is connected hears of it at the next packet, who
// connects at once.
func TestServiceBackendGone(t *testing.T) {
	b := newServiceBed(t)
	tcp, udp := dial(t, b.a, "tcp"), dial(t, b.a, "udp")
	exchange(t, tcp, 1000)
	exchange(t, udp, 1000)
	b.serve()
	b.apply(t)
	for _, conn := range []net.Conn{tcp, udp} {
		want := map[net.Conn]error{tcp: unix.ECONNRESET, udp: unix.ECONNREFUSED}[conn]
		_, err := conn.Write([]byte("is anybody there?"))
		if err == nil {
			_, err = conn.Read(make([]byte, 100))
		}
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", conn.LocalAddr().Network(), err, want)
		}
	}
	err := b.a.Do(func() error {
		conn, err := net.DialTimeout("tcp", vip, patience)
		if err == nil {
			_ = conn.Close()
		}
		return err
	})
	if !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a new connection: %v, want %v", err, unix.ECONNREFUSED)
	}
	drops := b.stats(t).Drops
	if drops[datapath.DropBackendGone].Packets == 0 || drops[datapath.DropNoBackend].Packets < 2 {
		t.Errorf("dropped %+v", drops)
	}
	if flows := b.flows(t); len(flows) != 0 {
		t.Errorf("flows to nobody: %+v", flows)
	}
}

// TestServiceRemoved: who is connected to a service hears at the next packet that it
// is gone.
func TestServiceRemoved(t *testing.T) {
	b := newServiceBed(t)
	conn := dial(t, b.a, "tcp")
	exchange(t, conn, 1000)
	n := b.state.Networks[0]
	n.Services = nil
	b.state.Networks = []datapath.Network{n}
	b.apply(t)
	_, err := conn.Write([]byte("is anybody there?"))
	if err == nil {
		_, err = conn.Read(make([]byte, 100))
	}
	if !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("%v, want %v", err, unix.ECONNRESET)
	}
}
