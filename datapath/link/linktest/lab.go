// Package linktest builds labs: hosts as network namespaces, joined by an
// underlay, in which tests, benchmarks and demonstrations may do as they like.
// Nothing of a lab is ever in the namespace that the process started in.
//
// What happens, in order: New makes a namespace for each host (namespace.go),
// joins them by one veth pair, by a bridge in a namespace of its own
// (underlay.go), by a wire (wire.go) or by routers (router.go), and hands out
// the Lab. Its Endpoint adds bare namespaces for what talks over the overlay.
// Close, which New registers as a cleanup, takes everything away again, a
// half-made lab included. What a killed process leaves behind is found by
// Leftovers (leftovers.go).
//
//	 host 1             host 2                host 1   host 2   host 3
//	┌────────┐         ┌────────┐            ┌─────┐  ┌─────┐  ┌─────┐
//	│ eth0 ──┼─────────┼── eth0 │            │eth0 │  │eth0 │  │eth0 │
//	└────────┘  veth   └────────┘            └──┼──┘  └──┼──┘  └──┼──┘
//	192.0.2.1           192.0.2.2               └──── bridge ─────┘
package linktest

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
)

// TB is what a lab needs of a *testing.T, *testing.B or of a program that
// builds labs outside of tests. Fatalf must not return.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
	Name() string
}

// Options say what lab to build.
type Options struct {
	// Hosts is how many hosts there are, 1 to 253. Default 2.
	Hosts int
	// MTU is the underlay's, in bytes. Default 1500.
	MTU int
	// Bridge joins two hosts by a bridge also, where they would otherwise
	// share a veth pair. One host, or three and more, always have the
	// bridge.
	Bridge bool
	// IPv6 makes the underlay one of IPv6 alone: hosts have an address out of
	// 2001:db8::/64 and, as every IPv6 interface must, a link-local one. Both
	// can be used at once.
	IPv6 bool
	// Wire joins two hosts by a wire that carries bytes, where a veth pair
	// hands packets over together with the kernel's notes about them.
	Wire bool
	// NarrowMTU puts two routers between the two hosts, joined by a link of
	// that MTU: smaller than that of the links to the hosts, which so cannot
	// know it.
	NarrowMTU int
}

// UnderlayDevice is the name of the underlay's interface in every host.
const UnderlayDevice = "eth0"

// Lab is a set of hosts on one underlay, and of endpoint namespaces.
type Lab struct {
	// Hosts by ascending address: Hosts[0] has 192.0.2.1, or 2001:db8::1.
	Hosts []*Host
	// Underlay is the namespace of the bridge; nil without one. Its ports
	// are called h1, h2, and so on.
	Underlay *Namespace
	// Routers stand between Hosts[0] and Hosts[1], in that order; none
	// without NarrowMTU.
	Routers []*Namespace

	tb     TB
	prefix string

	mu     sync.Mutex
	spaces []*Namespace
	wire   *wire // nil without one
	closed bool
}

// Host is a machine of the lab: a namespace with lo, UnderlayDevice and a
// default route over it.
type Host struct {
	*Namespace
	// Addr is the host's underlay address, out of 192.0.2.0/24 or
	// 2001:db8::/64.
	Addr netip.Addr
}

// labs counts the labs of this process, so that each has names of its own.
var labs atomic.Uint64

// New builds a lab, or ends the test through tb.Fatalf with nothing left
// behind. It needs root.
func New(tb TB, o Options) *Lab {
	tb.Helper()
	if o.Hosts == 0 {
		o.Hosts = 2
	}
	if o.MTU == 0 {
		o.MTU = 1500
	}
	l := &Lab{tb: tb, prefix: fmt.Sprintf("%s%d-%d", namePrefix, os.Getpid(), labs.Add(1))}
	tb.Cleanup(l.Close)
	if err := l.build(o); err != nil {
		l.Close()
		tb.Fatalf("lab %s for %s: %v", l.prefix, tb.Name(), err)
	}
	return l
}

func (l *Lab) build(o Options) error {
	if o.Hosts < 1 || o.Hosts > 253 {
		return fmt.Errorf("%d hosts: 1 to 253 fit the underlay", o.Hosts)
	}
	for i := range o.Hosts {
		ns, err := l.addSpace(fmt.Sprintf("h%d", i+1))
		if err != nil {
			return err
		}
		l.Hosts = append(l.Hosts, &Host{Namespace: ns, Addr: hostAddr(i+1, o.IPv6)})
	}
	if o.Wire {
		if o.Hosts != 2 || o.Bridge {
			return errors.New("a wire joins two hosts")
		}
		return l.joinByWire(o.MTU)
	}
	if o.NarrowMTU != 0 {
		return l.joinByRouters(o)
	}
	if o.Hosts == 2 && !o.Bridge {
		return l.joinByVeth(o.MTU)
	}
	var err error
	if l.Underlay, err = l.addSpace("underlay"); err != nil {
		return err
	}
	return l.joinByBridge(o.MTU)
}

// Endpoint adds a bare namespace, with lo up and nothing else, for something
// that is attached to the overlay. Its full name is unique to the lab.
func (l *Lab) Endpoint(name string) *Namespace {
	l.tb.Helper()
	ns, err := l.addSpace("ep-" + name)
	if err != nil {
		l.tb.Fatalf("endpoint %s: %v", name, err)
	}
	return ns
}

// addSpace makes a namespace that Close will remove.
func (l *Lab) addSpace(name string) (*Namespace, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errors.New("the lab is closed")
	}
	ns, err := newNamespace(l.prefix + "-" + name)
	if err != nil {
		return nil, err
	}
	l.spaces = append(l.spaces, ns)
	return ns, nil
}

// Close removes every namespace of the lab, and with them their devices.
// Processes that still run in them keep the kernel's side alive; they are
// named in the log. Close may be called twice, and while New still builds,
// which then fails.
func (l *Lab) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.wire != nil {
		l.wire.cut()
	}
	for _, ns := range l.spaces {
		for _, p := range ns.processes() {
			l.tb.Logf("%s still runs in namespace %s, which is being removed", p, ns.Name)
		}
		if err := ns.Delete(); err != nil {
			l.tb.Logf("%v", err)
		}
	}
	l.spaces = nil
}
