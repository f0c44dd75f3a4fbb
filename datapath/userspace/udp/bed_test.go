package udp

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var loopbacks = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}

// onLoopbacks runs a test with a tunnel on each family's loopback, which has
// one way: to itself.
func onLoopbacks(t *testing.T, readers int, test func(t *testing.T, tun *Tunnel, self *Path)) {
	for _, vtep := range loopbacks {
		t.Run(vtep.String(), func(t *testing.T) {
			tun := openLoopback(t, vtep, readers)
			test(t, tun, pathTo(t, tun, vtep))
		})
	}
}

// openLoopback opens a tunnel on a port that is free.
func openLoopback(t testing.TB, vtep netip.Addr, readers int) *Tunnel {
	t.Helper()
	for {
		tun, err := Open(Options{VTEP: vtep, Port: uint16(20000 + rand.IntN(10000)), Readers: readers})
		if errors.Is(err, unix.EADDRINUSE) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := tun.Close(); err != nil {
				t.Error(err)
			}
		})
		return tun
	}
}

func pathTo(t testing.TB, tun *Tunnel, addr netip.Addr) *Path {
	t.Helper()
	p, err := tun.Path(addr)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// flush fails the test where something could not be sent.
func flush(t testing.TB, s *Sender) {
	t.Helper()
	s.Flush(func(p *Path, datagrams, _ int, err error) {
		t.Errorf("%d datagrams to %s: %v", datagrams, p.Addr(), err)
	})
}

// datagram is one that arrived, out of a train or not.
type datagram struct {
	from netip.Addr
	ecn  uint8
	data string
}

// receive returns the next n datagrams of a receiver, and how many messages they
// came in.
func receive(t testing.TB, r *Receiver, n int) (all []datagram, messages int) {
	t.Helper()
	late := time.AfterFunc(10*time.Second, func() { r.close() }) //nolint:errcheck // ends the test
	defer late.Stop()
	b := NewArrivals(4)
	for len(all) < n {
		if err := r.Receive(b); err != nil {
			t.Fatalf("%d of %d datagrams: %v", len(all), n, err)
		}
		for _, a := range b.All() {
			messages++
			size := a.Size
			if size == 0 {
				size = max(len(a.Data), 1)
			}
			for rest := a.Data; ; {
				k := min(size, len(rest))
				all = append(all, datagram{a.From, uint8(a.ECN), string(rest[:k])})
				if rest = rest[k:]; len(rest) == 0 {
					break
				}
			}
		}
	}
	return all, messages
}

// fill returns n bytes that tell of i.
func fill(i, n int) []byte {
	b := fmt.Appendf(nil, "%06d", i)
	for len(b) < n {
		b = append(b, byte('a'+i%26))
	}
	return b[:n]
}
