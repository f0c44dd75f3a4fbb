package link_test

import (
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// TestCreateEndpointIsReady: when it returns, or ConfigureInner after it, the endpoint takes packets to each
// of its addresses, on a machine too where others keep the kernel busy with
// their devices.
func TestCreateEndpointIsReady(t *testing.T) {
	linktest.NeedRoot(t)
	s := newStage(t)
	quit := make(chan struct{})
	var others sync.WaitGroup
	for i := range 4 {
		ns := s.lab.Endpoint(fmt.Sprintf("busy%d", i))
		others.Go(func() {
			_ = ns.Do(func() error { // whatever becomes of them
				for {
					select {
					case <-quit:
						return nil
					default:
					}
					d := netlink.NewVeth(netlink.LinkAttrs{Name: "v0"})
					d.PeerName = "v1"
					_ = netlink.LinkAdd(d)
					_ = netlink.LinkSetUp(d)
					_ = netlink.LinkDel(d)
				}
			})
		})
	}
	defer others.Wait()
	defer close(quit)

	for i := range 40 {
		spec := s.spec()
		spec.Host, spec.IfName = fmt.Sprintf("ovl%d", i), fmt.Sprintf("eth%d", i)
		spec.InnerLater = i%2 == 1
		if err := s.create(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
		if spec.InnerLater {
			if err := link.ConfigureInner(t.Context(), innerOf(spec)); err != nil {
				t.Fatal(err)
			}
		}
		err := s.ns.Do(func() error {
			d, err := netlink.LinkByName(spec.IfName)
			if err != nil {
				return err
			}
			if up := d.Attrs().OperState; up != netlink.OperUp {
				t.Errorf("endpoint %d: its device is %s", i, up)
			}
			for _, a := range spec.Addrs {
				r, err := netlink.RouteGet(net.IP(a.Addr().AsSlice()))
				if err != nil || len(r) != 1 || r[0].Type != unix.RTN_LOCAL {
					t.Errorf("endpoint %d: %s is not its own yet: %v, %v", i, a, r, err)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.host.Do(func() error { return netlink.LinkDel(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: spec.Host}}) }); err != nil {
			t.Fatal(err)
		}
	}
}
