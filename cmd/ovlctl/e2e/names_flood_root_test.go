package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// floodQueries is how many queries somebody asks meanwhile.
func floodQueries() int {
	if *allNames {
		return 5000
	}
	return 100
}

// TestNamesFlood: one endpoint asks as fast as it can, and another one on the same
// host still gets its answers, while the agent takes no more memory.
func TestNamesFlood(t *testing.T) {
	withNames(t, func(t *testing.T, b *nameBed) {
		for i, h := range b.hosts[:2] {
			calm, gateway := b.ends[i], b.ends[i].info.Gateways[0]
			noisy := h.attach("shop", "noisy-"+h.name)
			random := func() string { return fmt.Sprintf("x%d.example.", rand.Uint64()) }
			b.outside.hush(true) // what is asked outside stays to be answered
			for name, next := range map[string]func() string{
				"one name":              func() string { return "c1." },
				"names of nobody":       func() string { return fmt.Sprintf("x%d.shop.", rand.Uint64()) },
				"names of the outside":  random,
				"bytes that are no DNS": nil,
			} {
				t.Run(h.name+" "+name, func(t *testing.T) {
					f := startQueries(t, noisy, gateway, next)
					time.Sleep(200 * time.Millisecond)
					memory := residentMemory(t, h)
					// The socket is everybody's: some of what is asked is lost at it.
					a := newAsker(t, calm, gateway)
					a.wait, a.tries = 200*time.Millisecond, 100
					var slowest time.Duration
					for range floodQueries() {
						begin := time.Now()
						m, err := a.ask("c3", typeA)
						if err != nil || !slices.Equal(values(m), addrsOf(false, b.ends[2])) {
							t.Fatalf("during a flood: %v, %v", m, err)
						}
						slowest = max(slowest, time.Since(begin))
					}
					grown := residentMemory(t, h) - memory
					sent := f.stop(t)
					t.Logf("%d queries of the flood; the slowest answer to the other after %v, %d more than %d were asked; the agent's memory grew by %d KiB",
						sent, slowest.Round(time.Millisecond), a.again, floodQueries(), grown>>10)
					if grown > growth {
						t.Errorf("the agent's memory grew by %d KiB", grown>>10)
					}
				})
			}
			b.outside.hush(false)
			for _, e := range []*endpoint{calm, noisy} {
				a := newAsker(t, e, gateway)
				eventually(t, e.info.Name+" finds names of the outside after the flood", func() error {
					m, err := a.ask("outside.example", typeA)
					if err == nil && !slices.Equal(values(m), []string{outsideAddr}) {
						err = fmt.Errorf("they are %v", m)
					}
					return err
				})
			}
		}
	})
}

// startQueries lets an endpoint send queries for names as fast as it can, or with
// none, random bytes.
func startQueries(t *testing.T, from *endpoint, gateway netip.Addr, next func() string) *flood {
	t.Helper()
	const some = 512
	var packets [][]byte
	for range some {
		b := make([]byte, 12+rand.IntN(500))
		for i := range b {
			b[i] = byte(rand.Uint32())
		}
		if next != nil {
			var err error
			if b, err = new(dns.Msg).SetQuestion(next(), typeA).Pack(); err != nil {
				t.Fatal(err)
			}
		}
		packets = append(packets, b)
	}
	return begin(t, from.Namespace, func(f *flood) error {
		c, err := net.Dial("udp", netip.AddrPortFrom(gateway, 53).String())
		if err != nil {
			return err
		}
		defer c.Close() //nolint:errcheck // nothing is kept for later
		for !f.over() {
			for _, p := range packets {
				if _, err := c.Write(p); err != nil && !errors.Is(err, unix.ENOBUFS) {
					return err
				}
				f.frames++
			}
		}
		return nil
	})
}
