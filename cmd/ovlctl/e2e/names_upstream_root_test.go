package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// upstream is a resolver on the underlay that knows names which end in "example":
//
//	nothing.example  is not there
//	big.example      has more addresses than fit into a datagram
//	NAME.example     outsideAddr and outsideAddr6, which have the name outside.example
//
// It remembers what it was asked for: nothing that is of the cluster is to be
// among it.
type upstream struct {
	addr netip.AddrPort

	mu sync.Mutex
	// asked counts by name and type, "web.example. A", in lower case.
	asked map[string]int
	// silent: it hears and says nothing.
	silent bool
}

const (
	outsideAddr  = "203.0.113.7"
	outsideAddr6 = "2001:db8:ff::7"
	// outsideTTL is that of what upstream answers, in seconds.
	outsideTTL = 300
	// bigSize is how many addresses big.example has.
	bigSize = 150
)

// startUpstream runs one on the bridge of an underlay.
func startUpstream(t *testing.T, underlay *linktest.Namespace) *upstream {
	t.Helper()
	u := &upstream{addr: netip.MustParseAddrPort("192.0.2.253:5300"), asked: map[string]int{}}
	run(t, underlay, "ip", "address", "add", u.addr.Addr().String()+"/24", "dev", "br0")
	var packets net.PacketConn
	var streams net.Listener
	err := underlay.Do(func() (err error) {
		if packets, err = net.ListenPacket("udp", u.addr.String()); err != nil {
			return err
		}
		streams, err = net.Listen("tcp", u.addr.String())
		return err
	})
	if err != nil {
		t.Fatalf("resolver on the underlay: %v", err)
	}
	for _, s := range []*dns.Server{{PacketConn: packets, Handler: u}, {Listener: streams, Handler: u}} {
		started, ended := make(chan struct{}), make(chan error, 1)
		s.NotifyStartedFunc = func() { close(started) }
		go func() { ended <- s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() {
			if err := s.Shutdown(); err != nil {
				t.Errorf("resolver on the underlay: %v", err)
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
	return u
}

// ServeDNS implements dns.Handler.
func (u *upstream) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	name := strings.ToLower(q.Question[0].Name)
	qtype := q.Question[0].Qtype
	u.mu.Lock()
	u.asked[question(name, qtype)]++
	silent := u.silent
	u.mu.Unlock()
	if silent {
		return
	}
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true
	answer := func(format string, args ...any) {
		r, err := dns.NewRR(fmt.Sprintf("%s %d IN %s %s", q.Question[0].Name, outsideTTL, dns.TypeToString[qtype], fmt.Sprintf(format, args...)))
		if err != nil {
			panic(err)
		}
		m.Answer = append(m.Answer, r)
	}
	switch known := strings.HasSuffix(name, ".example.") && name != "nothing.example."; {
	case known && name == "big.example." && qtype == dns.TypeA:
		for i := range bigSize {
			answer("198.51.100.%d", i+1)
		}
	case known && qtype == dns.TypeA:
		answer(outsideAddr)
	case known && qtype == dns.TypeAAAA:
		answer(outsideAddr6)
	case name == reverse(outsideAddr) && qtype == dns.TypePTR:
		answer("outside.example.")
	default:
		if !known {
			m.Rcode = dns.RcodeNameError
		}
		soa, err := dns.NewRR("example. 3600 IN SOA ns.example. admin.example. 1 3600 600 86400 3600")
		if err != nil {
			panic(err)
		}
		m.Ns = append(m.Ns, soa)
	}
	if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
		size := dns.MinMsgSize
		if o := q.IsEdns0(); o != nil {
			size = int(o.UDPSize())
		}
		m.Truncate(size)
	}
	_ = w.WriteMsg(m) // who asked may be gone
}

// question is how asked has it.
func question(name string, qtype uint16) string { return name + " " + dns.TypeToString[qtype] }

// count is how often it was asked for a name.
func (u *upstream) count(name string, qtype uint16) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.asked[question(dns.Fqdn(name), qtype)]
}

// hush makes it silent, or not.
func (u *upstream) hush(silent bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.silent = silent
}

// checkNoLeak wants it to have been asked for nothing that is not of the outside.
func (u *upstream) checkNoLeak(t *testing.T) {
	t.Helper()
	u.mu.Lock()
	defer u.mu.Unlock()
	for q := range u.asked {
		name, _, _ := strings.Cut(q, " ")
		if !strings.HasSuffix(name, ".example.") && name != reverse(outsideAddr) {
			t.Errorf("the outside was asked for %s", q)
		}
	}
}

// reverse is the name by which an address is asked for.
func reverse(addr string) string {
	name, err := dns.ReverseAddr(addr)
	if err != nil {
		panic(err)
	}
	return name
}
