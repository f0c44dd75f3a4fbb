package datapathtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/link"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// lab is a host with a datapath under test and the suite all around it.
type lab struct {
	site  *Site
	host  *linktest.Namespace
	dp    datapath.Datapath
	wires []*wire
	by    map[Place]*wire

	applied  *datapath.State
	flows    map[string]uint16 // outer source port by inner flow
	sport    uint16            // that of the last tunnel packet
	sentinel uint32            // the last one's number
	speakers []Place           // the ports that send those for the underlay
	buf      []byte
	patience time.Duration
}

// labTB lets a test build a lab that lives as long as another one.
type labTB struct {
	*testing.T
	owner *testing.T
}

func (tb labTB) Cleanup(f func()) { tb.owner.Cleanup(f) }

// newLab builds a lab for t that lasts as long as owner. The datapath has no
// State yet.
func newLab(t, owner *testing.T, open Opener, site *Site, setup Setup) *lab {
	t.Helper()
	if setup.MTU == 0 {
		setup.MTU = 1500
	}
	tb := labTB{t, owner}
	space := linktest.New(tb, linktest.Options{Hosts: 2, MTU: setup.MTU})
	l := &lab{
		site: site, host: space.Hosts[0].Namespace,
		by: map[Place]*wire{}, flows: map[string]uint16{}, buf: make([]byte, maxFrame), patience: patience,
	}
	tb.Cleanup(func() {
		for _, w := range l.wires {
			w.close()
		}
	})
	if err := l.build(t, space, max(9000, setup.MTU+2000)); err != nil {
		t.Fatalf("lab: %v", err)
	}

	ctx := context.Background()
	// The suite hears packets as they are on a wire, one by one, with checksums.
	if err := ethtool(ctx, l.host, linktest.UnderlayDevice, "tx", "off", "gso", "off", "tx-udp-segmentation", "off"); err != nil {
		t.Fatalf("lab: %v", err)
	}
	var remove func() error
	h := Host{
		Name: l.host.Name, VTEP: l.site.Here.Addr, Underlay: linktest.UnderlayDevice, Port: 4789, Log: owner.Output(),
	}
	err := l.host.Do(func() (err error) {
		l.dp, remove, err = open(ctx, h)
		return err
	})
	if err != nil {
		t.Fatalf("open datapath: %v", err)
	}
	tb.Cleanup(func() {
		if err := l.host.Do(func() error { return errors.Join(l.dp.Close(), remove()) }); err != nil {
			owner.Errorf("close datapath: %v", err)
		}
	})
	return l
}

// build makes the lab's interfaces and a wire to each. Those of endpoints take
// longer frames than the networks do.
func (l *lab) build(t *testing.T, space *linktest.Lab, mtu int) error {
	s := l.site
	// Every host is a neighbour, at an address of its own.
	batch := []string{fmt.Sprintf("link set %s address %s", linktest.UnderlayDevice, s.Here.MAC)}
	if s.Family == IPv6 {
		batch = append(batch, fmt.Sprintf("addr add %s/64 dev %s nodad", s.Here.Addr, linktest.UnderlayDevice))
	}
	for _, host := range []Party{s.Host2, s.Host3, s.Host4, s.Stranger} {
		batch = append(batch, fmt.Sprintf("neigh replace %s lladdr %s dev %s nud permanent",
			host.Addr, host.MAC, linktest.UnderlayDevice))
	}
	batch = append(batch, fmt.Sprintf("tuntap add dev %s mode tap", RedTAP), fmt.Sprintf("link set %s mtu %d", RedTAP, mtu))
	if err := ip(t.Context(), l.host, batch); err != nil {
		return err
	}
	if err := l.host.AwaitAddresses(linktest.UnderlayDevice); err != nil {
		return err
	}
	if err := silence(l.host, string(RedTAP)); err != nil {
		return err
	}
	if err := ip(t.Context(), l.host, []string{fmt.Sprintf("link set %s up", RedTAP)}); err != nil {
		return err
	}
	err := l.host.Do(func() error { return l.add(openTAP(RedTAP, string(RedTAP))) })
	if err != nil {
		return err
	}

	// The second host is the suite itself: it has nothing to say of its own.
	other := space.Hosts[1].Namespace
	if err := silence(other, "all"); err != nil {
		return err
	}
	if err := ip(t.Context(), other, []string{"addr flush dev " + linktest.UnderlayDevice}); err != nil {
		return err
	}
	err = other.Do(func() error { return l.add(openPacket(Underlay, linktest.UnderlayDevice)) })
	if err != nil {
		return err
	}
	for _, n := range s.State().Networks {
		for _, p := range n.Ports {
			if p.Kind == datapath.Veth {
				if err := l.endpoint(t.Context(), space.Endpoint(p.Device), p, mtu); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// endpoint makes a port's interface. Its far end has no address, so that all
// that comes from there is what the suite sends.
func (l *lab) endpoint(ctx context.Context, in *linktest.Namespace, p datapath.Port, mtu int) error {
	if err := silence(in, "all"); err != nil {
		return err
	}
	ns, err := link.OpenNamed(in.NetnsPath)
	if err != nil {
		return err
	}
	defer func() { _ = ns.Close() }()
	const device = "eth0"
	spec := link.EndpointSpec{Host: p.Device, Namespace: ns, IfName: device, MAC: p.MAC, MTU: mtu}
	if err := l.host.Do(func() error { return link.CreateEndpoint(ctx, spec) }); err != nil {
		return err
	}
	// What was merged on its way is heard in pieces, too.
	if err := ethtool(ctx, l.host, p.Device, "tso", "off", "gso", "off", "tx-udp-segmentation", "off"); err != nil {
		return err
	}
	return in.Do(func() error { return l.add(openPacket(Place(p.Device), device)) })
}

func (l *lab) add(w *wire, err error) error {
	if err != nil {
		return err
	}
	l.wires = append(l.wires, w)
	l.by[w.at] = w
	return nil
}

// apply brings the datapath to a State, if it is not there already.
func (l *lab) apply(t *testing.T, change func(*datapath.State)) {
	t.Helper()
	s := l.site.State()
	if change != nil {
		change(&s)
		s.Sort()
	}
	if l.applied != nil && l.applied.Equal(s) {
		return
	}
	l.applied = nil
	if err := l.host.Do(func() error { return l.dp.Apply(t.Context(), s) }); err != nil {
		t.Fatalf("apply: %v", err)
	}
	l.applied = &s
}

// silence switches IPv6 of a namespace's device off, which would have things
// to say of its own.
func silence(ns *linktest.Namespace, device string) error {
	path := filepath.Join("/proc/sys/net/ipv6/conf", device, "disable_ipv6")
	return ns.Do(func() error { return os.WriteFile(path, []byte("1"), 0) })
}

// ethtool sets features of a device of a namespace.
func ethtool(ctx context.Context, ns *linktest.Namespace, device string, features ...string) error {
	args := append([]string{"-K", device}, features...)
	if out, err := ns.Command(ctx, "ethtool", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ethtool %q: %w: %s", args, err, out)
	}
	return nil
}

// ip runs commands of ip(8) in a namespace.
func ip(ctx context.Context, ns *linktest.Namespace, commands []string) error {
	cmd := ns.Command(ctx, "ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip in %s: %w: %s", ns.Name, err, out)
	}
	return nil
}
