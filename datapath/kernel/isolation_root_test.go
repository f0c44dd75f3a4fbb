package kernel

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	dt "github.com/ovlnet/ovl/datapath/datapathtest"
	"github.com/ovlnet/ovl/datapath/link/linktest"
	"github.com/ovlnet/ovl/encap"
)

// twin is one of two networks that differ in their VNI alone.
type twin struct {
	name         string
	a, near, far *bedEndpoint
}

func (n *twin) endpoints() []*bedEndpoint { return []*bedEndpoint{n.a, n.near, n.far} }

// newTwin gives each endpoint the MAC and the addresses that it has in every
// other twin.
func newTwin(b *bed, name string, vni encap.VNI) *twin {
	return &twin{
		name: name,
		a:    b.attachMAC(0, vni, encap.MAC{2, 0, 0, 0, 0, 2}, "10.0.0.2/24", "fd00::2/64"),
		near: b.attachMAC(0, vni, encap.MAC{2, 0, 0, 0, 0, 3}, "10.0.0.3/24", "fd00::3/64"),
		far:  b.attachMAC(1, vni, encap.MAC{2, 0, 0, 0, 0, 4}, "10.0.0.4/24", "fd00::4/64"),
	}
}

// TestIsolation listens everywhere in one network while its twin talks.
func TestIsolation(t *testing.T) { onUnderlays(t, linktest.Options{Hosts: 2}, testIsolation) }

func testIsolation(t *testing.T, o linktest.Options) {
	b := newBed(t, o, HookAuto)
	twins := []*twin{newTwin(b, "red", testVNI), newTwin(b, "blue", testVNI+1)}
	b.connect()
	heard := map[*bedEndpoint]func() [][]byte{}
	for _, n := range twins {
		for _, e := range n.endpoints() {
			heard[e] = listenAll(t, e.Namespace, "eth0")
		}
	}
	for i, talking := range twins {
		if o.IPv6 && i > 0 {
			break // the other way round it is the same
		}
		t.Run(talking.name+" talks", func(t *testing.T) {
			silent := twins[1-i]
			for _, f := range heard {
				f() // what the stacks said when they came up
			}
			talking.talk(t)
			for _, e := range silent.endpoints() {
				for _, frame := range heard[e]() {
					t.Errorf("%s of %s heard %x", e.Name, silent.name, frame)
				}
			}
			for _, e := range talking.endpoints() {
				if len(heard[e]()) == 0 {
					t.Errorf("%s of %s heard nothing: the listeners are deaf", e.Name, talking.name)
				}
			}
		})
	}
	t.Run("both talk", func(t *testing.T) { checkAnswers(t, twins) })
}

// talk says everything that an endpoint can say, to everyone.
func (n *twin) talk(t *testing.T) {
	all := dt.Party{MAC: encap.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, Addr: netip.MustParseAddr("10.0.0.255")}
	for _, from := range n.endpoints() {
		self := dt.Party{MAC: from.port.MAC, Addr: from.addr()}
		self6 := dt.Party{MAC: from.port.MAC, Addr: from.port.Addrs[1]}
		send := sender(t, from.Namespace, "eth0")
		for _, to := range n.endpoints() {
			if to == from {
				continue
			}
			for _, addr := range to.port.Addrs {
				checkPing(t, from.Namespace, addr.String(), "-c", "1")
			}
			other := dt.Party{MAC: to.port.MAC, Addr: to.addr()}
			send(dt.ARPRequest(self, other.Addr))
			send(dt.ARPReply(self, other))
			send(dt.Solicitation(self6, to.port.Addrs[1], self.MAC))
			send(dt.Ethernet(self, other, 0x88b5, n.name))
			send(tagged(2, dt.Ethernet(self, other, 0x88b5, n.name)))
		}
		send(dt.UDP4(self, all, n.name))
		send(dt.Ethernet(self, all, 0x88b5, n.name))
		send(dt.ARPRequest(self, self.Addr))
		send(dt.ICMP6(self6, dt.Party{MAC: encap.MAC{0x33, 0x33, 0, 0, 0, 1}, Addr: netip.MustParseAddr("ff02::1")}))
	}
}

// checkAnswers asks the same address in each network at once, and wants the
// answer of that network's endpoint.
func checkAnswers(t *testing.T, twins []*twin) {
	t.Helper()
	const port, rounds = 5000, 200
	type question struct {
		twin *twin
		ask  func(string) string
	}
	var questions []question
	for _, n := range twins {
		for _, e := range []*bedEndpoint{n.near, n.far} {
			at := netip.AddrPortFrom(e.addr(), port)
			server, client := udpListen(t, e.Namespace, at), udpDial(t, n.a.Namespace, at)
			questions = append(questions, question{n, func(what string) string {
				buf := make([]byte, 128)
				deadline := time.Now().Add(2 * time.Second)
				if server.SetReadDeadline(deadline) != nil || client.SetReadDeadline(deadline) != nil {
					return "closed"
				}
				if _, err := client.Write([]byte(what)); err != nil {
					return err.Error()
				}
				got, from, err := server.ReadFromUDPAddrPort(buf)
				if err != nil {
					return err.Error()
				}
				if _, err := server.WriteToUDPAddrPort(append([]byte(n.name+" has "), buf[:got]...), from); err != nil {
					return err.Error()
				}
				if got, err = client.Read(buf); err != nil {
					return err.Error()
				}
				return string(buf[:got])
			}})
		}
	}
	for round := range rounds {
		for i, q := range questions {
			what := fmt.Sprintf("%s %d-%d", q.twin.name, round, i)
			if got, want := q.ask(what), q.twin.name+" has "+what; got != want {
				t.Fatalf("asked in %s, heard %q, want %q", q.twin.name, got, want)
			}
		}
	}
}
