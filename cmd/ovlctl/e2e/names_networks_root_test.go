package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"github.com/ovlnet/ovl/control/api"
)

// checkTwins: two networks with one subnet and the same names, on the same hosts,
// answer each with its own while both are asked.
func (b *nameBed) checkTwins(t *testing.T) {
	nets := []string{"left", "right"}
	ends := map[string][]*endpoint{}
	vips := map[string][]string{}
	for n, network := range nets {
		b.hosts[0].must("network", "create", network, "--subnet", "10.9.0.0/24")
		for i, h := range b.hosts[:2] {
			// One has 10.9.0.10 and 11, the other 11 and 12: the addresses are twins too.
			e := &endpoint{Namespace: b.lab.Endpoint(fmt.Sprintf("%s%d", network, i)), host: h}
			h.query(&e.info, "attach", network, "--netns", e.Name, "--name", fmt.Sprintf("a%d", i+1), "--alias", "all", "--ip", fmt.Sprintf("10.9.0.%d", 10+n+i))
			ends[network] = append(ends[network], e)
		}
		var s api.Service
		b.hosts[0].query(&s, "service", "create", "web", "--network", network, "--vip", fmt.Sprintf("10.9.0.%d", 100+n))
		b.hosts[0].must("service", "update", "web", "--network", network, "--add-endpoint", "a1", "--add-endpoint", "a2")
		vips[network] = of(false, s.VIPs)
	}
	var wg sync.WaitGroup
	for _, network := range nets {
		own := ends[network]
		awaitName(t, "tasks.web", len(own), own...)
		cases := []nameCase{
			{"a1", typeA, addrsOf(false, own[0])},
			{"a2", typeA, addrsOf(false, own[1])},
			{"a2." + network, typeA, addrsOf(false, own[1])},
			{"all", typeA, addrsOf(false, own...)},
			{"web", typeA, vips[network]},
			{"tasks.web", typeA, addrsOf(false, own...)},
			{"a1." + nets[0], typeA, nil},
			{"a1." + nets[1], typeA, nil},
			{reverse(own[0].addr()), typePTR, []string{"a1." + network + "."}},
			{reverse(own[1].addr()), typePTR, []string{"a2." + network + "."}},
			{reverse(vips[network][0]), typePTR, []string{"web." + network + "."}},
		}
		for i := range cases {
			if cases[i].name == "a1."+network {
				cases[i].want = addrsOf(false, own[0])
			}
		}
		for _, e := range own {
			a := newAsker(t, e, e.info.Gateways[0])
			wg.Go(func() {
				for range 30 {
					for _, c := range cases {
						m, err := a.ask(c.name, c.qtype)
						if err != nil {
							t.Error(err)
							return
						}
						c.check(t, network, e, values(m), m.Rcode == dns.RcodeNameError)
					}
				}
			})
		}
	}
	wg.Wait()
}

// checkSeveral: a namespace on two networks finds the names of both, those of the
// first one first, whichever gateway it asks, and has no others.
func (b *nameBed) checkSeveral(t *testing.T) {
	h := b.hosts[1]
	for _, network := range []string{"front", "back"} {
		b.hosts[0].must("network", "create", network)
	}
	onFront, onBack := b.hosts[0].attach("front", "only-front"), b.hosts[2].attach("back", "only-back")
	var twins [2]endpoint
	for i, network := range []string{"front", "back"} {
		twins[i] = endpoint{Namespace: b.lab.Endpoint("twin-" + network), host: b.hosts[2]}
		b.hosts[2].query(&twins[i].info, "attach", network, "--netns", twins[i].Name, "--name", "twin")
	}
	both := h.attach("front", "both-front")
	second := &endpoint{Namespace: both.Namespace, host: h}
	h.query(&second.info, "attach", "back", "--netns", both.Name, "--name", "both-back", "--ifname", "eth1")

	cases := []nameCase{
		{"only-front", typeA, addrsOf(false, onFront)},
		{"only-front.front", typeA, addrsOf(false, onFront)},
		{"only-back", typeA, addrsOf(false, onBack)},
		{"only-back.back", typeA, addrsOf(false, onBack)},
		{"twin", typeA, addrsOf(false, &twins[0])},
		{"twin.front", typeA, addrsOf(false, &twins[0])},
		{"twin.back", typeA, addrsOf(false, &twins[1])},
		{"both-back", typeA, addrsOf(false, second)},
		{onBack.addr(), typePTR, []string{"only-back.back."}},
		{"c1", typeA, nil},
		{"c1.shop", typeA, nil},
		{"outside.example", typeA, []string{outsideAddr}},
	}
	awaitName(t, "only-back", 1, both)
	awaitName(t, "twin.back", 1, both)
	checkDig(t, both, cases)
	checkGetent(t, both, cases)
	checkGo(t, both, cases)

	// Who asks the second one gets its names first.
	a := newAsker(t, both, second.info.Gateways[0])
	for name, want := range map[string]*endpoint{"twin": &twins[1], "only-front": onFront, "only-back": onBack} {
		if m, err := a.ask(name, typeA); err != nil || !slices.Equal(values(m), addrsOf(false, want)) {
			t.Errorf("%s asked for of the second gateway: %v, %v", name, m, err)
		}
	}
	// Who is on one of them has nothing of the other.
	checkDig(t, onFront, []nameCase{{"only-back", typeA, nil}, {"only-back.back", typeA, nil}, {"twin", typeA, addrsOf(false, &twins[0])}})

	h.must("detach", "both-front")
	cases = []nameCase{
		{"twin", typeA, addrsOf(false, &twins[1])},
		{"only-front", typeA, nil},
		{"only-front.front", typeA, nil},
		{"only-back", typeA, addrsOf(false, onBack)},
	}
	checkDig(t, both, cases)
	checkGetent(t, both, cases)
	text, err := os.ReadFile("/etc/netns/" + both.Name + "/resolv.conf")
	if err != nil || strings.Contains(string(text), "front") || !strings.Contains(string(text), "nameserver "+second.info.Gateways[0].String()+"\n") {
		t.Errorf("resolv.conf of a namespace that left a network: %v\n%s", err, text)
	}
	h.must("detach", "both-back")
	if _, err := os.Lstat("/etc/netns/" + both.Name + "/resolv.conf"); err == nil {
		t.Error("resolv.conf of a namespace that is on no network is still there")
	}
}
