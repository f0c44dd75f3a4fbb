package dns

import (
	"net"
	"net/netip"
	"testing"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// An answer comes from the address that was asked, by sockets of one family and of
// both, at once and later.
func TestAnswersComeFromWhereAsked(t *testing.T) {
	release := make(chan struct{})
	l := newLab(t, Options{Resolvers: newOutside(t, release).list, Timeout: patient})
	udp4, err := net.ListenUDP("udp4", nil)
	if err != nil {
		t.Fatal(err)
	}
	tcp4, err := net.ListenTCP("tcp4", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Serve("blue", udp4, tcp4); err != nil {
		t.Fatal(err)
	}
	both, one := l.ports["blue"], udp4.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	ask := func(transport, from, to string, port uint16, name string) *dns.Conn {
		t.Helper()
		// The socket is connected: what comes from elsewhere it does not take.
		co := &dns.Conn{Conn: dial(t, transport, from, netip.AddrPortFrom(netip.MustParseAddr(to), port).String())}
		if err := co.WriteMsg(new(dns.Msg).SetQuestion(name, dns.TypeA)); err != nil {
			t.Fatal(err)
		}
		return co
	}
	answered := func(co *dns.Conn, want string) {
		t.Helper()
		m, err := co.ReadMsg()
		if err != nil {
			t.Fatalf("%v asked %v: %v", co.LocalAddr(), co.RemoteAddr(), err)
		}
		if got := text(m); got != want {
			t.Errorf("%v asked %v: %s, want %s", co.LocalAddr(), co.RemoteAddr(), got, want)
		}
	}
	later := []*dns.Conn{
		ask("udp4", clientAddr, "127.0.0.54", both, "slow.example.com."),
		ask("udp4", otherAddr, "127.0.0.55", one, "slow.example.com."),
	}
	for _, c := range []struct {
		transport, from, to string
		port                uint16
	}{
		{"udp4", clientAddr, "127.0.0.1", both}, {"udp4", clientAddr, "127.0.0.53", both}, {"udp4", otherAddr, "127.3.2.1", both},
		{"udp4", clientAddr, "127.0.0.1", one}, {"udp4", clientAddr, "127.0.0.53", one}, {"udp4", otherAddr, "127.3.2.1", one},
		{"tcp4", otherAddr, "127.3.2.1", both}, {"udp6", "::1", "::1", both},
	} {
		answered(ask(c.transport, c.from, c.to, c.port, "a."), "NOERROR a. 1 IN A 127.1.0.1")
	}
	close(release)
	for _, co := range later {
		answered(co, "NOERROR slow.example.com. 60 IN A 192.0.2.80")
	}
}

// The interface that a packet came by is not what its answer has to take.
func TestSource(t *testing.T) {
	four := unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: 7, Spec_dst: [4]byte{10, 0, 0, 1}, Addr: [4]byte{10, 0, 0, 1}})
	six := unix.PktInfo6(&unix.Inet6Pktinfo{Addr: netip.MustParseAddr("fd00::1").As16(), Ifindex: 7})
	linkLocal := unix.PktInfo6(&unix.Inet6Pktinfo{Addr: netip.MustParseAddr("fe80::1").As16(), Ifindex: 7})
	other := unix.UnixRights(1)
	for name, c := range map[string]struct{ control, want []byte }{
		"IPv4":       {four, unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: [4]byte{10, 0, 0, 1}, Addr: [4]byte{10, 0, 0, 1}})},
		"IPv6":       {append(append([]byte{}, other...), six...), unix.PktInfo6(&unix.Inet6Pktinfo{Addr: netip.MustParseAddr("fd00::1").As16()})},
		"link-local": {append([]byte{}, linkLocal...), linkLocal},
		"neither":    {other, nil},
		"nothing":    {nil, nil},
		"part":       {append([]byte{}, six[:20]...), nil},
	} {
		if got := source(c.control); string(got) != string(c.want) {
			t.Errorf("%s: %x, want %x", name, got, c.want)
		}
	}
}
