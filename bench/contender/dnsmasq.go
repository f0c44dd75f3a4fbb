package contender

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/ovlnet/ovl/bench/measure"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// dnsmasq is the vxlan contender with a gateway for names, as container runtimes
// and virtual machine managers have it: a namespace on the client's host that hangs
// off the bridge as any endpoint does, with dnsmasq in it, which has all names from a
// hosts file.
type dnsmasq struct {
	kernelVXLAN
	names int

	logs           string
	daemon         *daemon
	gateway, other vethEndpoint
}

func (*dnsmasq) Name() string { return NamesBaseline }

func (d *dnsmasq) Setup(ctx context.Context, lab *linktest.Lab) (measure.Pair, error) {
	pair, err := d.kernelVXLAN.Setup(ctx, lab)
	if err != nil {
		return measure.Pair{}, err
	}
	client := d.ends[0]
	d.other, d.gateway = newVethEndpoint(lab, "dnsmasq", 4), newVethEndpoint(lab, "dnsmasq", 5)
	err = client.host.Do(func() error {
		for _, e := range []vethEndpoint{d.other, d.gateway} {
			if _, err := e.build(client.mtu, client.bridge); err != nil {
				return err
			}
		}
		return nil
	})
	for _, e := range []vethEndpoint{client.endpoint, d.other} {
		err = errors.Join(err, e.knows(d.gateway), d.gateway.knows(e))
	}
	if err != nil {
		return measure.Pair{}, err
	}
	return pair, d.start(ctx)
}

// start runs dnsmasq until it answers.
func (d *dnsmasq) start(ctx context.Context) (err error) {
	if d.logs, err = makeLogs(d.Name()); err != nil {
		return err
	}
	hosts := filepath.Join(d.logs, "hosts")
	if err := os.WriteFile(hosts, []byte(hostsFile(d.names)), 0o600); err != nil {
		return err
	}
	in := &linktest.Host{Namespace: d.gateway.Namespace}
	d.daemon, err = startDaemon(ctx, in, filepath.Join(d.logs, "dnsmasq.log"), "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null",
		"--user=root", "--pid-file=", "--log-facility=-", "--no-resolv", "--no-hosts", "--addn-hosts="+hosts,
		"--interface=eth0", "--bind-interfaces", "--local-ttl=1")
	if err != nil {
		return err
	}
	if err := measure.AwaitNames(ctx, d.Names(), startTime); err != nil {
		return errors.Join(err, d.daemon.lastWords())
	}
	return nil
}

// hostsFile has the names of a crowd.
func hostsFile(names int) string {
	var b strings.Builder
	addr := netip.MustParseAddr("10.0.0.1")
	for _, name := range crowdNames(names) {
		fmt.Fprintln(&b, addr, name)
		addr = addr.Next()
	}
	return b.String()
}

// Names implements Named.
func (d *dnsmasq) Names() measure.Names {
	return measure.Names{
		Client: d.ends[0].endpoint.offer(), Other: d.other.offer(), Resolver: d.gateway.addr.Addr(),
		Asked: crowdNames(d.names), CPU: cpuOf(d.daemon),
	}
}

func (d *dnsmasq) Teardown(ctx context.Context) error {
	if d.daemon != nil {
		d.daemon.terminate()
	}
	return errors.Join(d.kernelVXLAN.Teardown(ctx), removeLogs(d.logs))
}
