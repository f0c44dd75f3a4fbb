package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/control/api"
)

// TestServiceAgentDies: agents of clients' hosts are killed, or end, and come back,
// and flows go on with whom they began, also where backends change meanwhile: what
// an agent leaves, not the table, says where they go.
func TestServiceAgentDies(t *testing.T) {
	withServices(t, nil, translated, func(t *testing.T, b *serviceBed) {
		tcp := b.conversations(t, 10, "tcp", b.clients[:2]...)
		udp := b.conversations(t, 5, "udp", b.clients[:2]...)
		all := append(tcp, udp...)
		checkFlows(t, b, all)
		next := startBackend(t, b.hosts[2].attach("shop", "next"))
		gone := b.backends[2]
		restart := func(how unix.Signal, meanwhile func(), known func(api.Service) bool) {
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
			for i, h := range b.hosts[:2] {
				eventually(t, h.name+" knows of the change", func() error {
					s, _ := h.service()
					failed := slices.ContainsFunc(s.Backends, func(x api.ServiceBackend) bool { return x.State == api.BackendFailed })
					if failed || !known(s) {
						return fmt.Errorf("its backends are %+v", s.Backends)
					}
					_, err := request(b.clients[i], 0, b.http)
					return err
				})
			}
		}
		find := func(s api.Service, e *backend) (found api.ServiceBackend) {
			for _, x := range s.Backends {
				if x.Name == e.info.Name {
					found = x
				}
			}
			return found
		}

		restart(unix.SIGKILL, func() {
			b.hosts[2].must("service", "update", "web", "--add-endpoint", next.info.Name+"=1000")
			b.hosts[2].must("service", "drain", "web", b.backends[0].info.Name)
		}, func(s api.Service) bool {
			return find(s, next).Share > 0.99 && find(s, b.backends[0]).State == api.BackendDraining
		})
		o, moved := b.oracle(), 0
		for _, c := range all {
			protocol := map[string]uint8{"tcp": 6, "udp": 17}[c.LocalAddr().Network()]
			if to := o.of(protocol, peerOf(c.LocalAddr()), netip.AddrPortFrom(b.vip, whoPort)); to != c.backend {
				moved++
			}
		}
		if moved < len(all)/2 {
			t.Errorf("%d of %d would be led elsewhere if they began now: too few to tell", moved, len(all))
		}
		checkGoOn(t, all)

		restart(unix.SIGTERM, func() {
			b.hosts[2].must("service", "update", "web", "--remove-endpoint", gone.info.Name)
		}, func(s api.Service) bool { return find(s, gone).Name == "" })
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
