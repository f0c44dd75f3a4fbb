package udp

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/encap"
)

func TestThereAndBack(t *testing.T) {
	onLoopbacks(t, 1, func(t *testing.T, tun *Tunnel, self *Path) {
		s := tun.NewSender()
		var want []datagram
		add := func(ecn encap.ECN, head, payload []byte) {
			want = append(want, datagram{self.Addr(), uint8(ecn), string(head) + string(payload)})
			s.Add(self, 7, ecn, head, payload)
		}
		add(encap.NotECT, []byte("head"), []byte("payload"))
		add(encap.CE, []byte("head"), nil)
		add(encap.ECT0, nil, nil)
		for i := range 40 { // a train
			add(encap.ECT1, []byte("head"), fill(i, 1000))
		}
		add(encap.ECT1, []byte("head"), fill(40, 10)) // its end
		add(encap.ECT1, []byte("head"), fill(41, 10))
		add(encap.ECT1, []byte("head"), fill(42, 11))
		for i := range 3 {
			add(encap.ECT1, nil, fill(43+i, 600))
		}
		gapless := fill(46, 30)
		add(encap.ECT1, nil, gapless[:10]) // the train's end
		add(encap.ECT1, nil, gapless[10:])
		if s.Pending() != 8 {
			t.Errorf("%d messages, want 8", s.Pending())
		}
		flush(t, s)
		got, messages := receive(t, tun.Receivers()[0], len(want))
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("datagram %d: %.40v of %d bytes, want %.40v of %d", i, got[i], len(got[i].data), want[i], len(want[i].data))
			}
		}
		if len(got) != len(want) || messages != 8 {
			t.Errorf("%d datagrams in %d messages, want %d in 8", len(got), messages, len(want))
		}
		if s.Pending() != 0 {
			t.Errorf("%d messages after Flush", s.Pending())
		}
	})
}

// TestOrder: what has one hash arrives in the order of Add, whatever else goes in
// between and whether it goes in trains. On the loopback nothing reorders.
func TestOrder(t *testing.T) {
	onLoopbacks(t, 1, func(t *testing.T, tun *Tunnel, self *Path) {
		s := tun.NewSender()
		sent := 0
		for i := range 50 {
			for flow := range uint32(37) {
				for range 1 + i%3 {
					s.Add(self, flow, 0, []byte{byte(flow)}, fill(sent, 100-i%2))
					sent++
				}
			}
			if i%10 == 9 {
				flush(t, s)
			}
		}
		got, _ := receive(t, tun.Receivers()[0], sent)
		last := map[byte]string{}
		for _, d := range got {
			if number := d.data[1:7]; number <= last[d.data[0]] {
				t.Fatalf("flow %d: %s after %s", d.data[0], number, last[d.data[0]])
			} else {
				last[d.data[0]] = number
			}
		}
	})
}

func TestLongest(t *testing.T) {
	onLoopbacks(t, 1, func(t *testing.T, tun *Tunnel, self *Path) {
		s := tun.NewSender()
		s.Add(self, 0, 0, fill(1, self.maxTrain), nil)
		for i := range 70 { // more than 64 KiB of them
			s.Add(self, 0, 0, nil, fill(i, 1200))
		}
		for i := range 100 { // more than 64 of them
			s.Add(self, 0, 0, nil, fill(i, 20))
		}
		if s.Pending() != 5 {
			t.Errorf("%d messages, want 5", s.Pending())
		}
		var failed []error
		s.Flush(func(_ *Path, _, _ int, err error) { failed = append(failed, err) })
		n := 171
		// The longest datagram over IPv6 is longer than lo's MTU by its header.
		if self.Addr().Is6() {
			n--
			if len(failed) != 1 || !errors.Is(failed[0], unix.EMSGSIZE) {
				t.Errorf("failed: %v", failed)
			}
		} else if failed != nil {
			t.Errorf("failed: %v", failed)
		}
		if got, _ := receive(t, tun.Receivers()[0], n); len(got) != n {
			t.Errorf("%d datagrams, want %d", len(got), n)
		}
	})
}

func TestPortTaken(t *testing.T) {
	for _, vtep := range loopbacks {
		tun := openLoopback(t, vtep, 2)
		other, err := Open(Options{VTEP: vtep, Port: tun.port})
		if !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), "vxlan device") {
			t.Errorf("%s: opened twice: %v, %v", vtep, other, err)
		}
	}
}

func TestWrongAddresses(t *testing.T) {
	for _, vtep := range []string{"0.0.0.0", "::", "224.0.0.1", "ff02::1", "fe80::1%lo"} {
		if tun, err := Open(Options{VTEP: netip.MustParseAddr(vtep)}); err == nil {
			t.Errorf("%s: opened", vtep)
			tun.Close()
		}
	}
	if _, err := Open(Options{}); err == nil {
		t.Error("opened without an address")
	}
	if _, err := Open(Options{VTEP: netip.MustParseAddr("192.0.2.77")}); !errors.Is(err, unix.EADDRNOTAVAIL) {
		t.Errorf("an address that is not here: %v", err)
	}
	tun := openLoopback(t, loopbacks[0], 1)
	for _, peer := range []netip.Addr{{}, loopbacks[1]} {
		if _, err := tun.Path(peer); err == nil {
			t.Errorf("path from %s to %s", loopbacks[0], peer)
		}
	}
}

// TestTakeOver: what is queued when a process ends arrives in the next.
func TestTakeOver(t *testing.T) {
	onLoopbacks(t, 2, func(t *testing.T, tun *Tunnel, self *Path) {
		s := tun.NewSender()
		for i := range 64 {
			s.Add(self, uint32(i), 0, fill(i, 100), nil)
		}
		flush(t, s)
		files, err := tun.Files()
		if err != nil || len(files) != 2 {
			t.Fatalf("%v, %v", files, err)
		}
		if err := tun.Close(); err != nil {
			t.Fatal(err)
		}
		next, err := Open(Options{VTEP: self.Addr(), Port: tun.port, Readers: 1, Files: files})
		for _, f := range files {
			f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		defer next.Close()
		if len(next.Receivers()) != 2 {
			t.Fatalf("%d receivers, want both", len(next.Receivers()))
		}
		s = next.NewSender()
		for i := range 64 {
			s.Add(self, uint32(i), 0, fill(i, 100), nil)
		}
		flush(t, s)
		got := 0
		for _, r := range next.Receivers() {
			b := NewArrivals(0)
			for queued(t, r) {
				if err := r.Receive(b); err != nil {
					t.Fatal(err)
				}
				got += len(b.All())
			}
		}
		if got != 128 {
			t.Errorf("%d datagrams, want 128", got)
		}
	})
}

// queued reports whether something waits to be received.
func queued(t *testing.T, r *Receiver) (yes bool) {
	t.Helper()
	if err := r.socket.control(func(fd uintptr) {
		n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		yes = n > 0
	}); err != nil {
		t.Fatal(err)
	}
	return yes
}

func TestTakeOverOfSomethingElse(t *testing.T) {
	tun := openLoopback(t, loopbacks[0], 1)
	stream, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	tcp, err := stream.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	files, err := tun.Files()
	if err != nil {
		t.Fatal(err)
	}
	defer files[0].Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, f := range []*os.File{tcp, null, files[0]} { // the last is of another port
		if _, err := Open(Options{VTEP: loopbacks[0], Port: tun.port + 1, Files: []*os.File{f}}); err == nil ||
			!strings.Contains(err.Error(), "taken over") {
			t.Errorf("%s: %v", f.Name(), err)
		}
	}
}

func TestClose(t *testing.T) {
	onLoopbacks(t, 1, func(t *testing.T, tun *Tunnel, self *Path) {
		ended := make(chan error)
		r := tun.Receivers()[0]
		go func() { ended <- r.Receive(NewArrivals(1)) }()
		time.Sleep(10 * time.Millisecond) // either order is right, this one is the harder
		if err := tun.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, os.ErrClosed) {
			t.Errorf("Receive: %v", err)
		}
		if err := r.Receive(NewArrivals(1)); !errors.Is(err, os.ErrClosed) {
			t.Errorf("Receive after Close: %v", err)
		}
		s := tun.NewSender()
		s.Add(self, 1, 0, []byte("x"), nil)
		for i := range 3 {
			s.Add(self, 2, 0, fill(i, 10), nil)
		}
		lost := 0
		s.Flush(func(_ *Path, n, _ int, err error) {
			if lost += n; !errors.Is(err, os.ErrClosed) {
				t.Errorf("Flush: %v", err)
			}
		})
		if lost != 4 {
			t.Errorf("%d datagrams reported, want 4", lost)
		}
		if _, err := self.MTU(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("MTU: %v", err)
		}
		if _, err := tun.Files(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("Files: %v", err)
		}
		if err := tun.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
		r.Overflowed()
	})
}

func TestOverflowed(t *testing.T) {
	onLoopbacks(t, 1, func(t *testing.T, tun *Tunnel, self *Path) {
		r := tun.Receivers()[0]
		if err := r.socket.control(func(fd uintptr) {
			if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 10000); err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		s := tun.NewSender()
		const sent = 200
		for i := range sent {
			s.Add(self, 0, encap.ECN(i%2), fill(i, 1000), nil) // none joins another
		}
		flush(t, s)
		n := uint64(0)
		b := NewArrivals(0)
		for queued(t, r) {
			if err := r.Receive(b); err != nil {
				t.Fatal(err)
			}
			n += uint64(len(b.All()))
		}
		files, err := tun.Files()
		if err != nil {
			t.Fatal(err)
		}
		defer files[0].Close()
		tun.Close()
		if lost := r.Overflowed(); n == 0 || lost == 0 || n+lost != sent {
			t.Errorf("%d arrived, %d overflowed, of %d", n, lost, sent)
		}
		next, err := Open(Options{VTEP: self.Addr(), Port: tun.port, Files: files})
		if err != nil {
			t.Fatal(err)
		}
		defer next.Close()
		if n := next.Receivers()[0].Overflowed(); n != 0 {
			t.Errorf("%d before anything came", n)
		}
	})
}

// TestNothingPilesUp: what others send to the source ports is not kept.
func TestNothingPilesUp(t *testing.T) {
	onLoopbacks(t, 1, func(t *testing.T, tun *Tunnel, self *Path) {
		c, err := net.ListenPacket("udp", netip.AddrPortFrom(self.Addr(), 0).String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, p := range tun.ports {
			if p.number < encap.MinSourcePort || p.number > encap.MaxSourcePort {
				t.Errorf("source port %d", p.number)
			}
			for range 4 {
				if _, err := c.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(netip.AddrPortFrom(self.Addr(), p.number))); err != nil {
					t.Fatal(err)
				}
			}
			for _, s := range []*socket{p.alone, p.trains} {
				if queued(t, &Receiver{socket: s}) {
					t.Errorf("port %d: something is queued", p.number)
				}
			}
		}
	})
}

// TestSizeOfOne: a train of one is a single datagram.
func TestSizeOfOne(t *testing.T) {
	for length, want := range map[uint32]int{100: 0, 99: 0, 101: 100} {
		b := NewArrivals(1)
		h := (*unix.Cmsghdr)(unsafe.Pointer(&b.controls[0]))
		h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_GRO
		h.SetLen(unix.CmsgLen(4))
		binary.NativeEndian.PutUint32(b.controls[0][unix.SizeofCmsghdr:], 100)
		b.headers[0].Hdr.SetControllen(unix.CmsgSpace(4))
		b.headers[0].Len = length
		b.take(1)
		if got := b.All()[0].Size; got != want {
			t.Errorf("%d bytes in pieces of 100: Size %d, want %d", length, got, want)
		}
	}
}
