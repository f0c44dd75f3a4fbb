package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link/linktest"
	"github.com/ovlnet/ovl/encap"
)

// TestTwinNetworks: two networks with one subnet, whose endpoints on the same
// hosts have the same addresses and MACs. Who asks in one is answered out of
// it, and the other does not hear of it.
func TestTwinNetworks(t *testing.T) {
	c := newRunning(t, 2)
	h1, h2 := c.hosts[0], c.hosts[1]
	nets := []string{"red", "blue"}
	type twins struct{ client, near, far *endpoint }
	on := map[string]twins{}
	for _, n := range nets {
		h1.must("network", "create", n, "--subnet", "10.9.0.0/24")
		attach := func(h *host, role, addr, mac string) *endpoint {
			return h.attach(n, n+"-"+role, "--ip", addr, "--mac", mac)
		}
		on[n] = twins{
			client: attach(h1, "client", "10.9.0.2", "02:00:00:00:00:02"),
			near:   attach(h1, "near", "10.9.0.3", "02:00:00:00:00:03"),
			far:    attach(h2, "far", "10.9.0.4", "02:00:00:00:00:04"),
		}
	}
	ears := map[string][]*ear{}
	for _, n := range nets {
		for _, e := range []*endpoint{on[n].client, on[n].near, on[n].far} {
			ears[n] = append(ears[n], listen(t, e))
		}
		answer(t, on[n].near, n+"-near")
		answer(t, on[n].far, n+"-far")
	}

	for _, n := range nets {
		for _, to := range []*endpoint{on[n].near, on[n].far} {
			question := "question of " + n
			if got, want := ask(t, on[n].client, to.addr(), question), to.info.Name+" heard "+question; got != want {
				t.Errorf("%s asks %s and is told %q, want %q", on[n].client.info.Name, to.addr(), got, want)
			}
		}
		for _, to := range []string{
			"ff:ff:ff:ff:ff:ff", // broadcast
			"01:00:5e:00:00:fb", // multicast
			"02:00:00:00:00:03", // the near one of both networks
			"02:00:00:00:00:04", // the far one of both
			"02:00:00:00:00:99", // nobody
		} {
			shout(t, on[n].client, to, "frame of "+n)
		}
	}
	time.Sleep(300 * time.Millisecond) // for what comes late

	for i, n := range nets {
		other := nets[1-i]
		for _, ear := range ears[n] {
			frames := ear.close()
			if len(frames) == 0 {
				t.Errorf("%s hears nothing at all", ear.who)
			}
			for _, f := range frames {
				if bytes.Contains(f, []byte("of "+other)) {
					t.Errorf("%s hears %s:\n%q", ear.who, other, f)
				}
			}
		}
		if !ears[n][2].heard("frame of " + n) {
			t.Errorf("the far one of %s has not heard the frame that was meant for it: the others' silence means nothing", n)
		}
	}
}

// answer says on UDP port 7 who was asked what.
func answer(t *testing.T, e *endpoint, who string) {
	t.Helper()
	s := socket(t, e.Namespace, func() (*net.UDPConn, error) {
		return net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(e.addr()+":7")))
	})
	var wg sync.WaitGroup
	wg.Go(func() {
		b := make([]byte, 100)
		for {
			n, from, err := s.ReadFromUDPAddrPort(b)
			if err != nil {
				return // closed
			}
			_, _ = s.WriteToUDPAddrPort(fmt.Appendf(nil, "%s heard %s", who, b[:n]), from)
		}
	})
	t.Cleanup(func() { _ = s.Close(); wg.Wait() })
}

func ask(t *testing.T, e *endpoint, addr, question string) string {
	t.Helper()
	s := socket(t, e.Namespace, func() (*net.UDPConn, error) {
		return net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr+":7")))
	})
	defer func() { _ = s.Close() }()
	if _, err := s.Write([]byte(question)); err != nil {
		t.Errorf("ask %s: %v", addr, err)
	}
	if err := s.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	n, err := s.Read(b)
	if err != nil {
		t.Errorf("ask %s: %v", addr, err)
	}
	return string(b[:n])
}

// socket opens one in a namespace.
func socket[T any](t *testing.T, ns *linktest.Namespace, open func() (T, error)) (s T) {
	t.Helper()
	err := ns.Do(func() (err error) {
		s, err = open()
		return err
	})
	if err != nil {
		t.Fatalf("socket in %s: %v", ns.Name, err)
	}
	return s
}

// packetSocket opens one that sees every frame of eth0.
func packetSocket() (*os.File, error) {
	eth0, err := net.InterfaceByName("eth0")
	if err != nil {
		return nil, err
	}
	const everything = uint16(unix.ETH_P_ALL>>8 | unix.ETH_P_ALL<<8&0xff00) // network byte order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(everything))
	if err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: everything, Ifindex: eth0.Index}); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "packets of "+eth0.Name), nil
}

// shout sends one raw frame.
func shout(t *testing.T, from *endpoint, to, text string) {
	t.Helper()
	dst, err := encap.ParseMAC(to)
	if err != nil {
		t.Fatal(err)
	}
	src := from.info.MacAddress
	// The EtherType is one for local experiments, IEEE 802.
	frame := append(append(append([]byte{}, dst[:]...), src[:]...), 0x88, 0xb5)
	s := socket(t, from.Namespace, packetSocket)
	defer func() { _ = s.Close() }()
	if _, err := s.Write(append(frame, fmt.Appendf(nil, "%-60s", text)...)); err != nil {
		t.Errorf("%s sends to %s: %v", from.info.Name, to, err)
	}
}

// ear hears what arrives at an endpoint.
type ear struct {
	who    string
	socket *os.File
	wg     sync.WaitGroup
	frames [][]byte
}

func listen(t *testing.T, e *endpoint) *ear {
	t.Helper()
	l := &ear{who: e.info.Name, socket: socket(t, e.Namespace, packetSocket)}
	l.wg.Go(func() {
		b := make([]byte, 1<<16)
		for {
			n, err := l.socket.Read(b)
			if err != nil {
				return // closed
			}
			l.frames = append(l.frames, bytes.Clone(b[:n]))
		}
	})
	t.Cleanup(func() { l.close() })
	return l
}

// close stops listening and returns all that was heard.
func (l *ear) close() [][]byte {
	_ = l.socket.Close() // a second time it is closed already
	l.wg.Wait()
	return l.frames
}

func (l *ear) heard(text string) bool {
	for _, f := range l.close() {
		if bytes.Contains(f, []byte(text)) {
			return true
		}
	}
	return false
}
