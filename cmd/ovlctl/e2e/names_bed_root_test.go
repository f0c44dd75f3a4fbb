package e2e

import (
	"flag"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// Tests of names: three hosts with an endpoint each that asks and is asked for, and
// a resolver on the underlay that stands for the outside.

var allNames = flag.Bool("names", false,
	"run the tests of names with every mix of datapaths, and with as many queries as the product promises it for")

// nameBed is such a cluster, with the network shop.
type nameBed struct {
	*cluster
	kinds []datapath.Kind
	// outside is what the hosts ask for other names.
	outside *upstream
	// ends are c1, c2 and c3, one on each host.
	ends []*endpoint
}

// withNames runs a test on every cluster that there is.
func withNames(t *testing.T, test func(*testing.T, *nameBed)) {
	linktest.NeedRoot(t)
	for name, kinds := range datapathsOf(*allNames) {
		t.Run(name, func(t *testing.T) { test(t, newNameBed(t, kinds)) })
	}
}

func newNameBed(t *testing.T, kinds []datapath.Kind) *nameBed {
	t.Helper()
	b := &nameBed{cluster: newCluster(t, linktest.Options{Hosts: len(kinds)}), kinds: kinds}
	b.outside = startUpstream(t, b.lab.Underlay)
	b.upWith(b.upArgs)
	b.hosts[0].must("network", "create", "shop", "--ipv6")
	for i, h := range b.hosts {
		args := []string{"--alias", fmt.Sprintf("cache_%d", i+1)}
		if i < 2 {
			args = append(args, "--alias", "db")
		}
		b.ends = append(b.ends, h.attach("shop", fmt.Sprintf("c%d", i+1), args...))
	}
	return b
}

// upArgs are those of the agent of a host, by its index.
func (b *nameBed) upArgs(host int) []string {
	return []string{"--datapath", string(b.kinds[host]), "--resolver", b.outside.addr.String()}
}

// serve makes a service of shop with endpoints behind it, and returns when every
// host has all of them serve.
func (b *nameBed) serve(t *testing.T, name string, options []string, backends ...*endpoint) api.Service {
	t.Helper()
	var s api.Service
	b.hosts[0].query(&s, append([]string{"service", "create", name, "--network", "shop"}, options...)...)
	update := []string{"service", "update", name}
	for _, e := range backends {
		update = append(update, "--add-endpoint", e.info.Name)
	}
	b.hosts[0].must(update...)
	for _, h := range b.hosts {
		eventually(t, fmt.Sprintf("%s has %d backends of %s that serve", h.name, len(backends), name), func() error {
			if n := len(h.serving(name)); n != len(backends) {
				return fmt.Errorf("there are %d", n)
			}
			return nil
		})
	}
	return s
}

// serving are the backends of a service that a host has for new flows.
func (h *host) serving(service string) (names []string) {
	h.c.tb.Helper()
	var found []api.Service
	h.query(&found, "service", "inspect", service)
	for _, x := range found[0].Backends {
		if x.State == api.BackendServing {
			names = append(names, x.Name)
		}
	}
	return names
}

// awaitName returns when the hosts of these endpoints answer for a name with so
// many addresses.
func awaitName(t *testing.T, name string, n int, from ...*endpoint) {
	t.Helper()
	for _, e := range from {
		a := newAsker(t, e, e.info.Gateways[0])
		eventually(t, e.info.Name+" finds "+name, func() error {
			m, err := a.ask(name, typeA)
			if err != nil {
				return err
			}
			if got := values(m); len(got) != n {
				return fmt.Errorf("it is %q", got)
			}
			return nil
		})
		a.close()
	}
}

// addrsOf are the addresses of endpoints of one family, sorted as text.
func addrsOf(v6 bool, all ...*endpoint) (out []string) {
	for _, e := range all {
		for _, a := range e.info.Addresses {
			if a.Addr().Is6() == v6 {
				out = append(out, a.Addr().String())
			}
		}
	}
	slices.Sort(out)
	return out
}

// of returns the addresses of one family among some.
func of(v6 bool, all []netip.Addr) (out []string) {
	for _, a := range all {
		if a.Is6() == v6 {
			out = append(out, a.String())
		}
	}
	slices.Sort(out)
	return out
}
