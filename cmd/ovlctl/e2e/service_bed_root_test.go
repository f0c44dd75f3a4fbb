package e2e

import (
	"flag"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/balance"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// Tests of services: three hosts with a client and two backends each, and one
// service in front of all backends. A client's host does all of the balancing, so
// that a mixed cluster has both datapaths at it.

var allServices = flag.Bool("services", false,
	"run the tests of services with every mix of datapaths, and with as many connections as the product promises it for")

const (
	// httpPort of a service that translates leads to httpTarget of backends
	// (backend), whoPort to itself.
	httpPort, httpTarget, whoPort = 80, 8080, 7
	// patience is for what comes sooner or later, on a machine that has much else
	// to do.
	patience = 30 * time.Second
	// failedTime is how long hosts need at most to see that one of them is dead:
	// some probes, one a second, three seconds in which it may object, and as much
	// again on a busy machine. What they know then they act on in failoverTime.
	failedTime, failoverTime = 12 * time.Second, time.Second
)

// datapathsOf are the clusters that services and names are tested on, by the
// datapath of each host: a mixed one, or all.
func datapathsOf(all bool) map[string][]datapath.Kind {
	k, u := datapath.Kernel, datapath.Userspace
	out := map[string][]datapath.Kind{"mixed": {k, u, k}}
	if all {
		out["kernel"], out["userspace"] = []datapath.Kind{k, k, k}, []datapath.Kind{u, u, u}
	}
	return out
}

// serviceBed is such a cluster.
type serviceBed struct {
	*cluster
	kinds []datapath.Kind
	// clients are one on each host, backends b1, b2, and so on, two on each.
	clients  []*endpoint
	backends []*backend
	// vip is the first of the service's, and http where it leads to httpTarget.
	vip  netip.Addr
	http netip.AddrPort
}

// withServices runs a test on every cluster that there is, with options for the
// network and for the service.
func withServices(t *testing.T, network, service []string, test func(*testing.T, *serviceBed)) {
	linktest.NeedRoot(t)
	for name, kinds := range datapathsOf(*allServices) {
		t.Run(name, func(t *testing.T) { test(t, newServiceBed(t, kinds, network, service)) })
	}
}

// translated are the options of a service that offers what backends have.
var translated = []string{"--port", "80:8080", "--port", "7/tcp", "--port", "7/udp"}

func newServiceBed(t *testing.T, kinds []datapath.Kind, network, service []string) *serviceBed {
	t.Helper()
	b := &serviceBed{cluster: newCluster(t, linktest.Options{Hosts: len(kinds)}), kinds: kinds}
	b.upWith(b.upArgs)
	b.hosts[0].must(append([]string{"network", "create", "shop"}, network...)...)
	var s api.Service
	b.hosts[0].query(&s, append([]string{"service", "create", "web", "--network", "shop"}, service...)...)
	b.vip = s.VIPs[0]
	b.http = netip.AddrPortFrom(b.vip, httpTarget)
	if len(s.Ports) > 0 {
		b.http = netip.AddrPortFrom(b.vip, httpPort)
	}
	for i, h := range b.hosts {
		b.clients = append(b.clients, h.attach("shop", fmt.Sprintf("c%d", i+1)))
	}
	update := []string{"service", "update", "web"}
	for i := range 2 * len(b.hosts) {
		name := fmt.Sprintf("b%d", i+1)
		b.backends = append(b.backends, startBackend(t, b.hosts[i%len(b.hosts)].attach("shop", name)))
		update = append(update, "--add-endpoint", name)
	}
	b.hosts[0].must(update...)
	b.awaitServing(t, len(b.backends))
	return b
}

// upArgs are those of the agent of a host, by its index.
func (b *serviceBed) upArgs(host int) []string {
	return []string{"--datapath", string(b.kinds[host])}
}

// awaitServing waits until so many backends take new flows, in the eyes of all
// hosts that run, and a client on each of them has been answered.
func (b *serviceBed) awaitServing(t *testing.T, n int) {
	t.Helper()
	for i, h := range b.hosts {
		if !h.running() {
			continue
		}
		eventually(t, fmt.Sprintf("%s has %d backends that serve", h.name, n), func() error {
			if _, got := h.service(); len(got) != n {
				return fmt.Errorf("there are %d", len(got))
			}
			_, err := request(b.clients[i], 0, b.http)
			return err
		})
	}
}

// service is how a host sees it, and the backends that take new flows.
func (h *host) service() (s api.Service, serving []api.ServiceBackend) {
	h.c.tb.Helper()
	var found []api.Service
	h.query(&found, "service", "inspect", "web")
	for _, b := range found[0].Backends {
		if b.State == api.BackendServing {
			serving = append(serving, b)
		}
	}
	return found[0], serving
}

// flows are those of the service on a host.
func (h *host) flows() []api.Flow {
	h.c.tb.Helper()
	var l api.FlowList
	h.query(&l, "flows", "--service", "web")
	return l.Flows
}

// oracle knows where new flows go, by what a host says of the service and nothing
// else.
type oracle struct {
	table []uint16
	names []string
}

func (b *serviceBed) oracle() oracle {
	b.tb.Helper()
	s, serving := b.hosts[0].service()
	var o oracle
	var all []balance.Backend
	for _, x := range serving {
		all = append(all, balance.Backend{Name: x.EndpointID, Weight: x.Weight})
		o.names = append(o.names, x.Name)
	}
	o.table = balance.Table(all, s.TableSize)
	return o
}

// of returns the name of the backend that a client is led to.
func (o oracle) of(protocol uint8, client, vip netip.AddrPort) string {
	hash := balance.Flow{Protocol: protocol, Client: client, VIP: vip}.Hash()
	return o.names[o.table[balance.Entry(hash, len(o.table))]]
}

// moved is which part of all new flows goes to another backend than before.
func (o oracle) moved(before oracle) float64 {
	n := 0
	for i := range o.table {
		if o.names[o.table[i]] != before.names[before.table[i]] {
			n++
		}
	}
	return float64(n) / float64(len(o.table))
}

// eventually waits for something that may take long on a busy machine, and only
// there.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	for begin := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Since(begin) > patience {
			t.Fatalf("%s: not after %v: %v", what, patience, err)
		}
	}
}

// die ends a host as the loss of its power does for all others: nothing of it is
// heard again. Its backends and its client are what they were.
func (c *cluster) die(t *testing.T, h *host) {
	t.Helper()
	run(t, c.lab.Underlay, "ip", "link", "set", h.name, "down")
	h.kill()
}

// revive lets it be heard again, with an agent.
func (c *cluster) revive(t *testing.T, h *host, args ...string) {
	t.Helper()
	run(t, c.lab.Underlay, "ip", "link", "set", h.name, "up")
	h.up(args...)
}

func addrOf(e *endpoint, vip netip.Addr) netip.Addr {
	for _, a := range e.info.Addresses {
		if a.Addr().Is4() == vip.Is4() {
			return a.Addr()
		}
	}
	return netip.Addr{}
}
