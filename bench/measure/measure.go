// Package measure looks at what lies between two endpoints: how much goes
// through, how many packets, how long a message takes, and what that costs.
// Programs that people trust do it where there is one (iperf.go, sockperf.go,
// wrk.go); where none of them is fast or exact enough, sockets of our own do
// (packets.go, echo.go). A way of measuring is a file of its own.
//
// Clients run on CPU 0 and servers on the last one. Left alone, the scheduler
// sometimes puts both on one, and a round measures that.
package measure

import (
	"context"
	"net/netip"
	"time"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// Endpoint is where a measuring program runs.
type Endpoint struct {
	Namespace *linktest.Namespace
	Addr      netip.Addr
	// Addr6 is its IPv6 address, beside Addr; invalid where it has none.
	Addr6 netip.Addr
}

// Pair is the two ends of a measurement. The client sends, or asks.
type Pair struct {
	Client, Server Endpoint
	// VIP is what the client sends to, or asks, in place of the server's own
	// address; invalid: there is nothing in between.
	VIP netip.Addr
}

// target is the address that the client uses.
func (p Pair) target() netip.Addr {
	if p.VIP.IsValid() {
		return p.VIP
	}
	return p.Server.Addr
}

// IPv6 returns the pair by its IPv6 addresses, if both ends have one.
func (p Pair) IPv6() (Pair, bool) {
	if !p.Client.Addr6.IsValid() || !p.Server.Addr6.IsValid() {
		return Pair{}, false
	}
	p.Client.Addr, p.Server.Addr = p.Client.Addr6, p.Server.Addr6
	return p, true
}

// Port is what a server of a measurement listens on.
type Port struct {
	Protocol string // "tcp" or "udp"
	Number   int
}

// Ports are those by which pairs with a VIP are measured.
func Ports() []Port {
	return []Port{{"tcp", iperfPort}, {"tcp", balancedPort}, {"udp", streamPort}}
}

// Sleep returns after d, or early with ctx's error.
func Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// Func looks at a pair for d and returns what it saw.
type Func func(ctx context.Context, p Pair, d time.Duration) (Values, error)

// Values are the figures of one look, by the names that the function's comment
// gives them.
type Values map[string]float64
