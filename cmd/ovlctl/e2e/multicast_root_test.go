package e2e

import (
	"bytes"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/api"
)

// TestMulticast: a network created with --multicast carries frames to groups to
// every endpoint, once, and goes on when an agent starts again; another network
// does not.
func TestMulticast(t *testing.T) {
	c := newRunning(t, 2)
	h1, h2 := c.hosts[0], c.hosts[1]
	h1.must("network", "create", "home", "--multicast")
	h2.must("network", "create", "shop")
	var home, shop []api.Network
	h2.query(&home, "network", "inspect", "home")
	h2.query(&shop, "network", "inspect", "shop")
	if home[0].Options[api.OptionMulticast] != "true" || shop[0].Options[api.OptionMulticast] != "" {
		t.Errorf("options of home %v, of shop %v", home[0].Options, shop[0].Options)
	}

	type three struct{ from, near, far *endpoint }
	on := map[string]three{}
	for _, n := range []string{"home", "shop"} {
		on[n] = three{h1.attach(n, n+"-from"), h1.attach(n, n+"-near"), h2.attach(n, n+"-far")}
	}
	check := func(when string) {
		t.Helper()
		ears := map[string][]*ear{}
		for n, e := range on {
			ears[n] = []*ear{listen(t, e.near), listen(t, e.far)}
		}
		for n, e := range on {
			shout(t, e.from, "ff:ff:ff:ff:ff:ff", when+", to all of "+n)
			shout(t, e.from, "01:00:5e:00:00:fb", when+", to some of "+n)
			// What says that the frames before it have arrived.
			shout(t, e.from, e.near.info.MacAddress.String(), "done")
			shout(t, e.from, e.far.info.MacAddress.String(), "done")
		}
		time.Sleep(300 * time.Millisecond) // for what comes late
		for n, of := range ears {
			for _, l := range of {
				frames := l.close()
				want := map[string]int{"done": 1, when + ", to all of home": 0, when + ", to some of home": 0, "of shop": 0}
				if n == "home" {
					want[when+", to all of home"], want[when+", to some of home"] = 1, 1
				}
				for text, times := range want {
					if got := count(frames, text); got != times {
						t.Errorf("%s hears %q %d times, want %d", l.who, text, got, times)
					}
				}
			}
		}
	}
	check("at first")
	h1.stop()
	check("with no agent on one host")
	h1.up()
	check("with another agent")
	h1.must("detach", "home-near")
	on["home"] = three{on["home"].from, h2.attach("home", "home-second"), on["home"].far}
	check("with another endpoint")
}

// count returns in how many frames a text is.
func count(frames [][]byte, text string) (n int) {
	for _, f := range frames {
		if bytes.Contains(f, []byte(text)) {
			n++
		}
	}
	return n
}
