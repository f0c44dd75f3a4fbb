package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/link"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// gateway is the namespace of a network's gateway on this host.
func (h *host) gateway(network string) *linktest.Namespace {
	h.c.tb.Helper()
	var n []api.Network
	h.query(&n, "network", "inspect", network)
	name := fmt.Sprintf("ovl-%s-%s", n[0].Options[api.OptionVNI], h.instance)
	return &linktest.Namespace{Name: name, NetnsPath: filepath.Join(link.NamedDir, name)}
}

// wantGateways wants the host to have so many, each with its namespace and device.
func (h *host) wantGateways(want int) error {
	names, err := h.gateways()
	devices, linkErr := h.gatewayDevices()
	if len(names) != want || len(devices) != want {
		return errors.Join(fmt.Errorf("%s has the namespaces %q and the devices %q, want %d of each", h.name, names, devices, want), err, linkErr)
	}
	return errors.Join(err, linkErr)
}

// gatewayDevices are those on this host.
func (h *host) gatewayDevices() (names []string, err error) {
	err = h.Do(func() error {
		all, err := link.List("ovlgw")
		names = all
		return err
	})
	return names, err
}

// echo answers datagrams in a namespace with what they say, until the test ends.
func echo(t *testing.T, ns *linktest.Namespace, port int) {
	t.Helper()
	var conn net.PacketConn
	err := ns.Do(func() (err error) {
		conn, err = net.ListenPacket("udp", fmt.Sprintf("[::]:%d", port))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(buf[:n], from) // who asks again if it is lost
		}
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
}

// asks sends a datagram, up to three times, and wants it back.
func (e *endpoint) asks(to netip.AddrPort) error {
	var conn net.Conn
	err := e.Do(func() (err error) {
		conn, err = net.Dial("udp", to.String())
		return err
	})
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // nothing is waited for
	buf := make([]byte, 100)
	for range 3 {
		if _, err = conn.Write([]byte(to.String())); err != nil {
			continue
		}
		if err = conn.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
			return err
		}
		var n int
		if n, err = conn.Read(buf); err == nil {
			if string(buf[:n]) != to.String() {
				return fmt.Errorf("%s answers %q", to, buf[:n])
			}
			return nil
		}
	}
	return fmt.Errorf("%s: %w", to, err)
}

// TestGateway: every endpoint reaches its host's gateway, over both families, in
// either datapath, and over a change of it; and it is there as long as there are
// endpoints.
func TestGateway(t *testing.T) {
	linktest.NeedRoot(t)
	c := newCluster(t, linktest.Options{Hosts: 2})
	c.hosts[0].up("--datapath", "kernel")
	c.hosts[1].up(append(c.hosts[1].joinArgs(), "--datapath", "userspace")...)
	c.hosts[0].must("network", "create", "shop", "--subnet", "10.0.0.0/24", "--subnet", "fd00:5::/64")
	c.hosts[0].must("network", "create", "same", "--subnet", "10.0.0.0/24", "--subnet", "fd00:5::/64")
	const port = 5353
	var all []*endpoint
	check := func() {
		t.Helper()
		for _, e := range all {
			for _, gateway := range e.info.Gateways {
				if sent, received, err := ping(e.Namespace, gateway.String(), 3); err != nil || received != sent {
					t.Errorf("%s: %d of %d pings of %s came back: %v", e.info.Name, received, sent, gateway, err)
				}
				if err := e.asks(netip.AddrPortFrom(gateway, port)); err != nil {
					t.Errorf("%s: %v", e.info.Name, err)
				}
			}
		}
	}
	for _, h := range c.hosts {
		all = append(all, h.attach("shop", h.name+"-shop"), h.attach("same", h.name+"-same"))
		for _, network := range []string{"shop", "same"} {
			echo(t, h.gateway(network), port)
		}
		if err := h.wantGateways(2); err != nil {
			t.Error(err)
		}
	}
	all = append(all, attachVM(t, c.hosts[1], "shop"))
	for _, e := range all {
		if len(e.info.Gateways) != 2 {
			t.Fatalf("%s has the gateways %v", e.info.Name, e.info.Gateways)
		}
	}
	check()

	// What was opened in a gateway goes on, whatever becomes of its agent.
	for i, h := range c.hosts {
		other := []datapath.Kind{datapath.Userspace, datapath.Kernel}[i]
		h.kill()
		h.up("--datapath", string(other))
	}
	check()

	for _, e := range all {
		if e.info.Network == "shop" {
			e.host.must("detach", e.info.Name)
		}
	}
	for _, h := range c.hosts {
		if err := h.wantGateways(1); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(h.gateway("shop").NetnsPath); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: shop's is still there: %v", h.name, err)
		}
	}
}

// TestGatewayTakenAway: somebody deletes what is ours. It is there again within a
// second or so.
func TestGatewayTakenAway(t *testing.T) {
	c := newRunning(t, 1)
	h := c.hosts[0]
	h.must("network", "create", "shop", "--ipv6")
	e := h.attach("shop", "e")
	reached := func() error {
		for _, gateway := range e.info.Gateways {
			if _, received, err := ping(e.Namespace, gateway.String(), 1); err != nil || received != 1 {
				return fmt.Errorf("%s: no answer: %w", gateway, err)
			}
		}
		return nil
	}
	if err := reached(); err != nil {
		t.Error(err)
	}
	gateway := h.gateway("shop")
	for what, take := range map[string]func(){
		"device":       func() { run(t, h.Namespace, "ip", "link", "del", "ovlgw1000") },
		"inner device": func() { run(t, gateway, "ip", "link", "del", "eth0") },
		"namespace":    func() { run(t, h.Namespace, "ip", "netns", "del", gateway.Name) },
	} {
		take()
		within(t, what+" is made again", time.Now(), 5*time.Second, func() error {
			return errors.Join(h.wantGateways(1), reached())
		})
	}
	var s api.Status
	within(t, "status is content", time.Now(), 10*time.Second, func() error {
		if h.query(&s, "status"); len(s.Problems) > 0 {
			return fmt.Errorf("problems: %q", s.Problems)
		}
		return nil
	})
}

// TestGatewayHalfMade kills the agent at every moment of a network's first attach.
// When it is back there is the whole gateway, or nothing of it.
func TestGatewayHalfMade(t *testing.T) {
	linktest.NeedRoot(t)
	c := newCluster(t, linktest.Options{Hosts: 1})
	h := c.hosts[0]
	h.up()
	h.must("network", "create", "shop")
	for i := range 6 {
		ns := c.lab.Endpoint(fmt.Sprintf("c%d", i))
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _, _ = h.ctl("attach", "shop", "--netns", ns.Name, "--name", "c") // it is killed
		}()
		time.Sleep(time.Duration(i) * 6 * time.Millisecond)
		h.kill()
		<-done
		h.up()
		var list []api.Endpoint
		h.query(&list, "endpoint", "ls")
		if err := h.wantGateways(min(1, len(list))); err != nil {
			t.Errorf("killed after %d ms, with %d endpoints: %v", i*6, len(list), err)
		}
		if len(list) > 0 {
			h.must("detach", "c")
		}
		if err := h.wantGateways(0); err != nil {
			t.Error(err)
		}
		if err := ns.Delete(); err != nil {
			t.Error(err)
		}
	}
}
