package kernel

import (
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/ovlnet/ovl/datapath/link"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// TestBigTCP: TCP packets whose length the IP header cannot say, which an
// endpoint hands over where the kernel segments, arrive whole: on one host and
// another, whoever cuts them.
func TestBigTCP(t *testing.T) { onUnderlays(t, linktest.Options{Hosts: 2}, testBigTCP) }

func testBigTCP(t *testing.T, o linktest.Options) {
	needTool(t, "iperf3", "ethtool")
	f := newTrafficBed(t, o)
	for _, e := range []*bedEndpoint{f.a, f.near, f.far} {
		ns, err := link.OpenNamed(e.NetnsPath)
		if err != nil {
			t.Fatal(err)
		}
		if err := ns.SetGSOIPv4MaxSize("eth0", 131072); err != nil {
			t.Fatal(err)
		}
		err = ns.Do(func() error {
			d, err := netlink.LinkByName("eth0")
			if err == nil && d.Attrs().GSOIPv4MaxSize != 131072 {
				skip(t, "needs BIG TCP for IPv4, Linux 6.3 and later")
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := ns.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, offload := range []bool{true, false} {
		if err := f.lab.SetSegmentationOffload(t.Context(), offload); err != nil {
			t.Fatal(err)
		}
		segments := false
		err := f.hosts[0].Do(func() (err error) {
			segments, err = link.SegmentsTunnels("eth0")
			return err
		})
		if err != nil || segments != offload {
			t.Errorf("the underlay segments tunnels: %v, %v; want %v", segments, err, offload)
		}
		checkTCP(t, f.a.Namespace, f.near.Namespace, f.near.addr().String())
		checkTCP(t, f.a.Namespace, f.far.Namespace, f.far.addr().String())
	}
}
