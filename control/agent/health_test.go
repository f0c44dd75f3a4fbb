package agent

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/store"
)

// TestHealth: backends are asked from their own host, and what comes of it is in
// all hosts' datapaths; what is asked for no more does not matter.
func TestHealth(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	port := uint16(listener.Addr().(*net.TCPAddr).Port) //nolint:forcetypeassert // it is one

	l := newLab(t, 2)
	one, two := l.nodes[0], l.nodes[1]
	one.create(api.NetworkRequest{Name: "blue"})
	one.attach("blue", "x")
	web := one.serve(api.ServiceRequest{
		Name: "web", Network: "blue",
		Health: &api.HealthCheck{Type: api.HealthTCP, Port: port, Interval: api.Duration(100 * time.Millisecond), Rise: 1, Fall: 1},
	})
	vips := fmt.Sprint(web.VIPs)

	// A backend that nobody has found healthy yet is not served.
	two.host.fail("Do b", errors.New("out of order"))
	b := two.join("blue", "b", "web")
	l.hasAtOnce("web", vips+" []", one, two)
	l.eventually("it is found unhealthy", func() bool { return len(one.rows(store.TableHealth)) == 1 })
	l.hasAtOnce("web", vips+" []", one, two)
	v, err := one.ServiceInspect(t.Context(), api.ServiceRef{Service: "web"})
	if want := "b@host2 unhealthy 1 0.00"; err != nil || states(v) != want {
		t.Errorf("backends are %s, %v, want %s", states(v), err, want)
	}

	// Its address becomes loopback's, where the test listens: a namespace in
	// memory has no other.
	row := two.tables().Endpoints[b.ID]
	row.Addrs = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/24")}
	rows, err := two.store.Update(func(tx *store.Tx) error { return tx.Put(store.TableEndpoint, b.ID, row) })
	if err != nil {
		t.Fatal(err)
	}
	two.settle(t.Context(), rows)
	two.host.fail("Do b", nil)
	l.carry("web", vips+" [b]", one, two)
	two.host.fail("Do b", errors.New("out of order"))
	l.carry("web", vips+" []", one, two)

	// After a restart it is what it was, and asked on.
	two.stop()
	if err := two.start(); err != nil {
		t.Fatal(err)
	}
	l.hasAtOnce("web", vips+" []", two)
	two.host.fail("Do b", nil)
	l.carry("web", vips+" [b]", one, two)
	two.host.fail("Do b", errors.New("out of order"))
	l.carry("web", vips+" []", one, two)

	// The namespace of that name is another's by now.
	two.host.fail("Do b", nil)
	l.carry("web", vips+" [b]", one, two)
	two.host.addNamespace("b")
	l.carry("web", vips+" []", one, two)

	// Nobody asks any more.
	if _, err := one.ServiceUpdate(t.Context(), api.ServiceUpdate{ServiceRef: api.ServiceRef{Service: "web"}, NoHealth: true}); err != nil {
		t.Fatal(err)
	}
	l.hasAtOnce("web", vips+" [b]", one, two)
	l.eventually("what was found is forgotten", func() bool { return len(one.rows(store.TableHealth)) == 0 })

	// One that was there before the check serves until it is found not to.
	check := api.HealthCheck{Type: api.HealthTCP, Port: port, Interval: api.Duration(time.Hour)}
	add := api.ServiceUpdate{ServiceRef: api.ServiceRef{Service: "web"}, Health: &check}
	if _, err := one.ServiceUpdate(t.Context(), add); err != nil {
		t.Fatal(err)
	}
	l.carry("web", vips+" []", one, two)

	// A TAP cannot be asked, and serves.
	one.host.addTAP("tap0")
	if _, err := one.Attach(t.Context(), api.AttachRequest{Network: "blue", TAP: "tap0", Services: []string{"web"}}); err != nil {
		t.Fatal(err)
	}
	l.hasAtOnce("web", vips+" [tap0]", one, two)
}
