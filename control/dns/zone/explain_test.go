package zone

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ovlnet/ovl/control/store"
)

func TestExplain(t *testing.T) {
	w := twoNetworks()
	w.Failed["3"] = true
	w.Services["web@blue"].Backends["b2@blue"] = store.Backend{Node: "2", Weight: 3, Draining: true}
	w.Services["web@blue"].Backends["gone"] = store.Backend{}
	w.endpoint("Web", "blue", "2", "10.0.0.30")
	w.endpoint("late", "blue", "2", "10.0.0.21")
	red := w.Networks["red"]
	red.Internal = true
	w.Networks["red"] = red
	v := w.view()
	for _, c := range []struct{ network, name, want string }{
		{"blue", "Web.BLUE.", `
5 10.0.0.100 fd00::100
service web@blue web on  [10.0.0.100 fd00::100]
endpoint Web@blue Web on host-2 [10.0.0.30]: the service web has this name
backend gone  on  []: it does not exist
backend b1@blue b1 on host-1 [10.0.0.11 fd00::11] weight 1: the service's VIP leads to it
backend b2@blue b2 on host-2 [10.0.0.12] weight 3: it drains
backend b3@blue b3 on host-3 [10.0.0.13] weight 1: its node has failed
`},
		{"blue", "tasks.web", `
1 10.0.0.11 fd00::11
service web@blue web on  [10.0.0.100 fd00::100]: its backends are asked for
backend gone  on  []: it does not exist
backend b1@blue b1 on host-1 [10.0.0.11 fd00::11] weight 1
backend b2@blue b2 on host-2 [10.0.0.12] weight 3: it drains
backend b3@blue b3 on host-3 [10.0.0.13] weight 1: its node has failed
`},
		{"blue", "rr", `
1 10.0.0.11 10.0.0.12 fd00::11
service rr@blue rr on  []: it has no VIP
backend b1@blue b1 on host-1 [10.0.0.11 fd00::11] weight 1
backend b2@blue b2 on host-2 [10.0.0.12] weight 7
backend b3@blue b3 on host-3 [10.0.0.13] weight 1: its node has failed
`},
		{"blue", "db", `
1 10.0.0.21 10.0.0.22
endpoint Db_1@blue Db_1 on host-2 [10.0.0.21]
endpoint db-2@blue db-2 on host-2 [10.0.0.22]
`},
		{"blue", "b3", `
nothing 1
endpoint b3@blue b3 on host-3 [10.0.0.13]: its node has failed
`},
		{"blue", "21.0.0.10.in-addr.arpa", `
1 Db_1.blue
endpoint Db_1@blue Db_1 on host-2 [10.0.0.21]
endpoint late@blue late on host-2 [10.0.0.21]: address 10.0.0.21 belongs to the older endpoint Db_1
`},
		{"blue", "secret", "\nnothing 1\n"},
		{"red", "example.com", "\noutside, of which there is none\n"},
	} {
		x, ok := v.Explain(c.network, c.name)
		if !ok {
			t.Fatalf("no network %s", c.network)
		}
		var b strings.Builder
		b.WriteString("\n" + render(x.Answer))
		if x.Internal {
			b.WriteString(", of which there is none")
		}
		b.WriteString("\n")
		for _, r := range x.Rows {
			fmt.Fprintf(&b, "%s %s %s on %s %v", r.Table, r.ID, r.Name, r.Node, r.Addrs)
			if r.Weight > 0 {
				fmt.Fprintf(&b, " weight %d", r.Weight)
			}
			if r.WhyNot != "" {
				b.WriteString(": " + r.WhyNot)
			}
			b.WriteString("\n")
		}
		if b.String() != c.want {
			t.Errorf("%s in %s:%swant:%s", c.name, c.network, b.String(), c.want)
		}
	}
	if _, ok := v.Explain("green", "web"); ok {
		t.Error("a network that is not there was explained")
	}
}
