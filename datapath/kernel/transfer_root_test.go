package kernel

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

const (
	// transferTime bounds a transfer: a stream that only moves by
	// retransmissions takes longer.
	transferTime = 20 * time.Second
	// trickle is what a stream reaches even where the checksums that are made
	// of it, and a TAP's reader, have an emulated CPU to themselves.
	trickle = 20e6 // bit/s
)

// checkTransfer sends random bytes over TCP and compares checksums.
func checkTransfer(t *testing.T, from, to *linktest.Namespace, addr netip.Addr, size int64) {
	t.Helper()
	var listener *net.TCPListener
	err := to.Do(func() (err error) {
		listener, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, 5000)))
		return err
	})
	if err != nil {
		t.Fatalf("listen on TCP %s in %s: %v", addr, to.Name, err)
	}
	defer func() { _ = listener.Close() }()
	end := time.Now().Add(transferTime)
	if err := listener.SetDeadline(end); err != nil {
		t.Fatal(err)
	}

	sent, received := sha256.New(), sha256.New()
	failed := make(chan error, 1)
	go func() {
		failed <- from.Do(func() error {
			c, err := net.DialTimeout("tcp", listener.Addr().String(), transferTime)
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			random := io.LimitReader(rand.NewChaCha8([32]byte{1}), size)
			return errors.Join(c.SetDeadline(end), copyAll(io.MultiWriter(c, sent), random))
		})
	}()
	start := time.Now()
	n, err := func() (int64, error) {
		c, err := listener.Accept()
		if err != nil {
			return 0, err
		}
		defer func() { _ = c.Close() }()
		if err := c.SetDeadline(end); err != nil {
			return 0, err
		}
		return io.Copy(received, c)
	}()
	took := time.Since(start)
	if err := errors.Join(err, <-failed); err != nil {
		t.Errorf("TCP from %s to %s: %d of %d bytes in %v: %v", from.Name, addr, n, size, took, err)
		return
	}
	if n != size || !bytes.Equal(sent.Sum(nil), received.Sum(nil)) {
		t.Errorf("TCP from %s to %s: %d bytes arrive of %d, or others", from.Name, addr, n, size)
	}
	rate := float64(n) * 8 / took.Seconds()
	if rate < trickle {
		t.Errorf("TCP from %s to %s trickles: %.1f Mb/s", from.Name, addr, rate/1e6)
	}
	t.Logf("TCP from %s to %s: %.1f Gb/s", from.Name, addr, rate/1e9)
}

func copyAll(to io.Writer, from io.Reader) error {
	_, err := io.CopyBuffer(to, from, make([]byte, 256<<10))
	return err
}

// message is what one call hands to the kernel, to be sent as datagrams of a
// size; the last one has the rest.
type message struct{ size, segment int }

// messages have a full last segment, a short one, nothing but one, and as many
// as every kernel takes.
var messages = []message{{1300 * 40, 1300}, {1200*7 + 300, 1200}, {800, 1300}, {64 * 64, 64}, {1 + 1000, 1000}}

// datagrams returns what has to arrive.
func (m message) datagrams(seed byte) (out [][]byte) {
	data := make([]byte, m.size)
	for i := range data {
		data[i] = seed ^ byte(i) ^ byte(i/m.segment)
	}
	for len(data) > 0 {
		n := min(m.segment, len(data))
		out = append(out, data[:n])
		data = data[n:]
	}
	return out
}

// checkDatagrams sends UDP as QUIC does: many datagrams by one call, which the
// kernel cuts where the packet leaves it. Each arrives whole and as long as it
// was, whether the receiver takes them one by one or, by UDP_GRO, as many as
// have arrived together.
func checkDatagrams(t *testing.T, from, to *linktest.Namespace, addr netip.Addr) {
	t.Helper()
	for _, gro := range []bool{false, true} {
		checkDatagramsTo(t, from, to, netip.AddrPortFrom(addr, 4433), gro)
	}
}

func checkDatagramsTo(t *testing.T, from, to *linktest.Namespace, at netip.AddrPort, gro bool) {
	t.Helper()
	in := udpListen(t, to, at)
	defer func() { _ = in.Close() }()
	widen(t, in, 4<<20)
	if gro {
		setUDPOption(t, in, unix.UDP_GRO, 1)
	}
	out := udpDial(t, from, at)
	defer func() { _ = out.Close() }()
	for i, m := range messages {
		want := m.datagrams(byte(i))
		setUDPOption(t, out, unix.UDP_SEGMENT, m.segment)
		_, err := out.Write(bytes.Join(want, nil))
		if errors.Is(err, unix.EIO) {
			// Before Linux 6.11 not for a device that leaves checksums to the
			// kernel: a program then sends them one by one, as this.
			setUDPOption(t, out, unix.UDP_SEGMENT, 0)
			err = writeAll(out, want)
		}
		if err != nil {
			t.Errorf("send %+v from %s to %s: %v", m, from.Name, at, err)
			return
		}
		for number, w := 0, want; len(w) > 0; {
			got, err := readDatagrams(in)
			if err != nil {
				t.Errorf("UDP from %s to %s, GRO %v, %+v: %d of %d datagrams arrive: %v", from.Name, at, gro, m, number, len(want), err)
				return
			}
			for _, d := range got {
				if len(w) == 0 || !bytes.Equal(d, w[0]) {
					t.Errorf("UDP from %s to %s, GRO %v, %+v: datagram %d of %d arrives changed, with %d bytes", from.Name, at, gro, m, number, len(want), len(d))
					return
				}
				w = w[1:]
				number++
			}
		}
	}
}

func writeAll(c *net.UDPConn, datagrams [][]byte) error {
	for _, d := range datagrams {
		if _, err := c.Write(d); err != nil {
			return err
		}
	}
	return nil
}

// readDatagrams reads once, and cuts what it read by the size that UDP_GRO
// tells, if it does.
func readDatagrams(c *net.UDPConn) (out [][]byte, err error) {
	if err := c.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return nil, err
	}
	buf, oob := make([]byte, 1<<16), make([]byte, 64)
	n, oobn, _, _, err := c.ReadMsgUDPAddrPort(buf, oob)
	if err != nil {
		return nil, err
	}
	size := n
	control, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return nil, err
	}
	for _, m := range control {
		if m.Header.Level == unix.SOL_UDP && m.Header.Type == unix.UDP_GRO {
			size = int(binary.NativeEndian.Uint32(m.Data))
		}
	}
	for left := buf[:n]; len(left) > 0; {
		l := min(size, len(left))
		out = append(out, left[:l])
		left = left[l:]
	}
	return out, nil
}

func setUDPOption(t *testing.T, c *net.UDPConn, option, value int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var optErr error
	err = raw.Control(func(fd uintptr) {
		optErr = unix.SetsockoptInt(int(fd), unix.SOL_UDP, option, value)
	})
	if err := errors.Join(err, optErr); err != nil {
		t.Fatalf("UDP option %d: %v", option, err)
	}
}
