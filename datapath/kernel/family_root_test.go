package kernel

import (
	"net/netip"
	"testing"

	"github.com/ovlnet/ovl/datapath"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// TestOtherFamily: a host of an IPv4 underlay may have IPv6 as well, and the
// other way round. The vxlan device takes tunnel packets of either; what comes
// by the other is no member's.
func TestOtherFamily(t *testing.T) {
	onUnderlays(t, linktest.Options{Hosts: 3}, testOtherFamily)
}

func testOtherFamily(t *testing.T, o linktest.Options) {
	f := newForgedBed(t, o)
	here, there := f.hostA, f.hostB
	here.Addr, there.Addr = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	bits := "/64"
	if o.IPv6 {
		here.Addr, there.Addr = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
		bits = "/24"
	}
	add := []string{"ip", "addr", "add", here.Addr.String() + bits, "dev", linktest.UnderlayDevice}
	if !o.IPv6 {
		add = append(add, "nodad")
	}
	run(t, f.hosts[0].Namespace, add...)
	heard := listen(t, f.a.Namespace, "eth0")
	send := sender(t, f.hosts[1].Namespace, linktest.UnderlayDevice)
	for name, inner := range map[string][]byte{
		"IPv4": dt.UDP4(f.partyB, f.partyA, "x"), "not IP": dt.Ethernet(f.partyB, f.partyA, 0x88b5, "x"),
	} {
		f.expectDrop(t, forgery{name, dt.VXLAN(there, here, testVNI, inner), datapath.DropUnknownVTEP}, send)
	}
	if got := heard(); len(got) != 0 {
		t.Errorf("heard %s", hexLines(got))
	}
}
