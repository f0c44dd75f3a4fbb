package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// udpDial opens a socket of its own source port in a namespace.
func udpDial(t *testing.T, ns *linktest.Namespace, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	err := ns.Do(func() (err error) {
		c, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
		return err
	})
	if err != nil {
		t.Fatalf("dial UDP %s in %s: %v", to, ns.Name, err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// udpListen opens a socket in a namespace.
func udpListen(t *testing.T, ns *linktest.Namespace, at netip.AddrPort) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	err := ns.Do(func() (err error) {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		return err
	})
	if err != nil {
		t.Fatalf("listen on UDP %s in %s: %v", at, ns.Name, err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// udpSend sends one datagram from a socket of its own.
func udpSend(t *testing.T, ns *linktest.Namespace, to netip.AddrPort, payload string) {
	t.Helper()
	if _, err := udpDial(t, ns, to).Write([]byte(payload)); err != nil {
		t.Fatalf("send UDP to %s: %v", to, err)
	}
}

// checkUDP sends datagrams of 1400 bytes at a rate that no host should lose
// any at, and wants each to arrive as it was.
func checkUDP(t *testing.T, from, to *linktest.Namespace, addr string) {
	t.Helper()
	const size, count, burst = 1400, 3000, 15 // 15 a millisecond are 168 Mb/s
	at := netip.AddrPortFrom(netip.MustParseAddr(addr), 4000)
	in := udpListen(t, to, at)
	defer func() { _ = in.Close() }()
	widen(t, in, 2*size*count)
	out := udpDial(t, from, at)

	payload := bytes.Repeat([]byte{0xa5}, size)
	for i := range count {
		binary.BigEndian.PutUint32(payload, uint32(i))
		if _, err := out.Write(payload); err != nil {
			t.Fatalf("send datagram %d: %v", i, err)
		}
		if i%burst == burst-1 {
			time.Sleep(time.Millisecond)
		}
	}
	got := make([]byte, 2*size)
	for i := range count {
		if err := in.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := in.Read(got)
		if err != nil {
			t.Fatalf("UDP to %s: %d of %d datagrams arrive: %v", addr, i, count, err)
		}
		if number := binary.BigEndian.Uint32(got); number != uint32(i) || n != size {
			t.Fatalf("UDP to %s: datagram %d of %d bytes, want %d of %d", addr, number, n, i, size)
		}
	}
}

// widen gives a socket a buffer that a busy machine does not overflow.
func widen(t *testing.T, c *net.UDPConn, bytes int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var optErr error
	err = raw.Control(func(fd uintptr) {
		optErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bytes)
	})
	if err := errors.Join(err, optErr); err != nil {
		t.Fatalf("receive buffer of %d bytes: %v", bytes, err)
	}
}
