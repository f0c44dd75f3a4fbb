package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/control/api"
)

// TestServiceAgentDies: agents of clients' hosts end and come back, and flows go
// on with whom they began, also where backends change meanwhile: what an agent
// hands on, not the table, says where they go.
func TestServiceAgentDies(t *testing.T) {
	withServices(t, nil, translated, func(t *testing.T, b *serviceBed) {
		tcp := b.conversations(t, 10, "tcp", b.clients[:2]...)
		udp := b.conversations(t, 5, "udp", b.clients[:2]...)
		checkFlows(t, b, append(tcp, udp...))
		next := startBackend(t, b.hosts[2].attach("shop", "next"))
		gone := b.backends[2]
		restart := func(how unix.Signal, meanwhile func()) {
			t.Helper()
			for _, h := range b.hosts[:2] {
				if err := h.signal(how); err != nil {
					t.Fatal(err)
				}
			}
			meanwhile()
			for i, h := range b.hosts[:2] {
				h.up(b.upArgs(i)...)
			}
		}

		// The userspace datapath does not remember flows beyond a crash: they have
		// to go where new ones do.
		restart(unix.SIGKILL, func() {})
		checkGoOn(t, append(tcp, udp...))

		restart(unix.SIGTERM, func() {
			b.hosts[2].must("service", "update", "web", "--add-endpoint", next.info.Name, "--remove-endpoint", gone.info.Name)
		})
		for i, h := range b.hosts[:2] {
			eventually(t, h.name+" knows of the change", func() error {
				s, _ := h.service()
				for _, x := range s.Backends {
					if x.Name == next.info.Name && x.Share > 0 {
						_, err := request(b.clients[i], 0, b.http)
						return err
					}
				}
				return errors.New("it does not")
			})
		}
		checkGoOn(t, tcp, gone)
		for _, c := range udp {
			got, err := c.ask()
			if err != nil || got == gone.info.Name || c.backend != gone.info.Name && got != c.backend {
				t.Errorf("UDP of %s to %s: %q, %v", c.from.info.Name, c.backend, got, err)
			}
		}
	})
}

// checkFlows wants `ovlctl flows` and `service inspect` to know of all of them.
func checkFlows(t *testing.T, b *serviceBed, all []*conversation) {
	t.Helper()
	for _, h := range b.hosts {
		listed := make(map[string]api.Flow)
		for _, f := range h.flows() {
			listed[f.Protocol+" "+f.Client.String()] = f
		}
		flowsTo := make(map[string]int)
		for _, f := range listed {
			if f.State != "closing" {
				flowsTo[f.BackendName]++
			}
		}
		for _, c := range all {
			if c.from.host != h {
				continue
			}
			client := peerOf(c.LocalAddr())
			f, known := listed[c.LocalAddr().Network()+" "+client.String()]
			if !known || f.State != "established" || f.BackendName != c.backend || f.ClientName != c.from.info.Name || f.Service != "web" ||
				f.VIP != netip.AddrPortFrom(b.vip, whoPort) || f.SourcePort != client.Port() || f.Sent.Packets == 0 || f.Received.Bytes == 0 {
				t.Errorf("%s lists the flow of %s to %s as %+v, known: %v", h.name, client, c.backend, f, known)
			}
		}
		s, _ := h.service()
		for _, x := range s.Backends {
			if x.Flows != flowsTo[x.Name] || x.Flows > 0 && (x.Sent.Packets == 0 || x.Received.Packets == 0) || x.Share < 0.16 || x.Share > 0.175 {
				t.Errorf("%s has %d flows to %s and lists it as %+v", h.name, flowsTo[x.Name], x.Name, x)
			}
		}
	}
}

// TestServiceIPv6: a service with a VIP of each family, all ports, and clients that
// are backends as well, until it is removed.
func TestServiceIPv6(t *testing.T) {
	withServices(t, []string{"--ipv6"}, nil, func(t *testing.T, b *serviceBed) {
		s, _ := b.hosts[0].service()
		if len(s.VIPs) != 2 || !s.VIPs[1].Is6() {
			t.Fatalf("VIPs are %v", s.VIPs)
		}
		for _, vip := range s.VIPs {
			b.vip = vip
			asked := make(map[string]int)
			for _, from := range b.clients {
				for _, backend := range requests(t, from, portsFrom(20000, 30), netip.AddrPortFrom(vip, httpTarget)) {
					asked[backend]++
				}
				if sent, received, err := ping(from.Namespace, vip.String(), 3); err != nil || received != sent {
					t.Errorf("%s: %d of %d pings of %s came back: %v", from.info.Name, received, sent, vip, err)
				}
			}
			if len(asked) != len(b.backends) {
				t.Errorf("%s: requests went to %v", vip, asked)
			}
			// Now and then their own.
			for _, x := range b.backends[:2] {
				for i := range 12 {
					if _, err := request(x.endpoint, uint16(21000+i), netip.AddrPortFrom(vip, httpTarget)); err != nil {
						t.Errorf("%s to %s: %v", x.info.Name, vip, err)
					}
				}
			}
			checkGoOn(t, append(b.conversations(t, 3, "tcp", b.clients...), b.conversations(t, 3, "udp", b.clients...)...))
		}

		checkRemoved(t, b)
	})
}

// checkRemoved removes the service: nobody gets anywhere any more, by flows that
// there are or by new ones, while the backends stay.
func checkRemoved(t *testing.T, b *serviceBed) {
	t.Helper()
	talks := b.conversations(t, 1, "tcp", b.clients...)
	b.hosts[2].must("service", "rm", "web")
	for _, h := range b.hosts {
		eventually(t, h.name+" has no service", func() error {
			var list []api.ServiceSummary
			if h.query(&list, "service", "ls"); len(list) > 0 {
				return errors.New("it has")
			}
			return nil
		})
	}
	var wg sync.WaitGroup
	for _, c := range talks {
		wg.Go(func() {
			eventually(t, c.from.info.Name+" is cut off", func() error {
				if _, err := c.Write([]byte("who\n")); err != nil {
					return nil
				}
				if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
					return err
				}
				if n, err := c.Read(make([]byte, 128)); err == nil {
					return fmt.Errorf("it got %d bytes", n)
				}
				return nil
			})
		})
		wg.Go(func() {
			err := c.from.Do(func() error {
				d, err := net.DialTimeout("tcp", b.http.String(), 2*time.Second)
				if err == nil {
					_ = d.Close()
				}
				return err
			})
			if err == nil {
				t.Errorf("%s is connected to a service that was removed", c.from.info.Name)
			}
		})
	}
	wg.Wait()
	for _, x := range b.backends[:2] {
		if got, err := request(b.clients[2], 0, netip.AddrPortFrom(addrOf(x.endpoint, b.vip), httpTarget)); err != nil || got != x.info.Name {
			t.Errorf("%s itself: %q, %v", x.info.Name, got, err)
		}
	}
}
