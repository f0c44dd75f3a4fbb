package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/ovlnet/ovl/control/api"
)

// TestNames: everything that has a name is found by it, by all kinds of programs,
// from each host alike, and nothing else is.
func TestNames(t *testing.T) {
	withNames(t, func(t *testing.T, b *nameBed) {
		web := b.serve(t, "web", []string{"--port", "80:8080"}, b.ends...)
		b.serve(t, "pool", []string{"--endpoint-mode", "dnsrr"}, b.ends...)
		h := b.hosts[0]
		h.must("network", "create", "red", "--ipv6")
		other := h.attach("red", "r1", "--alias", "rx")
		awaitName(t, "c3", 1, b.ends...)
		cases := append(b.insideCases(web), b.outsideCases(other)...)
		t.Run("clients", func(t *testing.T) {
			asked := b.askOutside(t)
			var wg sync.WaitGroup
			for _, e := range b.ends {
				for _, client := range []func(*testing.T, *endpoint, []nameCase){checkDig, checkGetent, checkGo} {
					wg.Go(func() { client(t, e, cases) })
				}
			}
			wg.Wait()
			if again := b.askOutside(t); again != asked {
				t.Errorf("the outside was asked %d times for one name by %d hosts, and then %d times more", asked, len(b.hosts), again-asked)
			}
		})
		t.Run("answers", func(t *testing.T) {
			for _, e := range b.ends {
				b.checkAnswers(t, e, web)
			}
		})
		t.Run("outside", func(t *testing.T) { b.checkOutside(t) })
		t.Run("internal", func(t *testing.T) { b.checkInternal(t) })
		t.Run("twins", func(t *testing.T) { b.checkTwins(t) })
		t.Run("several", func(t *testing.T) { b.checkSeveral(t) })
		t.Run("service of an endpoint's name", func(t *testing.T) { b.checkServiceWins(t) })
		t.Run("renamed", func(t *testing.T) { b.checkRenamed(t) })
		t.Run("TAP", func(t *testing.T) { b.checkTAP(t) })
		b.outside.checkNoLeak(t)
	})
}

// insideCases are all forms of the names of shop.
func (b *nameBed) insideCases(web api.Service) []nameCase {
	var cases []nameCase
	addresses := func(name string, all ...*endpoint) {
		cases = append(cases, nameCase{name, typeA, addrsOf(false, all...)}, nameCase{name, typeAAAA, addrsOf(true, all...)})
	}
	for i, e := range b.ends {
		for _, name := range []string{e.info.Name, fmt.Sprintf("cache_%d", i+1)} {
			addresses(name, e)
			addresses(name+".shop", e)
		}
		for _, a := range e.info.Addresses {
			cases = append(cases, nameCase{a.Addr().String(), typePTR, []string{e.info.Name + ".shop."}})
		}
	}
	addresses("C2.Shop", b.ends[1])
	addresses("db", b.ends[:2]...)
	addresses("db.shop", b.ends[:2]...)
	for _, name := range []string{"tasks.web", "tasks.web.shop", "pool", "pool.shop", "tasks.pool"} {
		addresses(name, b.ends...)
	}
	for _, name := range []string{"web", "web.shop"} {
		cases = append(cases, nameCase{name, typeA, of(false, web.VIPs)}, nameCase{name, typeAAAA, of(true, web.VIPs)})
	}
	for _, vip := range web.VIPs {
		cases = append(cases, nameCase{vip.String(), typePTR, []string{"web.shop."}})
	}
	var targets []string
	for _, e := range b.ends {
		targets = append(targets, srvValue(e.info.Name+".shop.", 5432))
	}
	return append(cases,
		nameCase{"_80._tcp.web.shop", typeSRV, []string{srvValue("web.shop.", 80)}},
		nameCase{"_5432._tcp.pool.shop", typeSRV, targets},
	)
}

// outsideCases are names that are not of shop, with those of another network.
func (b *nameBed) outsideCases(other *endpoint) []nameCase {
	var cases []nameCase
	for _, name := range []string{
		"nobody", "nobody.shop", "tasks.nobody.shop", "tasks.c1.shop",
		"r1", "rx", "r1.red", "rx.red", "tasks.r1.red", "red", "nobody.red",
		"outside", "nothing.example",
	} {
		cases = append(cases, nameCase{name, typeA, nil}, nameCase{name, typeAAAA, nil})
	}
	for _, a := range other.info.Addresses {
		cases = append(cases, nameCase{a.Addr().String(), typePTR, nil})
	}
	return append(cases,
		nameCase{"outside.example", typeA, []string{outsideAddr}},
		nameCase{"outside.example", typeAAAA, []string{outsideAddr6}},
		nameCase{outsideAddr, typePTR, []string{"outside.example."}},
	)
}

// checkAnswers looks at what is beside the values.
func (b *nameBed) checkAnswers(t *testing.T, e *endpoint, web api.Service) {
	for _, gateway := range e.info.Gateways {
		a := newAsker(t, e, gateway)
		get := func(name string, qtype uint16) *dns.Msg {
			t.Helper()
			m, err := a.ask(name, qtype)
			if err != nil {
				t.Fatal(err)
			}
			return m
		}

		for name, want := range map[string]uint32{"c1": 1, "db": 1, "tasks.web": 1, "pool": 1, "web": 5} {
			for _, r := range get(name, typeA).Answer {
				if r.Header().Ttl != want {
					t.Errorf("%s: %v, want a time to live of %d", e.info.Name, r, want)
				}
			}
		}
		if m := get("WeB.sHoP", typeA); len(m.Answer) != 1 || m.Answer[0].Header().Name != "WeB.sHoP." {
			t.Errorf("%s asks for WeB.sHoP: %v", e.info.Name, m)
		}
		for name, code := range map[string]int{"web": dns.RcodeSuccess, "c1.shop": dns.RcodeSuccess, "nobody.shop": dns.RcodeNameError, "nobody": dns.RcodeNameError} {
			m := get(name, dns.TypeTXT)
			if m.Rcode != code || len(m.Answer) > 0 || len(m.Ns) != 1 {
				t.Errorf("%s asks for the text of %s: %v", e.info.Name, name, m)
				continue
			}
			if soa, ok := m.Ns[0].(*dns.SOA); !ok || soa.Minttl > 1 && soa.Hdr.Ttl > 1 {
				t.Errorf("%s asks for the text of %s: %v, want it to be kept for 1 s", e.info.Name, name, m.Ns[0])
			}
		}
		q := new(dns.Msg).SetQuestion("c1.", typeA)
		q.SetEdns0(1232, false)
		if m, err := a.exchange(q); err != nil || m.IsEdns0() == nil || len(m.Answer) != 1 {
			t.Errorf("%s asks with EDNS: %v, %v", e.info.Name, m, err)
		}
		if m := get("big.example", typeA); !m.Truncated { // what is longer than 512 bytes is no message
			t.Errorf("%s asks for what does not fit: %v", e.info.Name, m)
		}
		b.checkTCP(t, e, gateway.String(), web)

		first := map[string]bool{}
		for range 100 {
			first[valueOf(get("tasks.web", typeA).Answer[0])] = true
		}
		if len(first) != len(b.ends) {
			t.Errorf("of all backends only %v come first", first)
		}
		a.close()
	}
}

// checkTCP asks twice over one connection.
func (b *nameBed) checkTCP(t *testing.T, e *endpoint, gateway string, web api.Service) {
	t.Helper()
	c := dns.Client{Net: "tcp", Timeout: askTime}
	conn := socket(t, e.Namespace, func() (*dns.Conn, error) { return c.Dial("[" + gateway + "]:53") })
	defer conn.Close() //nolint:errcheck // all has been read
	for name, want := range map[string]int{"web": 1, "big.example": bigSize} {
		m, _, err := c.ExchangeWithConn(new(dns.Msg).SetQuestion(dns.Fqdn(name), typeA), conn)
		if err != nil || len(m.Answer) != want {
			t.Errorf("%s asks %s for %s over TCP: %v, %v", e.info.Name, gateway, name, m, err)
			return
		}
		if name == "web" && !slices.Equal(values(m), of(false, web.VIPs)) {
			t.Errorf("%s asks %s for web over TCP: %v", e.info.Name, gateway, m)
		}
	}
}

// servfailTime is how long a client waits at most while the outside says nothing.
const servfailTime = 3 * time.Second

// askOutside lets every host ask for outside.example, and returns how often it has
// come to that.
func (b *nameBed) askOutside(t *testing.T) (times int) {
	t.Helper()
	for _, qtype := range []uint16{typeA, typeAAAA} {
		for _, e := range b.ends {
			a := newAsker(t, e, e.info.Gateways[0])
			if m, err := a.ask("outside.example", qtype); err != nil || len(m.Answer) != 1 || m.Answer[0].Header().Ttl > outsideTTL {
				t.Errorf("%s asks for a name of the outside: %v, %v", e.info.Name, m, err)
			}
		}
		times += b.outside.count("outside.example", qtype)
	}
	return times
}

// checkOutside: what was answered is kept, and an outage is said to be one.
func (b *nameBed) checkOutside(t *testing.T) {
	b.outside.hush(true)
	defer b.outside.hush(false)
	var wg sync.WaitGroup
	for i, e := range b.ends {
		wg.Go(func() {
			a := newAsker(t, e, e.info.Gateways[0])
			begin := time.Now()
			m, err := a.ask(fmt.Sprintf("late%d.example", i), typeA)
			took := time.Since(begin)
			if err != nil || m.Rcode != dns.RcodeServerFailure || took > servfailTime+time.Second {
				t.Errorf("%s asks while the resolver is silent: %v, %v, after %v", e.info.Name, m, err, took)
			}
			t.Logf("%s: an outage is told after %v", e.info.Name, took.Round(time.Millisecond))
			for _, name := range []string{"outside.example", "c1"} {
				if m, err := a.ask(name, typeA); err != nil || len(m.Answer) != 1 {
					t.Errorf("%s asks for %s while the resolver is silent: %v, %v", e.info.Name, name, m, err)
				}
			}
		})
	}
	wg.Wait()
	b.outside.hush(false)
	for i, e := range b.ends {
		a := newAsker(t, e, e.info.Gateways[0])
		eventually(t, "the outside is heard again", func() error {
			m, err := a.ask(fmt.Sprintf("late%d.example", i), typeA)
			if err != nil {
				return err
			}
			if got := values(m); !slices.Equal(got, []string{outsideAddr}) {
				return fmt.Errorf("it is %v", m)
			}
			return nil
		})
	}
}

// checkInternal: from an internal network nobody asks outside.
func (b *nameBed) checkInternal(t *testing.T) {
	b.hosts[0].must("network", "create", "hidden", "--internal")
	for _, h := range b.hosts[:2] {
		e := h.attach("hidden", "in-"+h.name)
		a := newAsker(t, e, e.info.Gateways[0])
		if m, err := a.ask("secret.example", typeA); err != nil || m.Rcode != dns.RcodeRefused {
			t.Errorf("%s asks for a name of the outside: %v, %v", e.info.Name, m, err)
		}
		if m, err := a.ask(e.info.Name, typeA); err != nil || !slices.Equal(values(m), addrsOf(false, e)) {
			t.Errorf("%s asks for itself: %v, %v", e.info.Name, m, err)
		}
	}
	if n := b.outside.count("secret.example", typeA); n > 0 {
		t.Error("a name asked for in an internal network got outside")
	}
}

// checkServiceWins: a service has its name for itself, for as long as it is there.
func (b *nameBed) checkServiceWins(t *testing.T) {
	e := b.hosts[1].attach("shop", "both")
	awaitName(t, "both", 1, b.ends...)
	s := b.serve(t, "both", nil, b.ends[0])
	for i, c := range b.ends {
		a := newAsker(t, c, c.info.Gateways[0])
		if m, err := a.ask("both", typeA); err != nil || !slices.Equal(values(m), of(false, s.VIPs)) {
			t.Errorf("%s asks for a service and an endpoint of one name: %v, %v", c.info.Name, m, err)
		}
		if m, err := a.ask("tasks.both", typeA); err != nil || !slices.Equal(values(m), addrsOf(false, b.ends[0])) {
			t.Errorf("%s asks for its backends: %v, %v", c.info.Name, m, err)
		}
		eventually(t, "status warns", func() error {
			var status api.Status
			b.hosts[i].query(&status, "status")
			if !slices.ContainsFunc(status.Problems, func(p string) bool { return strings.Contains(p, "both") }) {
				return fmt.Errorf("it says %q", status.Problems)
			}
			return nil
		})
	}
	b.hosts[2].must("service", "rm", "both")
	for _, c := range b.ends {
		a := newAsker(t, c, c.info.Gateways[0])
		eventually(t, "the endpoint has its name again", func() error {
			m, err := a.ask("both", typeA)
			if err == nil && !slices.Equal(values(m), addrsOf(false, e)) {
				err = fmt.Errorf("it is %v", m)
			}
			return err
		})
	}
}

// checkRenamed: an endpoint that is attached under another name is found by that
// and no more by the first.
func (b *nameBed) checkRenamed(t *testing.T) {
	h := b.hosts[1]
	e := h.attach("shop", "before", "--ip", "10.0.0.200")
	awaitName(t, "before", 1, b.ends...)
	h.must("detach", "before")
	near := newAsker(t, b.ends[1], b.ends[1].info.Gateways[0])
	if m, err := near.ask("before", typeA); err != nil || m.Rcode != dns.RcodeNameError {
		t.Errorf("an endpoint that is detached is %v, %v", m, err)
	}
	if m, err := near.ask(reverse("10.0.0.200"), typePTR); err != nil || m.Rcode != dns.RcodeNameError {
		t.Errorf("the address of an endpoint that is detached is %v, %v", m, err)
	}
	var again api.Endpoint
	h.query(&again, "attach", "shop", "--netns", e.Name, "--name", "after")
	want := addrsOf(false, &endpoint{info: again})
	for _, c := range b.ends {
		a := newAsker(t, c, c.info.Gateways[0])
		eventually(t, c.info.Name+" finds the new name only", func() error {
			before, err := a.ask("before", typeA)
			if err != nil {
				return err
			}
			after, err := a.ask("after", typeA)
			if err == nil && (before.Rcode != dns.RcodeNameError || !slices.Equal(values(after), want)) {
				err = fmt.Errorf("they are %v and %v", before, after)
			}
			return err
		})
	}
	checkGetent(t, e, []nameCase{{"after", typeA, want}, {"before", typeA, nil}, {"c3", typeA, addrsOf(false, b.ends[2])}})
}

// checkTAP: a virtual machine asks as others do.
func (b *nameBed) checkTAP(t *testing.T) {
	for i, h := range b.hosts[:2] {
		vm := attachTAP(t, h, "shop", fmt.Sprintf("vm%d", i+1), "tap0")
		for family, gateway := range vm.info.Gateways {
			a := newAsker(t, vm, gateway)
			qtype := []uint16{typeA, typeAAAA}[family]
			for _, to := range []*endpoint{vm, b.ends[0], b.ends[1]} {
				if m, err := a.ask(to.info.Name, qtype); err != nil || !slices.Equal(values(m), addrsOf(family == 1, to)) {
					t.Errorf("%s asks for %s: %v, %v", vm.info.Name, to.info.Name, m, err)
				}
			}
		}
		awaitName(t, vm.info.Name, 1, b.ends...)
	}
}
