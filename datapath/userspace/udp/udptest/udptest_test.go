package udptest

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovlnet/ovl/datapath/userspace/udp"
	"github.com/ovlnet/ovl/encap"
)

var a, b = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")

func TestUnderlay(t *testing.T) {
	for _, trains := range []bool{false, true} {
		u := New()
		u.Trains = trains
		from, to := u.Tunnel(a), u.Tunnel(b)
		p, err := from.Path(b)
		if err != nil {
			t.Fatal(err)
		}
		s := from.NewSender()
		var failed []string
		flush := func() {
			s.Flush(func(p *udp.Path, n, _ int, err error) { failed = append(failed, fmt.Sprint(p.Addr(), n, err)) })
		}
		for _, size := range []int{10, 10, 5, 5, 6, 1472, 1473} {
			s.Add(p, 1, encap.ECT0, make([]byte, 2), make([]byte, size-2))
		}
		flush()
		into := udp.NewArrivals(8)
		if err := to.Receive(into); err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, r := range into.All() {
			got += fmt.Sprint(r.From, r.ECN, len(r.Data), "/", r.Size, " ")
		}
		want := "192.0.2.1 2 10/0 192.0.2.1 2 10/0 192.0.2.1 2 5/0 192.0.2.1 2 5/0 192.0.2.1 2 6/0 192.0.2.1 2 1472/0 "
		if trains {
			want = "192.0.2.1 2 25/10 192.0.2.1 2 5/0 192.0.2.1 2 6/0 192.0.2.1 2 1472/0 "
		}
		if got != want {
			t.Errorf("trains %v: %s, want %s", trains, got, want)
		}
		u.SetMTU(0, unix.ENETUNREACH)
		s.Add(p, 1, 0, []byte("x"), nil)
		flush()
		if want := "[192.0.2.2 1 message too long 192.0.2.2 1 network is unreachable]"; fmt.Sprint(failed) != want {
			t.Errorf("failed: %v, want %s", failed, want)
		}
	}
}

func TestFullAndClosed(t *testing.T) {
	u := New()
	from, to := u.Tunnel(a), u.Tunnel(b)
	p, err := from.Path(b)
	if err != nil {
		t.Fatal(err)
	}
	s := from.NewSender()
	for range Queue + 3 {
		s.Add(p, 1, 0, []byte("x"), nil)
	}
	s.Flush(nil)
	if to.Overflowed() != 3 || s.Pending() != 0 {
		t.Errorf("%d lost, %d pending", to.Overflowed(), s.Pending())
	}
	ended := make(chan error)
	go func() { ended <- from.Receive(udp.NewArrivals(1)) }()
	for _, tun := range []*Tunnel{from, to, to} {
		if err := tun.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := <-ended; !errors.Is(err, os.ErrClosed) {
		t.Errorf("%v", err)
	}
	if err := to.Receive(udp.NewArrivals(1)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("%v", err)
	}
	if _, err := from.Path(netip.IPv6Loopback()); err == nil {
		t.Error("path to the other family")
	}
}
