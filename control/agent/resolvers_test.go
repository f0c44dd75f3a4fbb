package agent

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/api"
)

func TestHostResolvers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	gateway := netip.MustParseAddr("10.0.0.1")
	r := &hostResolvers{path: path, isGateway: func(a netip.Addr) bool { return a == gateway }}
	at := time.Now().Add(-time.Hour)
	for i, c := range []struct{ text, want string }{
		{"", "[]"},
		{"nameserver 192.0.2.53\n", "[192.0.2.53:53]"},
		{"nameserver 192.0.2.54\n", "[192.0.2.54:53]"},
		{"# nothing\nsearch example\n", "[]"},
		{"nameserver 127.0.0.53\nnameserver 2001:db8::53\nnameserver fe80::1%eth0\noptions ndots:3\n", "[127.0.0.53:53 [2001:db8::53]:53 [fe80::1%eth0]:53]"},
		{"nameserver 10.0.0.1\nnameserver 192.0.2.53\nnameserver 192.0.2.53\n", "[192.0.2.53:53]"},
		{"nameserver 10.0.0.1\n", "[]"},
		{"nameserver dns.example\nnameserver\nnameserver ::ffff:192.0.2.9 trailing\n\x00\xff\n", "[192.0.2.9:53]"},
		{strings.Repeat("x", 100_000) + "\nnameserver 192.0.2.53\n", "[]"},
	} {
		if c.text == "" {
			os.Remove(path)
		} else if err := os.WriteFile(path, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		} else if err := os.Chtimes(path, at, at.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got := fmt.Sprint(r.list()); got != c.want {
				t.Errorf("of %.60q: %s, want %s", c.text, got, c.want)
			}
		}
	}
	os.Remove(path)
	if got := r.list(); len(got) > 0 {
		t.Errorf("of no file: %v", got)
	}
	// What the operator has named is not looked at twice.
	r.fixed = []netip.AddrPort{netip.AddrPortFrom(gateway, 5353)}
	if got := fmt.Sprint(r.list()); got != "[10.0.0.1:5353]" {
		t.Errorf("named were 10.0.0.1:5353, asked are %s", got)
	}
}

// A name server at this host's own gateway would be this agent.
func TestGatewayIsNoResolver(t *testing.T) {
	n := twoNetworks(t)
	n.create(api.NetworkRequest{Name: "green", Subnets: prefixes("10.0.2.0/24")})
	n.attach("blue", "c1")
	n.attach("red", "c2")
	other := n.lab.add()
	far := other.attach("green", "c3")
	n.lab.eventually("host1 knows of it", func() bool { _, known := n.tables().Endpoints[far.ID]; return known })
	for addr, want := range map[string]bool{"10.0.0.1": true, "fd00:1::1": true, "10.0.0.2": false, "10.0.2.1": false, "192.0.2.53": false} {
		if got := n.isGateway(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s is a gateway: %v, want %v", addr, got, want)
		}
	}
}
