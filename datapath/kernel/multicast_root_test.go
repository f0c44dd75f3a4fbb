package kernel

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ovlnet/ovl/datapath"
	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/datapath/link/linktest"
	"github.com/ovlnet/ovl/encap"
)

// groupMember is somebody on a network with multicast.
type groupMember struct {
	*linktest.Namespace
	device string
	addr   netip.Addr
	mac    encap.MAC
}

func memberOf(e *bedEndpoint) groupMember {
	return groupMember{e.Namespace, "eth0", e.addr(), e.port.MAC}
}

// carryMulticast makes the network of a bed carry it, and the members ready to
// use it.
func carryMulticast(t *testing.T, b *bed, members []groupMember) {
	t.Helper()
	for _, h := range b.hosts {
		h.network(testVNI, b.mtu).Multicast = true
		h.apply(t)
	}
	for _, m := range members {
		run(t, m.Namespace, "sysctl", "-q", "net.ipv4.icmp_echo_ignore_broadcasts=0")
		run(t, m.Namespace, "ip", "route", "add", "224.0.0.0/4", "dev", m.device)
	}
}

// TestMulticast is applications that find each other by asking everybody: on
// one host, on two, and on one with a plain vxlan device that sends unknown
// frames to all hosts.
func TestMulticast(t *testing.T) { onUnderlays(t, linktest.Options{Hosts: 3}, testMulticast) }

func testMulticast(t *testing.T, o linktest.Options) {
	needTool(t, "bridge", "ping")
	n := newInteropBed(t, o, false)
	near := n.attach(0, testVNI, "10.0.0.4/24", "fd00::4/64")
	plain := groupMember{n.plain, "vx", n.addr, n.mac}
	members := []groupMember{memberOf(n.a), memberOf(near), memberOf(n.b), plain}
	n.reconnect(t)
	carryMulticast(t, n.bed, members)

	for i, m := range members {
		t.Run("ping from "+m.addr.String(), func(t *testing.T) {
			checkGroupPing(t, m, members, "-b", "10.0.0.255")
			checkGroupPing(t, m, members, "224.0.0.1")
			checkGroupPing(t, m, members, "ff02::1%"+m.device)
		})
		t.Run("joins of "+m.addr.String(), func(t *testing.T) { checkJoins(t, m, members, i) })
	}
	for _, pair := range [][2]groupMember{
		{members[0], members[1]}, {members[0], members[2]}, {members[2], members[0]}, {members[0], plain}, {plain, members[0]},
	} {
		t.Run(fmt.Sprintf("mDNS from %s to %s", pair[0].addr, pair[1].addr), func(t *testing.T) {
			responder(t, pair[1])
			for _, family := range []dt.Family{dt.IPv4, dt.IPv6} {
				got := browse(t, pair[0], family)
				for range 10 { // on a busy machine an answer may come late
					if got.IsValid() {
						break
					}
					got = browse(t, pair[0], family)
				}
				if want := pair[1].addr; got != want {
					t.Errorf("asking over %s, %s finds the service at %s, want %s", family, pair[0].addr, got, want)
				}
			}
		})
	}
	t.Run("segmented UDP", func(t *testing.T) {
		at := netip.MustParseAddrPort("239.1.2.3:4433")
		var in []*net.UDPConn
		for _, m := range members[1:] {
			in = append(in, joinGroup(t, m, at))
		}
		checkSegments(t, udpDial(t, members[0].Namespace, at), in...)
	})
	t.Run("not on a network without it", func(t *testing.T) {
		for _, h := range n.hosts {
			h.network(testVNI, n.mtu).Multicast = false
			h.apply(t)
		}
		responder(t, members[2])
		before := n.hosts[0].stats(t).Drops[datapath.DropMulticast].Packets
		if got := browse(t, members[0], dt.IPv4); got.IsValid() {
			t.Errorf("the service is found at %s", got)
		}
		if after := n.hosts[0].stats(t).Drops[datapath.DropMulticast].Packets; after == before {
			t.Error("nothing is counted")
		}
	})
}

// reconnect tells all hosts of an endpoint that has come since connect, and
// keeps the plain one.
func (n *interopBed) reconnect(t *testing.T) {
	t.Helper()
	plain := map[*bedHost][]datapath.Remote{}
	for _, h := range n.hosts {
		for _, r := range h.network(testVNI, n.mtu).Remotes {
			if r.VTEP == n.host.Addr {
				plain[h] = append(plain[h], r)
			}
		}
	}
	n.connect()
	for _, h := range n.hosts {
		network := h.network(testVNI, n.mtu)
		network.Remotes = append(network.Remotes, plain[h]...)
		h.apply(t)
		for _, p := range network.Ports {
			run(t, n.plain, "bridge", "fdb", "replace", p.MAC.String(), "dev", "vx", "dst", h.Addr.String())
		}
	}
}

// checkGroupPing wants an answer of every member to every ping, and one only.
// What comes after the first answer to the last one ping does not wait for.
func checkGroupPing(t *testing.T, from groupMember, members []groupMember, args ...string) {
	t.Helper()
	const count = 3
	v6 := strings.Contains(args[len(args)-1], ":")
	want := map[string]int{}
	for _, m := range members {
		addr := m.addr.String()
		if v6 {
			addr = linkLocalOf(m.mac).String()
		}
		for seq := range count - 1 {
			want[fmt.Sprintf("%s seq %d", addr, seq+1)] = 1
		}
	}
	command := append([]string{"ping", "-n", "-c", strconv.Itoa(count), "-i", "0.02", "-W", "1"}, args...)
	var got map[string]int
	for range 5 { // duplicate-address detection may still be at work
		out, _ := tryRun(from.Namespace, command...)
		got = answers(out)
		maps.DeleteFunc(got, func(answer string, _ int) bool { return strings.HasSuffix(answer, fmt.Sprintf(" seq %d", count)) })
		if maps.Equal(got, want) {
			return
		}
		time.Sleep(500 * time.Millisecond)
	}
	t.Errorf("%v from %s: answers\n%v, want\n%v", command, from.addr, got, want)
}

// answers counts lines like
//
//	64 bytes from fe80::1%eth0: icmp_seq=1 ttl=64 time=0.1 ms (DUP!)
func answers(out string) map[string]int {
	got := map[string]int{}
	for line := range strings.Lines(out) {
		_, rest, ok := strings.Cut(line, "bytes from ")
		if !ok {
			continue
		}
		f := strings.Fields(rest)
		addr, _, _ := strings.Cut(strings.TrimSuffix(f[0], ":"), "%")
		got[addr+" seq "+strings.TrimPrefix(f[1], "icmp_seq=")]++
	}
	return got
}

// linkLocalOf is RFC 4291 appendix A's.
func linkLocalOf(m encap.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
}

// joinGroup opens a socket that has joined.
func joinGroup(t *testing.T, m groupMember, at netip.AddrPort) (c *net.UDPConn) {
	t.Helper()
	err := m.Do(func() error {
		device, err := net.InterfaceByName(m.device)
		if err == nil {
			c, err = net.ListenMulticastUDP("udp", device, net.UDPAddrFromAddrPort(at))
		}
		return err
	})
	if err != nil {
		t.Fatalf("join %s in %s: %v", at, m.Name, err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// checkJoins wants the reports with which a member joins groups (RFC 3376, RFC
// 3810) to reach the others, as switches and routers among them would need.
func checkJoins(t *testing.T, m groupMember, members []groupMember, number int) {
	t.Helper()
	group4 := netip.AddrFrom4([4]byte{239, 9, 9, byte(number)})
	group6 := netip.AddrFrom16([16]byte{0xff, 2, 14: 9, 15: byte(number)})
	heard := map[string]func() [][]byte{}
	for _, other := range members {
		if other.addr != m.addr {
			heard[other.addr.String()] = listenAll(t, other.Namespace, other.device)
		}
	}
	joinGroup(t, m, netip.AddrPortFrom(group4, 9999))
	joinGroup(t, m, netip.AddrPortFrom(group6, 9999))
	time.Sleep(50 * time.Millisecond)
	for who, frames := range heard {
		all := frames()
		for _, report := range []struct {
			group netip.Addr
			to    []byte // MAC of those that want to know
		}{{group4, []byte{1, 0, 0x5e, 0, 0, 0x16}}, {group6, []byte{0x33, 0x33, 0, 0, 0, 0x16}}} {
			found := slices.ContainsFunc(all, func(f []byte) bool {
				return bytes.Equal(f[:6], report.to) && bytes.Equal(f[6:12], m.mac[:]) && bytes.Contains(f, report.group.AsSlice())
			})
			if !found {
				t.Errorf("%s does not hear that %s joins %s", who, m.addr, report.group)
			}
		}
	}
}
