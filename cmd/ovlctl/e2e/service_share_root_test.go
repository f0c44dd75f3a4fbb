package e2e

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// connections is how many the shares are measured with. Of a sixth of 6000, 15 %
// is five times the standard deviation.
func connections() int {
	if *allServices {
		return 60000
	}
	return 6000
}

// TestServiceShares: clients everywhere, and each backend gets its part of each of
// them, and sees the clients' own addresses.
func TestServiceShares(t *testing.T) {
	withServices(t, nil, translated, func(t *testing.T, b *serviceBed) {
		before := make(map[*backend]int)
		for _, x := range b.backends {
			before[x] = x.count()
		}
		var all []*wrk
		for _, from := range b.clients {
			all = append(all, b.startWrk(t, from))
		}
		eventually(t, "as many connections", func() error {
			for _, from := range b.clients {
				n := 0
				for _, x := range b.backends {
					n += x.count(addrOf(from, b.vip))
				}
				if n < connections()/len(b.clients) {
					return fmt.Errorf("%s has made %d", from.info.Name, n)
				}
			}
			return nil
		})
		for _, w := range all {
			if n, faults := w.stop(t); faults != "" {
				t.Errorf("wrk of %s: %d requests were answered, and: %s", w.from.info.Name, n, faults)
			}
		}
		total := 0
		for _, x := range b.backends {
			total += x.count() - before[x]
		}
		for _, x := range b.backends {
			got := x.count() - before[x]
			if share := float64(got) / float64(total) * float64(len(b.backends)); share < 0.85 || share > 1.15 {
				t.Errorf("%s got %d of %d connections, %.2f of its part", x.info.Name, got, total, share)
			}
			own := 0
			for _, from := range b.clients {
				own += x.count(addrOf(from, b.vip))
			}
			if own != x.count() {
				t.Errorf("%s: %d of %d connections came from an address that no client has: %v", x.info.Name, x.count()-own, x.count(), x.served)
			}
		}
		t.Logf("%d connections", total)
	})
}

// TestServiceSameEverywhere: a flow goes where package balance says, whichever
// host the client is on, whatever that has for a datapath.
func TestServiceSameEverywhere(t *testing.T) {
	linktest.NeedRoot(t)
	b := newServiceBed(t, []datapath.Kind{datapath.Kernel, datapath.Userspace}, []string{"--ipv6"}, translated)
	o := b.oracle()
	ports := portsFrom(20000, 100)
	s, _ := b.hosts[0].service()
	addrs := []string{"--ip", "10.0.0.77", "--ip", addrOf(b.clients[0], s.VIPs[1]).String()}
	if err := detachFrom(b.clients[0]); err != nil {
		t.Fatal(err)
	}
	for _, host := range []int{0, 1, 0} {
		h := b.hosts[host]
		client := h.attach("shop", "roamer", addrs...)
		for _, vip := range s.VIPs {
			to := netip.AddrPortFrom(vip, httpPort)
			for port, got := range requests(t, client, ports, to) {
				from := netip.AddrPortFrom(addrOf(client, vip), port)
				if want := o.of(6, from, to); got != want {
					t.Errorf("%s to %s, on %s with datapath %s: goes to %s, want %s", from, to, h.name, b.kinds[host], got, want)
				}
			}
		}
		if err := detachFrom(client); err != nil {
			t.Fatal(err)
		}
	}
}

// portsFrom is so many, one after the other.
func portsFrom(first, n int) (out []uint16) {
	for i := range n {
		out = append(out, uint16(first+i))
	}
	return out
}

// detachFrom ends an endpoint, and its namespace.
func detachFrom(e *endpoint) error {
	if _, stderr, err := e.host.ctl("detach", e.info.Name); err != nil {
		return fmt.Errorf("detach %s: %w: %s", e.info.Name, err, stderr)
	}
	return e.Delete()
}
