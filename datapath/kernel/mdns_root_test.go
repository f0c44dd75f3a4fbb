package kernel

import (
	"io"
	"log"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/hashicorp/mdns"

	dt "github.com/ovlnet/ovl/datapath/datapathtest"
)

const mdnsService = "_ovl-test._udp"

// responder is one that answers for a service at a member.
func responder(t *testing.T, m groupMember) {
	t.Helper()
	zone, err := mdns.NewMDNSService("printer", mdnsService, "", "printer.local.", 631, []net.IP{m.addr.AsSlice()}, []string{"of a test"})
	if err != nil {
		t.Fatal(err)
	}
	var server *mdns.Server
	err = m.Do(func() error {
		device, err := net.InterfaceByName(m.device)
		if err == nil {
			server, err = mdns.NewServer(&mdns.Config{Zone: zone, Iface: device, Logger: quietLog()})
		}
		return err
	})
	if err != nil {
		t.Fatalf("mDNS responder in %s: %v", m.Name, err)
	}
	t.Cleanup(func() { _ = server.Shutdown() })
}

// browse asks everybody for the service, over packets of one family, and returns
// where it is.
func browse(t *testing.T, m groupMember, over dt.Family) (at netip.Addr) {
	t.Helper()
	entries := make(chan *mdns.ServiceEntry, 16)
	err := m.Do(func() error {
		device, err := net.InterfaceByName(m.device)
		if err != nil {
			return err
		}
		return mdns.Query(&mdns.QueryParam{
			Service: mdnsService, Interface: device, Timeout: 100 * time.Millisecond, Entries: entries, Logger: quietLog(),
			DisableIPv4: over != dt.IPv4, DisableIPv6: over != dt.IPv6,
		})
	})
	if err != nil {
		t.Fatalf("mDNS query in %s: %v", m.Name, err)
	}
	select {
	case e := <-entries:
		at, _ = netip.AddrFromSlice(e.AddrV4)
		return at.Unmap()
	default:
		return netip.Addr{}
	}
}

func quietLog() *log.Logger { return log.New(io.Discard, "", 0) }
