package e2e

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/api"
)

// TestServiceHostDies: the host of two backends is heard no more. The others take
// it out in the time in which they notice; UDP goes elsewhere with the next
// datagram, TCP clients are reset, and all is as it was when the host is back.
func TestServiceHostDies(t *testing.T) {
	withServices(t, nil, translated, func(t *testing.T, b *serviceBed) {
		dead := b.hosts[2]
		living := b.clients[:2]
		tcp := b.conversations(t, 10, "tcp", living...)
		udp := b.conversations(t, 10, "udp", living...)
		before := b.oracle()
		gone := make(map[string]bool)
		var lost []*backend
		for _, x := range b.backends {
			if x.host == dead {
				gone[x.info.Name] = true
				lost = append(lost, x)
			}
		}
		pinned := 0
		for _, c := range udp {
			if gone[c.backend] {
				pinned++
			}
		}
		if pinned == 0 {
			t.Fatal("no flow leads to the host that is to die")
		}

		b.die(t, dead)
		begin := time.Now()
		for i, h := range b.hosts[:2] {
			within(t, h.name+" knows that the host is dead", begin, failedTime, func() error {
				var peers []api.Peer
				if h.query(&peers, "peers"); countAlive(peers) != 1 {
					return fmt.Errorf("%d peers are alive", countAlive(peers))
				}
				return nil
			})
			within(t, h.name+" has taken its backends out", time.Now(), failoverTime, func() error {
				if _, serving := h.service(); len(serving) != len(b.backends)-len(lost) {
					return fmt.Errorf("%d backends serve", len(serving))
				}
				return nil
			})
			b.checkTable(t, living[i], before, gone)
		}
		var wg sync.WaitGroup
		for _, c := range udp {
			wg.Go(func() {
				// One datagram: nothing here loses any but what goes to the dead.
				got, err := c.ask()
				if err != nil || gone[got] || !gone[c.backend] && got != c.backend {
					t.Errorf("UDP of %s, which went to %s: %q, %v", c.from.info.Name, c.backend, got, err)
				}
			})
		}
		wg.Wait()
		checkGoOn(t, tcp, lost...)
		for _, f := range b.hosts[0].flows() {
			if gone[f.BackendName] && f.State == "established" && f.Idle == 0 && f.Protocol == api.ProtocolUDP {
				t.Errorf("a flow that goes on leads to %s: %+v", f.BackendName, f)
			}
		}
		s, _ := b.hosts[0].service()
		for _, x := range s.Backends {
			if want := gone[x.Name]; (x.State == api.BackendFailed) != want || (x.Share == 0) != want {
				t.Errorf("%s is %s with a share of %.2f", x.Name, x.State, x.Share)
			}
		}

		b.revive(t, dead, b.upArgs(2)...)
		b.awaitServing(t, len(b.backends))
		if after := b.oracle(); after.moved(before) > 0 {
			t.Errorf("the host is back, and %.1f %% of new flows go elsewhere than before", 100*after.moved(before))
		}
	})
}

// checkTable wants a new flow of a client to be answered, from a port whose flows
// went to one that is gone. It does not return before its datapath has the new
// table.
func (b *serviceBed) checkTable(t *testing.T, from *endpoint, before oracle, gone map[string]bool) {
	t.Helper()
	port := uint16(30000)
	for !gone[before.of(6, netip.AddrPortFrom(addrOf(from, b.vip), port), b.http)] {
		port++
	}
	got, err := request(from, port, b.http) // a SYN that is lost is sent again
	if err != nil || gone[got] {
		t.Errorf("a new flow of %s: %q, %v", from.info.Name, got, err)
	}
}
