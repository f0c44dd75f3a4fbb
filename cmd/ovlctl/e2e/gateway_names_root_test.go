package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/ovlnet/ovl/datapath"
	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// askName asks a gateway for the addresses of a name, once, and waits long enough
// for an agent to come back.
func (e *endpoint) askName(network string, gateway netip.Addr, name string, kind uint16) (answer []string, err error) {
	var conn net.Conn
	err = e.Do(func() (err error) {
		conn, err = net.DialTimeout(network, netip.AddrPortFrom(gateway, 53).String(), readyTime)
		return err
	})
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // nothing is waited for
	if err := conn.SetDeadline(time.Now().Add(readyTime)); err != nil {
		return nil, err
	}
	c := dns.Conn{Conn: conn}
	query := new(dns.Msg).SetQuestion(name+".", kind)
	if err := c.WriteMsg(query); err != nil {
		return nil, err
	}
	reply, err := c.ReadMsg()
	if err != nil {
		return nil, err
	}
	for _, rr := range reply.Answer {
		switch a := rr.(type) {
		case *dns.A:
			answer = append(answer, a.A.String())
		case *dns.AAAA:
			answer = append(answer, a.AAAA.String())
		}
	}
	if reply.Rcode != dns.RcodeSuccess || reply.Id != query.Id {
		return answer, fmt.Errorf("%s: %s", name, dns.RcodeToString[reply.Rcode])
	}
	return answer, nil
}

// TestNamesWhileAgentRestarts: what is asked while there is no agent is answered by
// the next one, over UDP and TCP, over both families and in either datapath.
func TestNamesWhileAgentRestarts(t *testing.T) {
	linktest.NeedRoot(t)
	c := newCluster(t, linktest.Options{Hosts: 1})
	h := c.hosts[0]
	h.up("--datapath", "kernel")
	h.must("network", "create", "shop", "--subnet", "10.0.0.0/24", "--subnet", "fd00:5::/64")
	e, other := h.attach("shop", "e"), h.attach("shop", "other")
	ask := func(network string, family int) error {
		kind := []uint16{dns.TypeA, dns.TypeAAAA}[family]
		got, err := e.askName(network, e.info.Gateways[family], "other", kind)
		if want := other.info.Addresses[family].Addr().String(); err == nil && strings.Join(got, " ") != want {
			err = fmt.Errorf("other is %q, want %s", got, want)
		}
		if err != nil {
			err = fmt.Errorf("over %s to %s: %w", network, e.info.Gateways[family], err)
		}
		return err
	}
	for _, network := range []string{"udp", "tcp"} {
		for family := range 2 {
			if err := ask(network, family); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, kind := range []datapath.Kind{datapath.Kernel, datapath.Userspace} {
		// A move has its own rules: what endpoints have sent meanwhile may be lost.
		h.stop()
		h.up("--datapath", string(kind))
		for how, end := range map[string]func(){"stop": h.stop, "kill": h.kill} {
			end()
			var wg sync.WaitGroup
			errs := make([]error, 24) // of one endpoint, few connections at a time
			for i := range errs {
				wg.Go(func() { errs[i] = ask([]string{"udp", "tcp"}[i%2], i/2%2) })
			}
			time.Sleep(300 * time.Millisecond) // they are under way
			h.up("--datapath", string(kind))
			wg.Wait()
			if err := errors.Join(errs...); err != nil {
				t.Errorf("%s, %s datapath: %v", how, kind, err)
			}
		}
	}
	h.must("detach", "other")
	if got, err := e.askName("udp", e.info.Gateways[0], "other", dns.TypeA); err == nil || len(got) > 0 {
		t.Errorf("what is detached is answered with %q", got)
	}
}
