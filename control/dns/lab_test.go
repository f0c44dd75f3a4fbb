package dns

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/ovlnet/ovl/control/dns/zone"
	"github.com/ovlnet/ovl/control/reconcile"
	"github.com/ovlnet/ovl/control/store"
	"github.com/ovlnet/ovl/datapath/link/linktest"
	"github.com/ovlnet/ovl/encap"
)

func TestMain(m *testing.M) { linktest.VerifyNoLeaks(m) }

// Clients live on loopback: 127.0.0.1 and ::1 are one endpoint of each network,
// 127.0.0.2 is another, 127.0.0.9 is none.
const (
	clientAddr   = "127.0.0.1"
	otherAddr    = "127.0.0.2"
	strangerAddr = "127.0.0.9"
	// backends is how many the service "many" has: more than fit a packet.
	backends = 200
)

var local1 = reconcile.Local{Node: "1", VTEP: netip.MustParseAddr("192.0.2.1"), Port: 4789}

// tables have two networks with the same subnets, blue and red, and the same names.
func tables() *reconcile.Tables {
	t := &reconcile.Tables{
		Version: 1,
		Nodes: map[string]store.Node{
			"1": {ID: "1", Name: "host-1", VTEP: local1.VTEP, VXLANPort: 4789},
			"2": {ID: "2", Name: "host-2", VTEP: netip.MustParseAddr("192.0.2.2"), VXLANPort: 4789},
		},
		Networks:  make(map[string]store.Network),
		Endpoints: make(map[string]store.Endpoint),
		Services:  make(map[string]*reconcile.Service),
	}
	mac := uint16(0)
	endpoint := func(network, node, name string, addrs ...string) string {
		mac++
		e := store.Endpoint{
			ID: name + "@" + network, Name: name, Network: network, Node: node, MAC: encap.MAC{2, 0, 0, 0, byte(mac >> 8), byte(mac)},
		}
		for _, a := range addrs {
			addr := netip.MustParseAddr(a)
			e.Addrs = append(e.Addrs, netip.PrefixFrom(addr, addr.BitLen()))
		}
		t.Endpoints[e.ID] = e
		return e.ID
	}
	service := func(network, name string, vips []string, backends ...string) {
		s := &store.Service{ID: name + "@" + network, Name: name, Network: network, TableSize: 16381, DNSRR: len(vips) == 0}
		for _, a := range vips {
			s.VIPs = append(s.VIPs, netip.MustParseAddr(a))
		}
		v := &reconcile.Service{Service: s, Backends: make(map[string]store.Backend)}
		for _, b := range backends {
			v.Backends[b] = store.Backend{Weight: 2}
		}
		t.Services[s.ID] = v
	}
	for i, id := range []string{"blue", "red"} {
		n := store.Network{ID: id, Name: id, VNI: encap.VNI(4096 + i), Internal: id == "red"}
		for _, p := range []string{"127.0.0.0/8", "::/64"} {
			n.Subnets = append(n.Subnets, store.Subnet{Prefix: netip.MustParsePrefix(p)})
		}
		t.Networks[id] = n
		endpoint(id, "1", "client", clientAddr, "::1")
		endpoint(id, "1", "other", otherAddr)
	}
	a := endpoint("blue", "2", "a", "127.1.0.1", "::a")
	b := endpoint("blue", "2", "b", "127.1.0.2")
	service("blue", "web", []string{"127.9.0.1", "::9"}, a, b)
	service("blue", "rr", nil, a, b)
	secret := endpoint("red", "2", "secret", "127.66.0.1", "::66")
	service("red", "web", []string{"127.66.0.2"}, secret)
	var many []string
	for i := range backends {
		many = append(many, endpoint("blue", "2", fmt.Sprintf("many-%d", i), fmt.Sprintf("127.2.0.%d", i)))
	}
	service("blue", "many", nil, many...)
	return t
}

// lab is a Server with two networks, on loopback.
type lab struct {
	*Server
	view atomic.Pointer[zone.View]
	// ports are those of each network, for UDP and TCP alike.
	ports map[string]uint16
	stop  map[string]func() error
	udp   map[string]*net.UDPConn
	tcp   map[string]*net.TCPListener
}

func newLab(t testing.TB, opts Options) *lab {
	t.Helper()
	l := &lab{
		ports: make(map[string]uint16), stop: make(map[string]func() error),
		udp: make(map[string]*net.UDPConn), tcp: make(map[string]*net.TCPListener),
	}
	l.read(tables())
	opts.Look = l.view.Load
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	l.Server = New(opts)
	t.Cleanup(func() { l.Close() })
	for _, network := range []string{"blue", "red"} {
		udp, tcp := listen(t)
		stop, err := l.Serve(network, udp, tcp)
		if err != nil {
			t.Fatal(err)
		}
		l.ports[network], l.stop[network] = uint16(tcp.Addr().(*net.TCPAddr).Port), stop
		l.udp[network], l.tcp[network] = udp, tcp
	}
	return l
}

func (l *lab) read(t *reconcile.Tables) {
	l.view.Store((&zone.Reader{Local: local1}).Read(t))
}

// listen returns sockets at one port of all addresses, of both families.
func listen(t testing.TB) (*net.UDPConn, *net.TCPListener) {
	t.Helper()
	for {
		tcp, err := net.ListenTCP("tcp", nil)
		if err != nil {
			t.Fatal(err)
		}
		udp, err := net.ListenUDP("udp", &net.UDPAddr{Port: tcp.Addr().(*net.TCPAddr).Port})
		if err == nil {
			return udp, tcp
		}
		tcp.Close()
	}
}

// at is where a network is answered, at one of this host's addresses.
func (l *lab) at(network, addr string) string {
	return netip.AddrPortFrom(netip.MustParseAddr(addr), l.ports[network]).String()
}

// dial connects from one address of loopback to another.
func dial(t testing.TB, transport, from, to string) net.Conn {
	t.Helper()
	d := net.Dialer{Timeout: 20 * time.Second}
	if strings.HasPrefix(transport, "tcp") {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	} else {
		d.LocalAddr = &net.UDPAddr{IP: net.ParseIP(from)}
	}
	c, err := d.Dial(transport, to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// exchange sends a query and returns its answer. Over UDP the socket is connected,
// so that only what comes from where it was sent to is an answer.
func (l *lab) exchange(t testing.TB, transport, network, from, to string, q *dns.Msg) *dns.Msg {
	t.Helper()
	c := &dns.Conn{Conn: dial(t, transport, from, l.at(network, to)), UDPSize: dns.MaxMsgSize}
	defer c.Close()
	if err := c.WriteMsg(q); err != nil {
		t.Fatal(err)
	}
	m, err := c.ReadMsg()
	if err != nil {
		t.Fatalf("%s %v: %v", transport, q.Question, err)
	}
	if m.Id != q.Id || !m.Response || m.Opcode != q.Opcode || m.RecursionDesired != q.RecursionDesired {
		t.Errorf("the answer to %v is %v", q, m)
	}
	return m
}

// ask asks blue over UDP.
func (l *lab) ask(t testing.TB, name string, qtype uint16) *dns.Msg {
	t.Helper()
	return l.exchange(t, "udp", "blue", clientAddr, clientAddr, new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype))
}

// text writes an answer in one line: code, answers, and what is in the other
// sections, each sorted.
func text(m *dns.Msg) string {
	section := func(list []dns.RR) string {
		var out []string
		for _, r := range list {
			if r.Header().Rrtype != dns.TypeOPT {
				out = append(out, strings.Join(strings.Fields(r.String()), " "))
			}
		}
		slices.Sort(out)
		return strings.Join(out, ", ")
	}
	out := dns.RcodeToString[m.Rcode]
	if m.Rcode == dns.RcodeBadVers {
		out = "BADVERS"
	}
	for _, s := range []struct{ name, text string }{{"", section(m.Answer)}, {" ns: ", section(m.Ns)}, {" extra: ", section(m.Extra)}} {
		if s.text != "" {
			out += s.name
			if s.name == "" {
				out += " "
			}
			out += s.text
		}
	}
	return out
}

// count waits until so many queries came to a result.
func (l *lab) count(t testing.TB, r Result, want uint64) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		got := l.Stats().Results[r].Queries
		if got == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d queries were %v, want %d", got, r, want)
		}
	}
}

// goResolver is the standard library's, asking a network from an address.
func (l *lab) goResolver(network, from string) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, transport, _ string) (net.Conn, error) {
		d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}
		if strings.HasPrefix(transport, "tcp") {
			d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
		}
		return d.DialContext(ctx, transport, l.at(network, clientAddr))
	}}
}
